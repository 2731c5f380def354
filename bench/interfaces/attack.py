"""The contract of an attack: it reads a view and returns a claim.

Data flows one way: records, victim with defence, transcript, view, attack, claim, scores. An attack
sees the view alone; it never sees the records, the victim object or the seed of the client.
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
        iterations: optimizer steps, at least 0; 0 skips the optimization.
        batch_size: records or releases per optimizer step, at least 1.
    """

    iterations: int
    batch_size: int


class Attack(Plugin, ABC):
    """Base class of attacks, which turn a view into a claim.

    Attributes:
        requires: channels without which the attack does not apply; the cell is then
            ``not_applicable``.
        uses_history: whether the view holds the releases of every epoch, not the targets alone.
        default_budget: the budget of a run that sets none.
        certificates: scores that the attack must reach on an undefended victim.
        budget_axis: the number that ``bench run --curve`` sweeps, or None.
        malicious: whether the attack needs a server that deviates from the protocol, which
            ``take_over`` builds.
        claimed_targets: what the attack claims about each record (``bench.types.targets``); its
            cells have one row for each.
    """

    requires: ClassVar[frozenset[Channel]] = frozenset()
    uses_history: bool = False
    default_budget: ClassVar[Budget] = Budget(iterations=0, batch_size=32)
    certificates: ClassVar[tuple[Certificate, ...]] = ()
    budget_axis: ClassVar[BudgetAxis | None] = None
    malicious: ClassVar[bool] = False
    claimed_targets: ClassVar[tuple[str, ...]] = TARGETS

    @property
    def candidates(self) -> int:
        """Return how many photographs the attack's gallery must have; 0 asks for no gallery."""
        return 0

    @abstractmethod
    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        """Attack the target releases of a view.

        Args:
            view: the granted channels and the public knowledge.
            rng: the source of every random draw of the attack.
            budget: what the attack may spend.
            progress: where the attack reports how far it is.

        Returns:
            One claim about all target releases, in the order of ``view.targets``.

        Raises:
            NotApplicableError: the view cannot support this attack; the message gives the reason.
        """

    def take_over(
        self, public: Public, *, rng: torch.Generator, progress: Progress
    ) -> ServerAdversary:
        """Build the server of a malicious attack before the victim trains.

        ``run`` later sees the transcript that results from this server's answers.

        Raises:
            BenchError: this attack is passive.
        """
        raise BenchError(f"attack {self.name!r} is passive and replaces no server")
