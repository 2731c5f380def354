"""Measure the seconds and the memory of a training."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch


class Clock:
    """Adds up the seconds of one side.

    The clock waits for the GPU, whose work is queued.
    """

    def __init__(self, device: str) -> None:
        self.seconds = 0.0
        self._device = device

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the block."""
        self._wait()
        start = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self.seconds += time.perf_counter() - start

    def _wait(self) -> None:
        if torch.device(self._device).type == "cuda":
            torch.cuda.synchronize()


def peak_memory_mib(device: str) -> float:
    """Return the peak memory in MiB: of the GPU where ``device`` is one, else of this process."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # on Windows, which keeps the peak with the process
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, else in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
