"""Class labels read off the gradient of the output layer, without optimisation."""

from __future__ import annotations

from typing import Literal

import torch

from attacks.gradients.engine.claims import in_order
from attacks.gradients.engine.labels import distinct_labels, recover_labels
from attacks.gradients.engine.updates import trainer_of, updates_in
from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    Attack,
    Budget,
    Card,
    Claim,
    Params,
    Progress,
    View,
)


class LabelCountsParams(Params):
    """Parameters of ``label-counts``.

    Attributes:
        rule: ``counts`` reads off the head's bias how often each class occurs; ``distinct`` names
            the rows of the head's weight with the lowest entries, one record each.
    """

    rule: Literal["counts", "distinct"] = "counts"


class LabelCounts(Attack):
    """Reads the class of one record exactly, and counts or ranks the classes of several.

    The bias gradient of one record is negative at its class alone.
    """

    name = "label-counts"
    Params = LabelCountsParams
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=0, batch_size=64)
    card = Card(
        summary=(
            "Reads the classes of an update's records off the gradient of the output layer; claims "
            "no picture."
        ),
        source=(
            "Zhao et al., arXiv:2001.02610; counts after LLG, arXiv:2105.09369; distinct: "
            "arXiv:2104.07586"
        ),
        needs="client_update of SGD clients that train a classifier",
        cost="none; a few simulated gradients where several records share an update",
        notes=(
            "The result is label_accuracy in the row (label_accuracy_blind: always the most "
            "frequent class), and the row's targets are not_claimed. Layers before the head, "
            "including precode's, do not change the head's gradient."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        p: LabelCountsParams = self.params
        trainer = trainer_of(view)
        updates = updates_in(view, trainer)
        labels = []
        with progress.stage("reading labels", len(updates)) as advance:
            for update in updates:
                distinct = p.rule == "distinct"
                labels.append(
                    distinct_labels(trainer, update)
                    if distinct
                    else recover_labels(trainer, update, rng)
                )
                advance(1)
        return Claim({}, labels=in_order(updates, labels))
