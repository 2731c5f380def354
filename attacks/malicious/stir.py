"""``stir``: a malicious server moves the hint block by random gradients, then holds it still."""

from __future__ import annotations

import torch
from pydantic import Field

from attacks.hints.replay import Replay, ReplayParams
from attacks.malicious.parts.stir_server import StirServer
from bench.interfaces import (
    CLIENT_WEIGHTS,
    Card,
    Certificate,
    Progress,
    Public,
    ServerAdversary,
    View,
)
from bench.interfaces.threat import preset


class StirParams(ReplayParams):
    """Parameters of ``stir``.

    Attributes:
        rounds: how often the client is trained again, each time on the conditions that the last
            round decoded.
        exchanges: exchanges that are answered with random gradients. The client needs about as many
            further exchanges to come to rest before the epoch that is attacked.
    """

    rounds: int = Field(default=1, ge=1)
    exchanges: int = Field(default=30, ge=1)


class Stir(Replay):
    """``replay`` of a client that was sent gradients made for being replayed.

    Random gradients move the hint block in every direction, whereas those of a loss move it in few.
    Zero gradients after them let the client come to rest, so that the following releases are made
    with the weights that it sends at the end. The rest of h_ctrl is then exact, and needs no
    comparison within the step. The final weights are needed: the direction in which random
    gradients move a block depends on the conditions, so a replay on guesses alone ends at other
    weights.
    """

    name = "stir"
    Params = StirParams
    requires = Replay.requires | {CLIENT_WEIGHTS}
    malicious = True
    certificates = (
        Certificate(
            "split-controlnet",
            "gradient",
            "condition",
            "ssim",
            0.6,
            threat=preset("malicious_server"),
        ),
    )
    card = Card(
        summary=(
            "A malicious server moves the hint block by random gradients, holds it, and decodes "
            "what it adds."
        ),
        source="this project",
        needs=(
            "threat model malicious_server; control_features, unet_features and gradient_down of "
            "all epochs; public initial client weights and client_weights; auxiliary records"
        ),
        cost=(
            "that of one round of replay; the hint block learns nothing, which the loss of a short "
            "training does not show"
        ),
        notes=(
            "Assumes AdamW on the client. An epoch that is attacked before the client came to rest "
            "is decoded under wrong weights. The attack does not compute hints from a picture, so "
            "it reads hints of any kind."
        ),
    )

    def take_over(
        self, public: Public, *, rng: torch.Generator, progress: Progress
    ) -> ServerAdversary:
        p: StirParams = self.params
        return StirServer(p.exchanges, rng)

    def compares(self, view: View) -> bool:
        return False
