"""The processor and the instructions that the numbers of a row were computed with.

The last digits of a score depend on them: vector instructions change the order of sums, and numpy
and torch round ``sin`` and ``exp`` differently with and without AVX-512. The words stand in a row
and enter no id.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib import import_module
from pathlib import Path

LEVELS = (("X86_V4", "x86-64-v4"), ("X86_V3", "x86-64-v3"), ("X86_V2", "x86-64-v2"))
"""numpy's word for a level of the x86-64 psABI and the level, highest first."""

_CPUINFO = Path("/proc/cpuinfo")


@lru_cache
def processor(device: str = "cpu") -> str:
    """Return words such as ``AuthenticAMD x86-64-v4 torch=AVX512 blas=SkylakeX``.

    Machines with equal words should give equal numbers. The level is what numpy uses, ``torch`` is
    what torch's own kernels use and ``blas`` the kernel of numpy's OpenBLAS, each under the present
    environment (``NPY_DISABLE_CPU_FEATURES``, ``ATEN_CPU_CAPABILITY``, ``OPENBLAS_CORETYPE``).

    Args:
        device: where the model ran; for ``cuda`` the words end with the GPU's name.
    """
    import torch

    words = [
        _vendor(),
        instruction_level(),
        f"torch={torch.backends.cpu.get_cpu_capability()}",
        f"blas={_blas()}",
    ]
    if device.partition(":")[0] == "cuda" and torch.cuda.is_available():
        words.append("gpu=" + torch.cuda.get_device_name(device).replace(" ", "-"))
    return " ".join(word for word in words if word)


def instruction_level() -> str:
    """Return the instruction set that numpy uses here, such as ``x86-64-v3`` or ``arm64``."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        # numpy prints these features (numpy.show_runtime) and offers no function that returns them.
        features: dict[str, bool] = import_module("numpy._core._multiarray_umath").__cpu_features__
        return next((level for name, level in LEVELS if features.get(name)), _older_level(features))
    return "arm64" if machine in ("arm64", "aarch64") else machine


def _older_level(features: dict[str, bool]) -> str:
    """Return the level from single features, for numpy before 2.4, which does not name levels."""
    if features.get("AVX512_SKX"):
        return "x86-64-v4"
    return "x86-64-v3" if features.get("AVX2") and features.get("FMA3") else "x86-64-v2"


def _vendor() -> str:
    """Return the vendor in /proc/cpuinfo, ``Apple`` on macOS, or "" where neither is known."""
    if platform.system() == "Darwin":
        return "Apple" if platform.machine() == "arm64" else ""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in found if name.strip() == "vendor_id"), "")


def _blas() -> str:
    """Return the kernel of numpy's BLAS, such as ``SkylakeX``, or ``unknown``."""
    import numpy as np  # noqa: F401 - loads the library that is asked about
    from threadpoolctl import threadpool_info

    kernels = sorted(
        {str(one["architecture"]) for one in threadpool_info() if one.get("architecture")}
    )
    return "+".join(kernels) or "unknown"
