"""Distances between two sets of images, by torchmetrics under a named backbone."""

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
    """Records a side without which a ``dim``-dimensional covariance is singular: ``dim + 1``.

    With fewer the FID can still be computed and is still biased; callers flag it.
    """
    return dim + 1


class _Extractor(nn.Module):
    """A backbone in the shape in which torchmetrics takes one."""

    def __init__(self, backbone: FeatureBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features = backbone.dim

    def forward(self, pixels: Tensor) -> Tensor:
        """Features ``(N, dim)`` in double precision of pixels ``(N, 3, H, W)`` in [0, 1]."""
        return self.backbone.features(ImageBatch(pixels)).detach().cpu().double()


def fid(real: ImageBatch, fake: ImageBatch, backbone: FeatureBackbone) -> float:
    """Frechet distance between Gaussians fitted to the features (Heusel et al. 2017,
    arXiv:1706.08500).

    Comparable only under one backbone and one number of images: it is biased upwards, and the more
    so the fewer images there are. Below ``needed_for_fid(backbone.dim)`` images it should be
    flagged.

    Args:
        real: N images.
        fake: M images, of any size the backbone takes.

    Returns:
        A non-negative number.

    Raises:
        BenchError: fewer than two images on a side, or features that are not finite.
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
    """Squared polynomial-kernel MMD between the features (Binkowski et al. 2018, arXiv:1801.01401).

    Unbiased, so it can be slightly negative, and the one to trust where images are few.

    Args:
        subsets: how many random subsets to average over.
        subset_size: images of each side in a subset.
        seed: of the choice of subsets; the caller's random state is left as it was.

    Returns:
        Mean and standard deviation over the subsets.

    Raises:
        BenchError: a side has fewer images than a subset, a subset fewer than two, or features that
            are not finite.
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
    """Raises BenchError where a side is too small."""
    for side, images in (("real", real), ("generated", fake)):
        if len(images) < at_least:
            raise BenchError(f"{what}: needs at least {at_least} {side} images, got {len(images)}")
