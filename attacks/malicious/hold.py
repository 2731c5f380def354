"""``hold``: a malicious server sends zero gradients, so the client keeps its public weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from attacks.malicious.parts.hijack_server import Autoencoder, DecoderPlan, train_autoencoder
from attacks.malicious.parts.target_features import ClientPilot, TargetFeatures
from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    Attack,
    Budget,
    Card,
    Certificate,
    Channel,
    Claim,
    NotApplicableError,
    Params,
    Progress,
    Public,
    ServerAdversary,
    View,
)
from bench.interfaces.threat import preset


class HoldParams(Params):
    """Parameters of ``hold``.

    Attributes:
        width: channels of the server's decoder.
        steps: optimiser steps of the decoder on public pictures.
        batch_size: pictures per step.
        learning_rate: of the decoder.
        seed: of the decoder.
    """

    width: int = Field(default=64, ge=4)
    steps: int = Field(default=400, ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    seed: int = Field(default=0, ge=0)


class HoldServer(ServerAdversary):
    """Answers with gradients of zero, so that the client keeps its public initial weights.

    Adam takes no step while every gradient has been zero; only weight decay changes the weights.
    """

    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        return {
            name: torch.zeros_like(t) if name == GRADIENT_DOWN else t for name, t in honest.items()
        }


class Hold(Attack):
    """Keeps the client at its public initial weights, and decodes its features under those weights.

    The server answers every exchange with a gradient of zero. The decoder is trained on the public
    weights and reads all that the client sends, however long it trains.
    """

    name = "hold"
    Params = HoldParams
    requires = frozenset({CONTROL_FEATURES})
    malicious = True
    default_budget = Budget(iterations=0, batch_size=64)
    # With a quarter of the width and 150 steps it reached SSIM 0.93 (width=4, size=16 victim; blind
    # 0.18); under an honest server this decoder reached 0.12.
    certificates = (
        Certificate(
            "split-cnn",
            "gradient",
            "image",
            "ssim",
            0.6,
            given=(("cut", "conv11"),),
            threat=preset("malicious_server"),
        ),
    )
    card = Card(
        summary=(
            "A malicious server keeps the client at its public weights by zero gradients, and "
            "inverts those."
        ),
        source=(
            "this project; the result of feature-space hijacking (arXiv:2012.02670) for a public "
            "client"
        ),
        needs=(
            "threat model malicious_server; a client whose only input is the picture; its public "
            "initial weights; auxiliary records"
        ),
        cost="a decoder's training; the victim's model is spoilt by it, as its loss shows",
        notes=(
            "Works from the first step on. Where x_t enters the features too (split-controlnet), "
            "the attack does not apply: a hint block that is held at its start reveals nothing "
            "about the condition."
        ),
    )

    def take_over(
        self, public: Public, *, rng: torch.Generator, progress: Progress
    ) -> ServerAdversary:
        return HoldServer()

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        target = TargetFeatures.from_public(view.public)
        if not target.picture_only:
            raise NotApplicableError(
                "x_t enters this client too, and its initial weights hide the picture"
            )
        decoder = self._decoder(target, view.public.device, progress)
        return target.claim(decoder, view, budget.batch_size)

    def _decoder(self, target: TargetFeatures, device: str, progress: Progress) -> Autoencoder:
        p: HoldParams = self.params
        plan = DecoderPlan(p.width, p.steps, p.batch_size, p.learning_rate)
        rng = torch.Generator().manual_seed(p.seed)
        pilot = ClientPilot(target.forward, target.name).requires_grad_(False)
        return train_autoencoder(target.pictures, target.shape, plan, rng, device, progress, pilot)
