"""Learned perceptual distance (Zhang et al., CVPR 2018, arXiv:1801.03924)."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces.backbone import PerceptualBackbone
from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import check_pairs, errors_of
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch


def lpips(claim: ImageBatch, truth: ImageBatch, backbone: PerceptualBackbone) -> Tensor:
    """Return the distance between deep features of each claimed image and its true image.

    Values under different backbones never compare; only ``lpips-alex`` gives published LPIPS.

    Args:
        claim: N images.
        truth: the N true images, of the same size.
        backbone: the feature extractor, as in
            ``bench.backbones.selection.load_backbones().perceptual``.

    Returns:
        ``(N,)`` float64, non-negative; 0 for equal images.

    Raises:
        BenchError: claim and truth differ in number or size.

    Example:
        >>> import torch
        >>> from bench.backbones.embedded_backbone import load_embedded
        >>> noise = ImageBatch(torch.rand(1, 3, 64, 64))
        >>> lpips(noise, noise, load_embedded()).tolist()
        [0.0]
    """
    check_pairs(claim, truth)
    return backbone.distance(claim, truth).detach().cpu().double()


class LPIPS(Metric):
    """Perceptual distance under the context's backbone."""

    name = "lpips"
    card = Card(
        summary=(
            "Distance between deep features of claim and truth, under the backbone named in the "
            "row."
        ),
        source="Zhang et al., CVPR 2018, arXiv:1801.03924",
        cost="one forward pass of the backbone over claim and truth",
        notes="Only under the backbone lpips-alex is it comparable to published LPIPS.",
    )
    higher_is_closer = False

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """Return ``(N,)`` float64, non-negative; 0 for equal images.

        Raises:
            BenchError: claim and truth differ in number or size.
        """
        with errors_of(self.name):
            return lpips(claim.images, truth.images, context.backbones.perceptual)

    def backbone(self, context: ScoringContext) -> str:
        """Return the name of the perceptual backbone."""
        return context.backbones.perceptual.name
