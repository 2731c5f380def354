"""Names of torch devices."""

from __future__ import annotations

from bench.util.errors import RequestError


def resolve_device(name: str) -> str:
    """Return the torch device name for a request, where ``auto`` is the GPU if there is one.

    Raises:
        RequestError: torch does not know the device, or the device is not there.
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
