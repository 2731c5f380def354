"""Metrics of whether a reconstruction reveals who or what is shown.

Two questions of biometrics (ISO/IEC 19795-1). Identification: is the claim closer to its true image
than to images of other identities? Verification: is it closer to its true image than images of
different identities are to each other? In both, another image of the record's identity counts
neither for nor against the attack. The verdict of a classifier is not used, because classifiers
recognise many unrecognisable images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import plugin
from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.match_threshold import MatchThreshold, calibrate, shortage
from bench.metrics.pairs import check_pairs, errors_of
from bench.types.estimate import Estimate
from bench.types.identities import group_numbers
from bench.types.images import ImageBatch
from bench.util.errors import BenchError

TIE = 1e-6
"""Cosines closer than this count as equal: repeated forward passes differ by as much."""


def _unit(context: ScoringContext, images: ImageBatch) -> Tensor:
    """Return ``(N, D)`` float64 unit-length embeddings; a row that cannot be normalized is NaN."""

    def compute() -> Tensor:
        embedded = context.backbones.identity.embed(images).detach().cpu().double()
        length: Tensor = torch.linalg.vector_norm(embedded, dim=1, keepdim=True)
        return embedded / length

    return context.once(("identity", images), compute)


def ranks(query: Tensor, gallery: Tensor, rivals: Tensor | None = None) -> Tensor:
    """Return how many rivals in the gallery are at least as close to query i as gallery item i is.

    Ties count against the query, and so does a value that is not a number: constant embeddings get
    the worst rank and not the best.

    Args:
        query: ``(N, D)`` unit-length embeddings.
        gallery: ``(M, D)`` unit-length embeddings, M >= N; its row i is the truth of query i.
        rivals: ``(N, M)`` bool, the items that count as rivals of query i; without it, all items
            except item i.

    Returns:
        ``(N,)`` int64 in [0, M - 1].
    """
    cosine = query @ gallery.T
    own = cosine.diagonal()[:, None]
    if rivals is None:
        rivals = ~torch.eye(len(query), len(gallery), dtype=torch.bool)
    return (~(cosine < own - TIE) & rivals).sum(dim=1)


def _others(identities: Sequence[str | None], count: int) -> Tensor:
    """Return which gallery images show another identity than image i does.

    Args:
        identities: of the M gallery images.
        count: how many images, the first ones, are compared with all.

    Returns:
        ``(count, M)`` bool.
    """
    numbers = torch.tensor(group_numbers(identities))
    return numbers[:count, None] != numbers[None, :]


class _IdTopK(Metric):
    """Whether fewer than k images of other identities are as close to the claim as the truth."""

    targets: ClassVar[frozenset[str]] = frozenset({"image"})
    higher_is_closer: ClassVar[bool] = True
    share = True
    k: ClassVar[int]

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """Return ``(N,)`` float64, 0 or 1, or None.

        None where the gallery has fewer than k images of other identities for a record. The first N
        images of the context's gallery must be the truth of records 0..N-1.

        Raises:
            BenchError: claim and truth differ in number or size, or the gallery does not begin with
                the truth.
        """
        with errors_of(self.name):
            check_pairs(claim.images, truth.images)
        n = len(truth.images)
        if not torch.equal(context.gallery.pixels[:n].cpu(), truth.images.pixels.cpu()):
            raise BenchError(
                f"{self.name}: the gallery must begin with the true pictures of the scored records"
            )
        rivals = _others(context.gallery_identities, n)
        if int(rivals.sum(dim=1).min()) < self.k:
            return None
        place = ranks(_unit(context, claim.images), _unit(context, context.gallery), rivals)
        return (place < self.k).double()

    def backbone(self, context: ScoringContext) -> str:
        """Return the name of the identity backbone."""
        return context.backbones.identity.name


_GALLERY_NOTES = (
    "Other pictures of the record's own identity are left out of the gallery: to be taken for "
    "one of them is no mistake about the person. Without identities each record stands for "
    "itself, and they count against the attacker. So do ties. The gallery's size belongs beside "
    "the number."
)


class IdTop1(_IdTopK):
    """1 where no gallery image of another identity is as close to the claim as the truth."""

    name = "id_top1"
    k = 1
    card = Card(
        summary=(
            "1 where no gallery picture of another identity is as close to the claim as the "
            "record's own; chance is about 1 / gallery size."
        ),
        source="rank-1 identification rate, ISO/IEC 19795-1",
        cost="one forward pass of the identity backbone over claims and gallery",
        notes=_GALLERY_NOTES,
    )


class IdTop5(_IdTopK):
    """1 where fewer than five images of other identities are as close to the claim as the truth."""

    name = "id_top5"
    k = 5
    card = Card(
        summary=(
            "1 where fewer than five gallery pictures of other identities are as close to the "
            "claim as the record's own; chance is about 5 / gallery size."
        ),
        source="rank-5 identification rate, ISO/IEC 19795-1",
        cost="one forward pass of the identity backbone over claims and gallery",
        notes=_GALLERY_NOTES,
    )


class IdentifiedParams(plugin.Params):
    """How often the verifier may match different identities.

    Attributes:
        far: false-match rate, as a share of the calibration pairs of different identities.
    """

    far: float = Field(0.01, gt=0.0, lt=1.0)


class Identified(Metric):
    """1 where a verifier, calibrated on pairs of different identities, matches claim and truth."""

    name = "identified"
    targets = frozenset({"image"})
    higher_is_closer = True
    share = True
    card = Card(
        summary=(
            "1 where claim and truth are closer than 99 % of the pairs of pictures of different "
            "identities: cosine above the threshold of 1 % false matches."
        ),
        source=(
            "verification at a fixed false-match rate, ISO/IEC 19795-1; caution after Ho et al. "
            "2025"
        ),
        needs=(
            "a calibration split of at least 15 identities for 1 %, so that there are 100 pairs "
            "of them; 30 or more for a narrow interval of the threshold"
        ),
        cost=(
            "one forward pass of the identity backbone over claims, truth and calibration pictures"
        ),
        notes=(
            "The threshold comes from the calibration split alone, before any claim is seen, and "
            "only from pairs of different identities (impostor pairs). The row has its 95 % "
            "interval (bootstrap over whole identities) and the metric's value at both ends: "
            "identified_threshold, identified_threshold_low, identified_threshold_high, "
            "identified_at_threshold_low, identified_at_threshold_high. Where a data set has no "
            "identities, each record stands for itself: a match is the record itself among "
            "others, and every pair is an impostor pair. Several pictures of one person then "
            "raise the threshold and hide leaks, so give identities. Crops of one picture share "
            "an identity. With too few identities there is no value, and identified_reason says "
            "why."
        ),
    )

    Params = IdentifiedParams

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """Return ``(N,)`` float64, 0 or 1, or None where :meth:`unscored` has a reason.

        An embedding of a claim that is not finite counts as 0.

        Raises:
            BenchError: claim and truth differ in number or size, or a calibration embedding is not
                finite.
        """
        with errors_of(self.name):
            check_pairs(claim.images, truth.images)
        if self.unscored(context):
            return None
        return _matches(_cosines(claim, truth, context), self._threshold(context).value)

    def basis(
        self, claim: Estimate, truth: Estimate, context: ScoringContext
    ) -> Mapping[str, float]:
        """Return the threshold, its interval, matches at both ends, and the calibration's size."""
        limit, cosines = self._threshold(context), _cosines(claim, truth, context)
        return {
            "threshold": limit.value,
            "threshold_low": limit.low,
            "threshold_high": limit.high,
            "at_threshold_low": float(_matches(cosines, limit.low).mean()),
            "at_threshold_high": float(_matches(cosines, limit.high).mean()),
            "impostor_pairs": limit.impostor_pairs,
            "impostor_identities": limit.identities,
        }

    def unscored(self, context: ScoringContext) -> str | None:
        """Return a reason where the identities are too few for a quantile of this share."""
        return shortage(context.calibration_identities, self.params.far)

    def _threshold(self, context: ScoringContext) -> MatchThreshold:
        far: float = self.params.far
        pictures, identities = context.calibration, context.calibration_identities
        return context.once(
            ("match threshold", far, pictures, identities),
            lambda: calibrate(_unit(context, pictures), identities, far),
        )

    def backbone(self, context: ScoringContext) -> str:
        """Return the name of the identity backbone."""
        return context.backbones.identity.name


def _cosines(claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
    """Return the cosine of each claim and its truth, ``(N,)``; NaN for a non-finite embedding."""
    return (_unit(context, claim.images) * _unit(context, truth.images)).sum(dim=1)


def _matches(cosines: Tensor, limit: float) -> Tensor:
    """Return 1 where a cosine exceeds the limit by more than :data:`TIE`, else 0, ``(N,)``."""
    return (cosines > limit + TIE).double()
