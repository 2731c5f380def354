"""The seams a plugin fills: data sets, victims, attacks and metrics.

Data flows one way: records, victim with defence, transcript, view, attack, claim, scores. Each
class here is one arrow of that way and sees nothing of what lies behind it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from bench.interfaces.budget_axis import BudgetAxis
from bench.interfaces.certificate import Certificate
from bench.interfaces.plugin import Plugin
from bench.interfaces.public import Public
from bench.interfaces.server_adversary import ServerAdversary
from bench.types.channels import Channel
from bench.types.claim import Claim
from bench.types.targets import TARGETS
from bench.util.errors import BenchError
from bench.util.progress import Progress

if TYPE_CHECKING:
    from bench.interfaces.threat import View


@dataclass(frozen=True)
class Budget:
    """What an attack may spend.

    Attributes:
        iterations: optimiser steps.
        batch_size: records a step.
    """

    iterations: int
    batch_size: int


class Attack(Plugin, ABC):
    """Turns a view into a claim."""

    requires: ClassVar[frozenset[Channel]] = frozenset()
    adapts_to: ClassVar[tuple[str, ...]] = ()
    uses_history: ClassVar[bool] = False  # wants the releases of every epoch in its view
    default_budget: ClassVar[Budget] = Budget(iterations=0, batch_size=32)
    certificates: ClassVar[tuple[Certificate, ...]] = ()
    budget_axis: ClassVar[BudgetAxis | None] = None  # what a curve of its success runs over
    malicious: ClassVar[bool] = False  # needs a server that misbehaves; take_over makes it
    claimed_targets: ClassVar[tuple[str, ...]] = (
        TARGETS  # its cells have a row for each of these targets
    )

    @property
    def candidates(self) -> int:
        """How many photographs its gallery has at least; 0 is no gallery."""
        return 0

    @abstractmethod
    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        """Attack the view's targets.

        Raises:
            NotApplicableError: the view cannot support this attack; the message says why.
        """

    def take_over(
        self, public: Public, *, rng: torch.Generator, progress: Progress
    ) -> ServerAdversary:
        """The server of a malicious attack, before the victim trains; ``run`` sees the transcript
        that results.

        Raises:
            BenchError: this attack is a passive one.
        """
        raise BenchError(f"attack {self.name!r} is passive; it takes no server over")
