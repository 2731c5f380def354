"""Distances between two sets of images, computed by torchmetrics under a named backbone."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from bench.interfaces.backbone import FeatureBackbone
from bench.types.images import ImageBatch
from bench.util.errors import BenchError
from bench.util.torchvision_guard import guard_torchvision

CHUNK = 64


def needed_for_fid(dim: int) -> int:
    """Return the number of images below which the covariance of their features is singular.

    With fewer images the FID can still be computed, and is biased; callers flag it.

    Args:
        dim: width of the features.

    Returns:
        ``dim + 1``, for each of the two sets.
    """
    return dim + 1


class _Extractor(nn.Module):
    """A backbone as the module that torchmetrics expects.

    Args:
        backbone: the feature extractor.
    """

    def __init__(self, backbone: FeatureBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features = backbone.dim

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features ``(N, dim)`` float64 of pixels ``(N, 3, H, W)`` in [0, 1]."""
        return self.backbone.features(ImageBatch(pixels)).detach().cpu().double()


def fid(real: ImageBatch, fake: ImageBatch, backbone: FeatureBackbone) -> float:
    """Return the Frechet distance between Gaussians fitted to the features of two sets of images.

    Heusel et al. 2017, arXiv:1706.08500. Comparable only under one backbone and one number of
    images: it is biased upwards, and the more so the fewer images there are. Results of fewer than
    ``needed_for_fid(backbone.dim)`` images should be flagged.

    Args:
        real: N images.
        fake: M images, of any size that the backbone accepts.
        backbone: the feature extractor, as in
            ``bench.backbones.selection.load_backbones().distribution``.

    Returns:
        A non-negative number; 0 for equal sets.

    Raises:
        BenchError: fewer than two images in a set, or features that are not finite.

    Example:
        >>> from bench.backbones.embedded_backbone import load_embedded
        >>> generator = torch.Generator().manual_seed(0)
        >>> noise = ImageBatch(torch.rand(4, 3, 64, 64, generator=generator))
        >>> fid(noise, noise, load_embedded()) < 1e-3
        True
    """
    _check(real, fake, at_least=2, what="fid")
    guard_torchvision()
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Extractor(backbone), normalize=True)
    for images, is_real in ((real, True), (fake, False)):
        for part in torch.split(images.pixels, CHUNK):
            metric.update(part, real=is_real)
    value = float(metric.compute())
    if value != value:
        raise BenchError(f"fid: the features of {backbone.name} are not finite")
    return max(value, 0.0)  # rounding can leave equal sets a hair below zero


def kid(
    real: ImageBatch,
    fake: ImageBatch,
    backbone: FeatureBackbone,
    *,
    subsets: int,
    subset_size: int,
    seed: int,
) -> tuple[float, float]:
    """Return the squared polynomial-kernel MMD between the features of two sets of images.

    Binkowski et al. 2018, arXiv:1801.01401. Unbiased, so it can be slightly negative; prefer it to
    the FID where images are few.

    Args:
        real: N images.
        fake: M images, of any size that the backbone accepts.
        backbone: the feature extractor.
        subsets: how many random subsets to average over.
        subset_size: images of each set in a subset.
        seed: of the choice of subsets; the caller's random state does not change.

    Returns:
        Mean and standard deviation over the subsets.

    Raises:
        BenchError: a set has fewer images than a subset, a subset fewer than two, or features are
            not finite.
    """
    if subset_size < 2:
        raise BenchError(f"kid: a subset needs at least 2 images, got {subset_size}")
    _check(real, fake, at_least=subset_size, what="kid")
    guard_torchvision()
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        metric = KernelInceptionDistance(
            feature=_Extractor(backbone), subsets=subsets, subset_size=subset_size, normalize=True
        )
    for images, is_real in ((real, True), (fake, False)):
        for part in torch.split(images.pixels, CHUNK):
            metric.update(part, real=is_real)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, deviation = metric.compute()
    if not bool(mean.isfinite()):
        raise BenchError(f"kid: the features of {backbone.name} are not finite")
    return float(mean), float(deviation)


def _check(real: ImageBatch, fake: ImageBatch, *, at_least: int, what: str) -> None:
    """Refuse a set of images that is too small.

    Raises:
        BenchError: it is.
    """
    for side, images in (("real", real), ("generated", fake)):
        if len(images) < at_least:
            raise BenchError(f"{what}: needs at least {at_least} {side} images, got {len(images)}")
