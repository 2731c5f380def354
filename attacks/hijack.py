"""Feature-space hijacking: a malicious server trains the client to send what its own decoder reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attacks.activations.knowledge import sent_shapes
from attacks.hijack_server import Autoencoder, HijackPlan, HijackServer, train_autoencoder
from bench.adversary import ServerAdversary
from bench.channels import CONTROL_FEATURES
from bench.errors import NotApplicableError
from bench.interfaces import Attack, Budget, Claim
from bench.plugin import Card, Params
from bench.progress import Progress
from bench.public import Public
from bench.public_forward import CONDITION, PIXELS, PublicForward
from bench.threat import View


class HijackParams(Params):
    """Attributes:
    width: channels of the server's networks.
    pilot_steps: of pilot and inverse on public pictures; batch_size: of a step.
    pilot_rate: their learning rate.
    critic_rate: the critic's; critic_steps: its steps for each exchange with the client.
    penalty: weight of the critic's gradient penalty.
    seed: of pilot and inverse, the server's own.
    """

    width: int = Field(default=64, ge=4)
    pilot_steps: int = Field(default=400, ge=1)
    batch_size: int = Field(default=16, ge=1)
    pilot_rate: float = Field(default=1e-3, gt=0)
    critic_rate: float = Field(default=1e-3, gt=0)
    critic_steps: int = Field(default=3, ge=1)
    penalty: float = Field(default=10.0, ge=0)
    seed: int = Field(default=0, ge=0)


class Hijack(Attack):
    """Reads pictures off the features of a client that was trained with the critic's gradient."""

    name = "hijack"
    Params = HijackParams
    requires = frozenset({CONTROL_FEATURES})
    malicious = True
    default_budget = Budget(iterations=0, batch_size=64)
    card = Card(
        summary="A malicious server trains the client's half towards features that its own decoder inverts.",
        source="Pasquini, Ateniese, Bernaschi, arXiv:2012.02670, section 3",
        needs="threat model malicious_server; a protocol whose client trains with gradients from the server; "
        "auxiliary records",
        cost="the critic's steps in every exchange of the training; the victim's model is spoilt by it",
        notes="Success grows with the length of the client's training (--epochs), not with a budget of its own: on "
        "split-cnn:cut=conv11, 30 steps at 1e-2 left its error twice that of the mean picture. So it has no "
        "certificate, and a row of it praises no defence; see hold. Under no-gradient the client accepts nothing to "
        "train with, so there is nothing to hijack.",
    )

    def take_over(self, public: Public, *, rng: torch.Generator, progress: Progress) -> ServerAdversary:
        known = Goal.of(public)
        return HijackServer(self._networks(known, public, progress), known.pictures, self._plan(), rng)

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        known = Goal.of(view.public)
        return known.claim(self._networks(known, view.public, progress), view, budget.batch_size)

    def _networks(self, known: Goal, public: Public, progress: Progress) -> Autoencoder:
        rng = torch.Generator().manual_seed(self.params.seed)
        return train_autoencoder(known.pictures, known.shape, self._plan(), rng, public.device, progress)

    def _plan(self) -> HijackPlan:
        return HijackPlan(**self.params.model_dump(exclude={"seed"}))


@dataclass(frozen=True, eq=False)
class Goal:
    """What the client's features are to be turned into.

    Attributes:
        name: of the client's input; pictures: the attacker's own, ``(M, 3, H, W)`` in [0, 1].
        shape: of the client's features, ``(C, h, w)``.
    """

    forward: PublicForward
    name: str
    pictures: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of(cls, public: Public) -> Goal:
        if public.client is None:
            raise NotApplicableError("the form of the client's features is not known under this threat model")
        records = public.auxiliary
        forward = public.client.forward(records.images.shape[-1])
        wanted = forward.inputs()
        name = next((name for name in (CONDITION, PIXELS) if name in wanted), None)
        if name is None:
            raise NotApplicableError("no picture enters the client's trained part")
        pictures = (records.condition_batch() if name == CONDITION else records.image_batch()).pixels
        pictures = functional.avg_pool2d(pictures, pictures.shape[-1] // wanted[name].shape[-1])
        return cls(forward, name, pictures, sent_shapes(forward)[CONTROL_FEATURES])

    @torch.no_grad()
    def claim(self, networks: Autoencoder, view: View, batch_size: int) -> Claim:
        """What the inverse makes of the targets' features."""
        parts = view.read(CONTROL_FEATURES).float().split(batch_size)
        found = torch.cat([networks.inverse(part.to(view.public.device)).cpu() for part in parts])
        return Claim(self.forward.estimates({self.name: found}))
