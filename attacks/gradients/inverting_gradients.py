"""Inversion of gradients by their direction (Geiping et al., arXiv:2003.14053)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from attacks.common.attack_run import AttackRun
from attacks.common.optimisation.adam import Adam
from attacks.common.optimisation.priors import TotalVariation
from attacks.common.optimisation.schedules import Schedule
from attacks.gradients.engine.claims import claim_by_inversion
from attacks.gradients.engine.inversion import GradientInversion
from attacks.gradients.engine.objectives import Cosine
from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Certificate,
    Claim,
    Params,
    Progress,
    View,
)


class InvertingGradientsParams(Params):
    """Parameters of ``inverting-gradients``.

    Attributes:
        tv: weight of total variation.
        tv_power: 1 is l1, 2 is squared.
        rate: first step size.
        signed: use the signs of slopes alone, as the paper does.
        schedule: how the step size falls.
        layerwise: compare directions tensor by tensor.
        restarts: first guesses per update; the one whose gradient fits best is claimed.
        start: first guesses are standard normal, as in the paper, or uniform over the inputs'
            range.
        unroll: simulate local steps one after the other.
    """

    tv: float = Field(default=1e-6, ge=0)
    tv_power: Literal[1, 2] = 1
    rate: float = Field(default=0.1, gt=0)
    signed: bool = False
    schedule: Schedule = "cosine"
    layerwise: bool = True
    restarts: int = Field(default=1, ge=1)
    start: Literal["normal", "uniform"] = "uniform"
    unroll: bool = True


class InvertingGradients(Attack):
    """Minimises 1 - cosine of the gradients plus total variation, by Adam within the inputs' range.

    AttributeOdds are read off the update. The settings of the paper are
    ``signed=true,schedule=step,layerwise=false``. The defaults recover more on a sigmoid network,
    where a single cosine over all tensors is dominated by the head (``docs/gradients.md``).
    """

    name = "inverting-gradients"
    Params = InvertingGradientsParams
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=1000, batch_size=32)
    budget_axis = BudgetAxis("iterations", (60, 125, 250, 500, 1000))
    # With 300 iterations it reaches 0.96 (a squared error of 2e-3 where the mean picture has 0.04).
    certificates = (
        Certificate(
            "federated-classifier",
            "fedsgd",
            "image",
            "mse",
            0.9,
            given=(("network", "lenet"), ("activation", None), ("records_per_update", 1)),
        ),
    )
    card = Card(
        summary=(
            "Optimises pictures until their gradient has the direction of the one that was sent."
        ),
        source="Geiping et al., arXiv:2003.14053, equation 4",
        needs="client_update and global_model of SGD clients; their public local training",
        cost="iterations x restarts simulations of a client's local training per update",
        notes=(
            "Batched over updates and restarts. It does not use the gradient's length, so clipping "
            "does not stop it."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        p: InvertingGradientsParams = self.params
        inversion = GradientInversion(
            Cosine(p.layerwise),
            Adam(rate=p.rate, signed=p.signed, schedule=p.schedule),
            priors=(TotalVariation(p.tv, p.tv_power),) if p.tv else (),
            restarts=p.restarts,
            start=p.start,
            unroll=p.unroll,
        )
        run = AttackRun.on_view(view, rng, budget, progress)
        return claim_by_inversion(view, inversion, run, read_labels=True)
