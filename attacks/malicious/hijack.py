"""``hijack``: feature-space hijacking by a malicious server that trains the client."""

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
from attacks.malicious.parts.target_features import ClientPilot, TargetFeatures
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
    """Parameters of ``hijack``.

    Attributes:
        width: channels of the server's inverse.
        pilot: ``client`` is a copy of the client's layers, trained from their public weights, so
            that the client can reach it. ``own`` is a network of the server, which is always used
            where x_t enters the client too.
        pilot_layers: convolutions of the server's network; a single one is linear.
        pilot_steps: optimiser steps of pilot and inverse on public pictures.
        batch_size: pictures per step.
        pilot_rate: learning rate of pilot and inverse.
        critic_width: channels of the critic.
        critic_rate: learning rate of the critic.
        critic_steps: optimiser steps of the critic per exchange.
        penalty: weight of the critic's gradient penalty.
        horizon: exchanges over which the client's gradient fades out; 0 for a gradient that never
            fades.
        seed: of pilot and inverse.
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
    # After 640 steps of the client (docs/studies/hijack_study.py) SSIM is 0.945; under an honest
    # server it is 0.369.
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
        summary=(
            "A malicious server trains the client's half towards features that the server's "
            "decoder inverts."
        ),
        source="Pasquini, Ateniese, Bernaschi, arXiv:2012.02670, section 3",
        needs=(
            "threat model malicious_server; a protocol whose client trains with gradients from the "
            "server; auxiliary records"
        ),
        cost=(
            "the critic's steps in every exchange of the training; the victim's model is spoilt by "
            "it"
        ),
        notes=(
            "Success grows with the length of the client's training (--epochs), not with the "
            "attack's budget: it takes some hundred steps, and a row after fewer steps is no "
            "evidence for a defence; hold works from the first step. With pilot=own it exchanges "
            "dark and light in about half of the runs. Under no-gradient the client accepts no "
            "gradient, so there is nothing to hijack."
        ),
    )

    def take_over(
        self, public: Public, *, rng: torch.Generator, progress: Progress
    ) -> ServerAdversary:
        target = TargetFeatures.from_public(public)
        p: HijackParams = self.params
        plan = CriticPlan(p.critic_width, p.critic_rate, p.critic_steps, p.penalty, p.horizon)
        pilot = self._networks(target, public, progress).pilot
        return HijackServer(pilot, target.pictures, target.shape, plan, rng)

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        target = TargetFeatures.from_public(view.public)
        return target.claim(self._networks(target, view.public, progress), view, budget.batch_size)

    def _networks(self, target: TargetFeatures, public: Public, progress: Progress) -> Autoencoder:
        p: HijackParams = self.params
        plan = DecoderPlan(p.width, p.pilot_steps, p.batch_size, p.pilot_rate)
        rng = torch.Generator().manual_seed(p.seed)
        copied = p.pilot == "client" and target.picture_only
        pilot = (
            ClientPilot(target.forward, target.name).requires_grad_(True)
            if copied
            else p.pilot_layers
        )
        return train_autoencoder(
            target.pictures, target.shape, plan, rng, public.device, progress, pilot
        )
