"""Our metrics give the numbers of the reference packages, called directly."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.backbones.external_backbones import LpipsBackbone
from bench.interfaces import BackboneSet, Estimate, ImageBatch, Metric, ScoringContext
from bench.metrics.distribution import fid, kid
from bench.metrics.peak_signal_to_noise import PSNR
from bench.metrics.perceptual_distance import LPIPS
from bench.metrics.squared_error import MSE
from bench.metrics.structural_similarity import SSIM
from bench.util.torchvision_guard import guard_torchvision

guard_torchvision()


class Moments:
    """A fixed random projection of 8x8 thumbnails, as a distribution backbone."""

    name = "moments"
    dim = 12

    def features(self, images: ImageBatch) -> Tensor:
        weights = torch.randn(192, self.dim, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.adaptive_avg_pool2d(images.pixels, 8).flatten(1) @ weights


@pytest.fixture(scope="module")
def pair() -> tuple[ImageBatch, ImageBatch]:
    """Smooth random pictures and noisy copies."""
    rng = torch.Generator().manual_seed(4)
    coarse = torch.rand(5, 3, 6, 6, generator=rng)
    truth = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)
    return ImageBatch.clamped(truth + 0.15 * torch.randn(truth.shape, generator=rng)), ImageBatch(
        truth
    )


def ours(
    metric: Metric, pair: tuple[ImageBatch, ImageBatch], backbones: BackboneSet | None = None
) -> list[float]:
    nobody = (None,) * len(pair[1])
    context = ScoringContext(pair[1], nobody, pair[1], nobody, backbones)  # type: ignore[arg-type]
    values = metric.score(Estimate(pair[0]), Estimate(pair[1]), context)
    assert values is not None
    return values.tolist()


def arrays(pair: tuple[ImageBatch, ImageBatch]) -> list[tuple[np.ndarray, np.ndarray]]:
    claim, truth = (b.pixels.double().permute(0, 2, 3, 1).numpy() for b in pair)
    return list(zip(claim, truth, strict=True))


def test_ssim_is_that_of_scikit_image(pair: tuple[ImageBatch, ImageBatch]) -> None:
    from skimage.metrics import structural_similarity

    expected = [
        structural_similarity(
            a,
            b,
            channel_axis=-1,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in arrays(pair)
    ]
    assert ours(SSIM(), pair) == pytest.approx(expected, abs=1e-9)


def test_psnr_and_mse_are_those_of_scikit_image(pair: tuple[ImageBatch, ImageBatch]) -> None:
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

    expected = [peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in arrays(pair)]
    assert ours(PSNR(), pair) == pytest.approx(expected, abs=1e-9)
    assert ours(MSE(), pair) == pytest.approx(
        [mean_squared_error(a, b) for a, b in arrays(pair)], abs=1e-12
    )


def reference_lpips(net: str) -> torch.nn.Module:
    """The package's own network with its shipped heads and a random trunk."""
    import lpips

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)


def trunk_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Its trunk under torchvision's names."""
    parts = [
        (key.split("."), value)
        for key, value in module.state_dict().items()
        if key.startswith("net.slice")
    ]
    return {f"features.{words[2]}.{words[3]}": value for words, value in parts}


def test_lpips_is_that_of_the_package_and_takes_images_in_0_1(
    pair: tuple[ImageBatch, ImageBatch],
) -> None:
    module = reference_lpips("alex")
    backbone = LpipsBackbone("alex", trunk_of(module))
    with torch.no_grad():
        expected = module(pair[0].pixels, pair[1].pixels, normalize=True).flatten()
        unscaled = module(pair[0].pixels, pair[1].pixels).flatten()
    found = ours(LPIPS(), pair, BackboneSet(*[backbone] * 4))  # type: ignore[arg-type]
    assert backbone.name == "lpips-alex"
    assert found == pytest.approx(expected.tolist(), rel=1e-5)
    assert found != pytest.approx(unscaled.tolist(), rel=1e-2)


def test_lpips_loads_a_torchvision_state_dict_and_its_own_heads(
    pair: tuple[ImageBatch, ImageBatch],
) -> None:
    from torchvision.models import alexnet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        trunk = alexnet(weights=None).state_dict()
    buffer = io.BytesIO()
    torch.save(trunk, buffer)
    buffer.seek(0)
    backbone = LpipsBackbone("alex", torch.load(buffer, weights_only=True))
    assert backbone.distance(pair[1], pair[1]).tolist() == [0.0] * 5
    assert bool((backbone.distance(*pair) > 0).all())


def test_the_heads_in_use_are_the_published_ones() -> None:
    import lpips

    backbone = LpipsBackbone("alex", trunk_of(reference_lpips("alex")))
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    heads = torch.load(path, map_location="cpu", weights_only=True)
    state = backbone._module.state_dict()
    for key, value in heads.items():
        assert torch.equal(state[key], value)
        assert torch.equal(state[key.replace("lin", "lins.", 1)], value)


def test_fid_is_that_of_torchmetrics(pair: tuple[ImageBatch, ImageBatch]) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    backbone, (fake, real) = Moments(), many()

    class Net(torch.nn.Module):
        num_features = backbone.dim

        def forward(self, x: Tensor) -> Tensor:
            return backbone.features(ImageBatch(x)).double()

    metric = FrechetInceptionDistance(feature=Net(), normalize=True)
    metric.update(real.pixels, real=True)
    metric.update(fake.pixels, real=False)
    assert fid(real, fake, backbone) == pytest.approx(float(metric.compute()), rel=1e-6)


def test_fid_of_two_gaussians_is_the_textbook_formula() -> None:
    from scipy.linalg import sqrtm

    fake, real = many()
    one, two = (Moments().features(b).double().numpy() for b in (real, fake))
    first, second = np.cov(one.T), np.cov(two.T)
    root = sqrtm(first @ second).real
    expected = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert fid(real, fake, Moments()) == pytest.approx(float(expected), rel=1e-6)


def test_kid_of_the_whole_set_is_the_unbiased_estimator() -> None:
    fake, real = many()
    x, y = (Moments().features(b).double().numpy() for b in (real, fake))
    n = len(x)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    within = [(kernel(a, a).sum() - np.trace(kernel(a, a))) / (n * (n - 1)) for a in (x, y)]
    expected = sum(within) - 2.0 * kernel(x, y).mean()
    mean, deviation = kid(real, fake, Moments(), subsets=2, subset_size=n, seed=0)
    assert mean == pytest.approx(float(expected), rel=1e-6)
    assert deviation == pytest.approx(0.0, abs=1e-9)


def many() -> tuple[ImageBatch, ImageBatch]:
    """Eighty pictures a side, the first side brighter."""
    rng = torch.Generator().manual_seed(6)
    dark, bright = torch.rand(2, 80, 3, 16, 16, generator=rng)
    return ImageBatch(bright.sqrt()), ImageBatch(dark)
