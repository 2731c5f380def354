"""The condition behind a hint block that a malicious server first wakes, and then holds still."""

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
    """Attributes:
    exchanges: that are answered with random gradients; the client needs about as many again to come
    to rest before the
        epoch that is attacked.
    """

    rounds: int = Field(default=1, ge=1)
    exchanges: int = Field(default=30, ge=1)


class Stir(Replay):
    """``replay`` of a client that was sent gradients made for being replayed.

    Random ones set the hint block going in every direction, where those of a loss do it in few;
    zeros after them let the client come to rest, so that the releases that follow are made with the
    very weights that it sends at the end. What is left of h_ctrl is then exact, and needs no
    comparison within the step. Those weights are needed: which way random gradients take a block
    depends on the conditions, so a replay on guesses alone ends up elsewhere.
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
        summary="A malicious server wakes the hint block by random gradients, holds it, and decodes what it says.",
        source="this project",
        needs="threat model malicious_server; control_features, unet_features and gradient_down of all epochs; public "
        "initial client weights and client_weights; auxiliary records",
        cost="as one round of replay; the hint block learns nothing, which a short training's loss does not show",
        notes="Assumes AdamW on the client. An epoch attacked before the client came to rest is read through weights "
        "that are off. It needs no picture to make hints from, so it reads hints of any kind.",
    )

    def take_over(
        self, public: Public, *, rng: torch.Generator, progress: Progress
    ) -> ServerAdversary:
        p: StirParams = self.params
        return StirServer(p.exchanges, rng)

    def compares(self, view: View) -> bool:
        return False
