"""Names of torch devices."""

from __future__ import annotations

from bench.util.errors import RequestError


def resolve_device(name: str) -> str:
    """``auto`` is the GPU where there is one, else the CPU.

    Raises:
        RequestError: torch knows no such device, or it is not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"device {name!r} is not available here; use cpu, or leave it at auto"
        ) from error
    return name
