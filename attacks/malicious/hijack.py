"""Feature-space hijacking: a malicious server trains the client to send what its own decoder reads."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from attacks.malicious.parts.hijack_server import (
    Autoencoder,
    CriticPlan,
    DecoderPlan,
    HijackServer,
    train_autoencoder,
)
from attacks.malicious.parts.target_features import ClientPilot, Goal
from bench.interfaces import (
    CONTROL_FEATURES,
    Attack,
    Budget,
    Card,
    Certificate,
    Claim,
    Params,
    Progress,
    Public,
    ServerAdversary,
    View,
)
from bench.interfaces.threat import preset


class HijackParams(Params):
    """Attributes:
    width: channels of the server's inverse.
    pilot: a copy of the client's layers, taught from their public weights, so that the client can
    come to be it; or
        one of the server's own. Where x_t enters the client too it is always one of its own.
    pilot_layers: convolutions of the server's own; one makes it linear.
    pilot_steps: of pilot and inverse on public pictures; batch_size: of a step; pilot_rate: their
    learning rate. critic_width: channels of the critic; critic_rate: its learning rate;
    critic_steps: its steps for each exchange. penalty: weight of the critic's gradient penalty.
    horizon: exchanges over which the client's gradient fades out; 0 for one that never fades. seed:
    of pilot and inverse, the server's own.
    """

    width: int = Field(default=64, ge=4)
    pilot: Literal["client", "own"] = "client"
    pilot_layers: int = Field(default=1, ge=1, le=8)
    pilot_steps: int = Field(default=400, ge=1)
    batch_size: int = Field(default=16, ge=1)
    pilot_rate: float = Field(default=1e-3, gt=0)
    critic_width: int = Field(default=32, ge=4)
    critic_rate: float = Field(default=1e-3, gt=0)
    critic_steps: int = Field(default=3, ge=1)
    penalty: float = Field(default=10.0, ge=0)
    horizon: int = Field(default=1000, ge=0)
    seed: int = Field(default=0, ge=0)


class Hijack(Attack):
    """Reads pictures off the features of a client that was trained with the critic's gradient."""

    name = "hijack"
    Params = HijackParams
    requires = frozenset({CONTROL_FEATURES})
    malicious = True
    default_budget = Budget(iterations=0, batch_size=64)
    # Given 640 steps of the client (docs/studies/hijack_study.py): SSIM 0.945, and 0.369 under an honest
    # server.
    certificates = (
        Certificate(
            "split-cnn",
            "gradient",
            "image",
            "ssim",
            0.4,
            given=(("cut", "conv11"),),
            threat=preset("malicious_server"),
        ),
    )
    card = Card(
        summary="A malicious server trains the client's half towards features that its own decoder inverts.",
        source="Pasquini, Ateniese, Bernaschi, arXiv:2012.02670, section 3",
        needs="threat model malicious_server; a protocol whose client trains with gradients from the server; "
        "auxiliary records",
        cost="the critic's steps in every exchange of the training; the victim's model is spoilt by it",
        notes="Success grows with the length of the client's training (--epochs), not with a budget of its own: it "
        "takes some hundred steps, and a row after fewer praises no defence; hold works from the first. With pilot=own "
        "it takes dark for light about as often as not. Under no-gradient the client accepts nothing to train with, so "
        "there is nothing to hijack.",
    )

    def take_over(
        self, public: Public, *, rng: torch.Generator, progress: Progress
    ) -> ServerAdversary:
        known = Goal.of(public)
        p = self.params
        plan = CriticPlan(p.critic_width, p.critic_rate, p.critic_steps, p.penalty, p.horizon)
        pilot = self._networks(known, public, progress).pilot
        return HijackServer(pilot, known.pictures, known.shape, plan, rng)

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        known = Goal.of(view.public)
        return known.claim(self._networks(known, view.public, progress), view, budget.batch_size)

    def _networks(self, known: Goal, public: Public, progress: Progress) -> Autoencoder:
        p = self.params
        plan = DecoderPlan(p.width, p.pilot_steps, p.batch_size, p.pilot_rate)
        rng = torch.Generator().manual_seed(p.seed)
        copied = p.pilot == "client" and known.alone
        pilot = (
            ClientPilot(known.forward, known.name).requires_grad_(True)
            if copied
            else p.pilot_layers
        )
        return train_autoencoder(
            known.pictures, known.shape, plan, rng, public.device, progress, pilot
        )
