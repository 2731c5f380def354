"""What the parts of an attack share while it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from bench.interfaces import Budget, Progress, View


@dataclass(frozen=True, eq=False)
class AttackRun:
    """The generator, budget, device and progress display of one run of an attack.

    Attributes:
        rng: the only source of random numbers.
        budget: iterations, and records (or updates) a batch.
        device: where tensors are computed.
        progress: where stages are reported.
    """

    rng: torch.Generator
    budget: Budget
    device: str
    progress: Progress

    @classmethod
    def on_view(
        cls, view: View, rng: torch.Generator, budget: Budget, progress: Progress
    ) -> AttackRun:
        """Return a run on the view's device."""
        return cls(rng, budget, view.public.device, progress)

    def with_iterations(self, iterations: int) -> AttackRun:
        """Return the run with another number of iterations."""
        return replace(self, budget=replace(self.budget, iterations=iterations))
