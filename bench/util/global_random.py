"""The global generators of torch, numpy and ``random`` while the code of a plugin runs.

A plugin receives a generator and should draw from it. A draw from a global generator would differ
from run to run, so the global generators are set from the cell's seed before the plugin runs and
restored afterwards. The row is then equal in every run, and its flag ``global-random`` reports that
it depends on such draws.

Generators that a plugin makes without a seed (``numpy.random.default_rng()``) cannot be detected
here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.util.rng import generator

FLAG = "global-random"
"""Flag of rows for which a plugin drew from a global generator."""

_WORDS = 624  # of MT19937


@dataclass(frozen=True, eq=False)
class _States:
    """The state of every global generator."""

    torch: Tensor
    cuda: tuple[Tensor, ...]
    numpy: Any
    python: Any

    @classmethod
    def read(cls, devices: int) -> _States:
        return cls(
            torch=torch.random.get_rng_state(),
            cuda=tuple(torch.cuda.get_rng_state(i) for i in range(devices)),
            numpy=np.random.get_state(legacy=True),
            python=random.getstate(),
        )

    @classmethod
    def seeded(cls, devices: int, seed: int, words: tuple[str, ...]) -> _States:
        """Return states that follow from ``seed``, from which the seed cannot be found."""
        drawn = torch.randint(2**32, (2, _WORDS), generator=generator(seed, "global", *words))
        first, second = drawn.numpy().astype(np.uint32)
        outside = cls.read(devices)
        numbers = torch.randint(
            2**62, (max(1, devices),), generator=generator(seed, "global cuda", *words)
        ).tolist()
        for i in range(devices):
            with torch.cuda.device(i):
                torch.cuda.manual_seed(numbers[i])
        cuda = cls.read(devices).cuda
        outside.write()
        return cls(
            torch=generator(seed, "global torch", *words).get_state(),
            cuda=cuda,
            numpy=("MT19937", first, _WORDS, 0, 0.0),
            python=(3, (*map(int, second), _WORDS), None),
        )

    def write(self) -> None:
        torch.random.set_rng_state(self.torch)
        for i, state in enumerate(self.cuda):
            torch.cuda.set_rng_state(state, i)
        np.random.set_state(self.numpy)
        random.setstate(self.python)

    def same(self, other: _States) -> bool:
        mine, its = self.numpy, other.numpy
        return (
            torch.equal(self.torch, other.torch)
            and all(map(torch.equal, self.cuda, other.cuda))
            and bool(np.array_equal(mine[1], its[1]))
            and tuple(mine[2:]) == tuple(its[2:])
            and self.python == other.python
        )


class GlobalRandom:
    """The stream of global draws of one plugin.

    Args:
        seed: any integer of at least 0, from which the draws follow.
        words: the purpose of the draws.
        device: torch device name; for a CUDA device, its generators are replaced too.
    """

    def __init__(self, seed: int, *words: str, device: str = "cpu") -> None:
        self._devices = torch.cuda.device_count() if torch.device(device).type == "cuda" else 0
        if self._devices:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        self._begin = self._state = _States.seeded(self._devices, seed, words)

    @property
    def drawn(self) -> bool:
        """Whether a global generator was used or seeded while the stream was active."""
        return not self._state.same(self._begin)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the block draw from this stream; restore torch's global settings after it."""
        outside, settings = _States.read(self._devices), _NumericSettings.read()
        self._state.write()
        try:
            yield
        finally:
            self._state = _States.read(self._devices)
            outside.write()
            settings.write()


@dataclass(frozen=True)
class _NumericSettings:
    """Global settings of torch that would affect what runs after a plugin."""

    dtype: torch.dtype
    grad: bool
    deterministic: bool
    threads: int

    @classmethod
    def read(cls) -> _NumericSettings:
        return cls(
            dtype=torch.get_default_dtype(),
            grad=torch.is_grad_enabled(),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            threads=torch.get_num_threads(),
        )

    def write(self) -> None:
        now = _NumericSettings.read()
        if now.dtype != self.dtype:
            torch.set_default_dtype(self.dtype)
        if now.grad != self.grad:
            torch.set_grad_enabled(self.grad)
        if now.deterministic != self.deterministic:
            torch.use_deterministic_algorithms(self.deterministic)
        if now.threads != self.threads:
            torch.set_num_threads(self.threads)
