"""Improved deep leakage from gradients (Zhao et al., arXiv:2001.02610)."""

from __future__ import annotations

import torch

from attacks.common.attack_run import AttackRun
from attacks.gradients.dlg import SINGLE_RECORDS, DLGParams, dlg_inversion
from attacks.gradients.engine.claims import claim_by_inversion
from attacks.gradients.engine.labels import label_name
from attacks.gradients.engine.updates import trainer_of
from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Claim,
    NotApplicableError,
    Progress,
    View,
)


class IDLG(Attack):
    """Reads the label off the sign of the head's gradient, then recovers the picture as DLG."""

    name = "idlg"
    Params = DLGParams
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=300, batch_size=32)
    budget_axis = BudgetAxis("iterations", (25, 50, 100, 200, 300))
    certificates = (SINGLE_RECORDS,)
    card = Card(
        summary="Reads the label off the head's gradient, then optimises the picture alone.",
        source="Zhao et al., arXiv:2001.02610",
        needs=(
            "client_update and global_model of SGD clients that train a classifier on one record "
            "per update"
        ),
        cost="that of dlg",
        notes=(
            "Not applicable to updates of several records: the sign determines the label of a "
            "single record only."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        trainer = trainer_of(view)
        if label_name(trainer) is None:
            raise NotApplicableError("the client's training has no class label to read off")
        if max(view.batch_sizes()) > 1:
            raise NotApplicableError(
                "an update holds several records; the label can be read of a single record only"
            )
        run = AttackRun.on_view(view, rng, budget, progress)
        return claim_by_inversion(view, dlg_inversion(self.params), run, read_labels=True)
