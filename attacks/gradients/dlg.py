"""Deep leakage from gradients (Zhu et al., arXiv:1906.08935)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from attacks.common.attack_run import AttackRun
from attacks.gradients.engine.claims import claim_by_inversion
from attacks.gradients.engine.inversion import GradientInversion
from attacks.gradients.engine.lbfgs import LBFGS
from attacks.gradients.engine.objectives import SquaredL2
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


class DLGParams(Params):
    """Parameters of ``dlg`` and ``idlg``.

    Attributes:
        restarts: first guesses per update; the one whose gradient fits best is claimed.
        memory: pairs of differences that L-BFGS keeps.
        start: first guesses are standard normal, as in the paper, or uniform over the inputs'
            range.
        unroll: simulate local steps one after the other.
    """

    restarts: int = Field(default=1, ge=1)
    memory: int = Field(default=50, ge=1)
    start: Literal["normal", "uniform"] = "uniform"
    unroll: bool = True


SINGLE_RECORDS = Certificate(
    "federated-classifier",
    "fedsgd",
    "image",
    "ssim",
    0.9,
    given=(("network", "lenet"), ("activation", None), ("records_per_update", 1)),
)


def dlg_inversion(params: DLGParams) -> GradientInversion:
    """Return the inversion with the objective and the optimiser of the paper."""
    return GradientInversion(
        SquaredL2(),
        LBFGS(params.memory),
        restarts=params.restarts,
        start=params.start,
        unroll=params.unroll,
    )


class DLG(Attack):
    """Optimises pictures and soft labels together by L-BFGS on the gradients' squared distance.

    This is algorithm 1 of the paper.
    """

    name = "dlg"
    Params = DLGParams
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=300, batch_size=32)
    budget_axis = BudgetAxis("iterations", (25, 50, 100, 200, 300))
    certificates = (SINGLE_RECORDS,)
    card = Card(
        summary=(
            "Optimises pictures and labels together until their gradient equals the one that was "
            "sent."
        ),
        source="Zhu et al., arXiv:1906.08935, algorithm 1",
        needs="client_update and global_model of SGD clients; their public local training",
        cost="iterations x restarts simulations of a client's local training per update",
        notes=(
            "L-BFGS is this project's implementation, batched over updates, with a halving line "
            "search. It needs smooth activations, because second derivatives of ReLU are zero. "
            "Quality falls quickly with the number of records in an update."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        run = AttackRun.on_view(view, rng, budget, progress)
        return claim_by_inversion(view, dlg_inversion(self.params), run, read_labels=False)
