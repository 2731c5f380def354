"""Whether a reconstruction gives away who or what is shown.

Two questions of biometrics (ISO/IEC 19795-1): identification, does the claim find its own picture in a
gallery; and verification, is it closer to its truth than strangers are to each other. A classifier's
own verdict is avoided because it calls many unrecognisable images recognised.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench import plugin
from bench.errors import BenchError
from bench.images import ImageBatch
from bench.interfaces import Estimate
from bench.measure import Metric, ScoringContext
from bench.metrics.pairs import check_pairs
from bench.plugin import Card

TIE = 1e-6
"""Cosines closer than this are one: a forward pass repeats itself no better."""


def _unit(context: ScoringContext, images: ImageBatch) -> Tensor:
    """``(N, D)`` float64 unit-length embeddings; a row that cannot be normalised stays NaN."""

    def compute() -> Tensor:
        embedded = context.backbones.identity.embed(images).detach().cpu().double()
        length: Tensor = torch.linalg.vector_norm(embedded, dim=1, keepdim=True)
        return embedded / length

    return context.once(("identity", images), compute)


def ranks(query: Tensor, gallery: Tensor) -> Tensor:
    """How many others in the gallery are at least as close to query i as gallery item i is.

    Ties count against the query, and so does whatever is not a number: constant embeddings get the
    worst rank and not the best.

    Args:
        query: ``(N, D)`` unit-length embeddings.
        gallery: ``(M, D)`` likewise, M >= N, its row i being the truth of query i.

    Returns:
        ``(N,)`` int64 in [0, M - 1].
    """
    cosine = query @ gallery.T
    own = cosine.diagonal()[:, None]
    return (~(cosine < own - TIE)).sum(dim=1) - 1


def threshold(embedded: Tensor, far: float) -> float:
    """The cosine that at most a share ``far`` of all distinct pairs exceeds.

    Args:
        embedded: ``(M, D)`` unit-length embeddings of calibration pictures, M >= 2.

    Raises:
        BenchError: fewer than two pictures, or an embedding that is not finite.
    """
    if len(embedded) < 2:
        raise BenchError("identified: a threshold needs at least two calibration pictures")
    if not bool(embedded.isfinite().all()):
        raise BenchError("identified: a calibration picture has an embedding that is not finite")
    row, column = torch.triu_indices(len(embedded), len(embedded), offset=1)
    pairs = (embedded @ embedded.T)[row, column].sort(descending=True).values
    return float(pairs[int(far * len(pairs))])


class _TopK(Metric):
    """Whether the claim's own picture is among the k nearest of the gallery."""

    targets: ClassVar[frozenset[str]] = frozenset({"image"})
    higher_is_closer: ClassVar[bool] = True
    k: ClassVar[int]

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """``(N,)`` float64, 0 or 1, or None where the gallery has no more than k pictures.

        The first N pictures of the context's gallery must be the truth of records 0..N-1.

        Raises:
            BenchError: claim and truth differ in number or size, or the gallery does not begin with the truth.
        """
        check_pairs(self.name, claim, truth)
        n = len(truth.images)
        if not torch.equal(context.gallery.pixels[:n].cpu(), truth.images.pixels.cpu()):
            raise BenchError(f"{self.name}: the gallery must begin with the true pictures of the scored records")
        if len(context.gallery) <= self.k:
            return None
        place = ranks(_unit(context, claim.images), _unit(context, context.gallery))
        return (place < self.k).double()

    def backbone(self, context: ScoringContext) -> str:
        """Name of the identity backbone."""
        return context.backbones.identity.name


class IdTop1(_TopK):
    """1 where no other gallery picture is as close to the claim as its own."""

    name = "id_top1"
    k = 1
    card = Card(
        summary="1 where the claim's nearest gallery picture is its own truth; chance is 1 / gallery size.",
        source="rank-1 identification rate, ISO/IEC 19795-1",
        cost="one forward pass of the identity backbone over claims and gallery",
        notes="Ties count against the attacker; the gallery's size belongs beside the number.",
    )


class IdTop5(_TopK):
    """1 where fewer than five other gallery pictures are as close to the claim as its own."""

    name = "id_top5"
    k = 5
    card = Card(
        summary="1 where the claim's truth is among its five nearest gallery pictures; chance is 5 / gallery size.",
        source="rank-5 identification rate, ISO/IEC 19795-1",
        cost="one forward pass of the identity backbone over claims and gallery",
        notes="Ties count against the attacker; the gallery's size belongs beside the number.",
    )


class Identified(Metric):
    """1 where claim and truth pass as one under a verifier calibrated on other records."""

    name = "identified"
    targets = frozenset({"image"})
    higher_is_closer = True
    card = Card(
        summary="1 where cosine(claim, truth) exceeds the threshold of a false-match rate of 1 % among strangers.",
        source="verification at a fixed false-match rate, ISO/IEC 19795-1; caution after Ho et al. 2025",
        needs="calibration pictures that are neither scored nor known to the attacker; 15 or more for 1 %",
        cost="one forward pass of the identity backbone over claims, truth and calibration pictures",
        notes="The threshold comes from the calibration pictures alone, before any claim is seen.",
    )

    class Params(plugin.Params):
        """Attributes: far: false-match rate, as a share of all distinct calibration pairs."""

        far: float = Field(0.01, gt=0.0, lt=1.0)

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """``(N,)`` float64, 0 or 1; an embedding that is not finite counts as 0.

        Raises:
            BenchError: claim and truth differ in number or size, or the calibration pictures are unusable.
        """
        check_pairs(self.name, claim, truth)
        tau = threshold(_unit(context, context.calibration), self.params.far)
        cosine = (_unit(context, claim.images) * _unit(context, truth.images)).sum(dim=1)
        return (cosine > tau + TIE).double()

    def backbone(self, context: ScoringContext) -> str:
        """Name of the identity backbone."""
        return context.backbones.identity.name
