"""Metrics of whether the right person is picked from a gallery of other photographs."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.interfaces.backbone import EMBEDDED
from bench.interfaces.metric import IdentityMetric, ScoringContext
from bench.interfaces.plugin import Card
from bench.types.facts import IdentityScores

_SOURCE = "closed-set identification, ISO/IEC 19795-1"
_NOTES = (
    "The gallery's size stands in the row's field gallery. Its photographs are others than the "
    "records. Ties count against the attacker. The ceiling is the embedded identity backbone on "
    "the true picture."
)


class _Picked(IdentityMetric):
    """Whether fewer than k other candidates are at least as alike as the right one."""

    higher_is_closer: ClassVar[bool] = True
    share = True
    k: ClassVar[int]

    def compare(
        self, claim: IdentityScores, truth: IdentityScores, context: ScoringContext
    ) -> Tensor:
        """Return ``(N,)`` float64, 0 or 1."""
        return (claim.ranks(truth) < self.k).double()

    def backbone(self, context: ScoringContext) -> str:
        """Return the name of the backbone that makes the ceiling."""
        return EMBEDDED


class IdentityTop1(_Picked):
    """1 where the right person is the likeliest candidate."""

    name = "identity_top1"
    k = 1
    card = Card(
        summary="1 where the right person of the gallery is picked first.",
        source=_SOURCE,
        notes=_NOTES,
    )


class IdentityTop5(_Picked):
    """1 where the right person is among the five likeliest candidates."""

    name = "identity_top5"
    k = 5
    card = Card(
        summary="1 where the right person is among the first five picked.",
        source=_SOURCE,
        notes=_NOTES,
    )


class IdentityRank(IdentityMetric):
    """Place of the right person among the candidates; 1 is first."""

    name = "identity_rank"
    higher_is_closer = False
    card = Card(
        summary="The place of the right person among the candidates, 1 being the first.",
        source=_SOURCE,
        notes=_NOTES,
    )

    def compare(
        self, claim: IdentityScores, truth: IdentityScores, context: ScoringContext
    ) -> Tensor:
        """Return ``(N,)`` float64, from 1."""
        return (claim.ranks(truth) + 1).double()

    def backbone(self, context: ScoringContext) -> str:
        """Return the name of the backbone that makes the ceiling."""
        return EMBEDDED
