"""Metrics: perfect claims, independence of records, known answers, refusals."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from bench.data.conditions import extract
from bench.interfaces import (
    BackboneSet,
    BenchError,
    Estimate,
    ImageBatch,
    Metric,
    RequestError,
    ScoringContext,
)
from bench.metrics.distribution import fid, kid, needed_for_fid
from bench.metrics.edge_agreement import EdgeF1, edge_f1
from bench.metrics.fidelity import condition_fidelity
from bench.metrics.identification import Identified, IdTop1, IdTop5
from bench.metrics.latent_error import LatentNMSE
from bench.metrics.peak_signal_to_noise import PSNR
from bench.metrics.perceptual_distance import LPIPS
from bench.metrics.squared_error import MSE
from bench.metrics.structural_similarity import SSIM
from bench.metrics.success import Success
from bench.types.images import ImageRangeError

PIXEL_METRICS: list[type[Metric]] = [MSE, PSNR, SSIM, LPIPS, Success]
PERFECT = {"mse": 0.0, "psnr": 100.0, "ssim": 1.0, "lpips": 0.0, "success": 1.0}


class Thumbnail:
    """A stand-in for every backbone: the image shrunk to 4x4 pixels."""

    name = "thumbnail"
    dim = 48

    def features(self, images: ImageBatch) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images.pixels, 4).flatten(1)

    def embed(self, images: ImageBatch) -> Tensor:
        return torch.nn.functional.normalize(self.features(images) - 0.5, dim=1)

    def distance(self, first: ImageBatch, second: ImageBatch) -> Tensor:
        return (self.features(first) - self.features(second)).square().mean(dim=1)

    def prompt_score(self, images: ImageBatch, prompts: tuple[str, ...]) -> Tensor:
        return torch.zeros(len(images))


class Constant(Thumbnail):
    """A collapsed network: the same embedding for everything, or nothing but NaN."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def embed(self, images: ImageBatch) -> Tensor:
        return torch.full((len(images), 8), self.value)


def pictures(n: int, seed: int = 0, size: int = 16) -> ImageBatch:
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return ImageBatch(torch.nn.functional.interpolate(coarse, size=size, mode="nearest"))


def context(
    truth: ImageBatch,
    backbone: Thumbnail | None = None,
    distractors: int = 30,
    people: tuple[str | None, ...] | None = None,
) -> ScoringContext:
    """Every gallery picture is somebody else's, unless ``people`` says who they show."""
    net = backbone or Thumbnail()
    gallery = ImageBatch.cat([truth, pictures(distractors, seed=9, size=truth.size[0])])
    return ScoringContext(
        gallery,
        people or (None,) * len(gallery),
        pictures(40, seed=8, size=truth.size[0]),
        (None,) * 40,
        BackboneSet(net, net, net, net),
    )


def noisy(images: ImageBatch, level: float = 0.2) -> ImageBatch:
    noise = torch.randn(images.pixels.shape, generator=torch.Generator().manual_seed(5))
    return ImageBatch.clamped(images.pixels + level * noise)


def score(
    metric: Metric, claim: Estimate, truth: Estimate, backbone: Thumbnail | None = None
) -> Tensor:
    values = metric.score(claim, truth, context(truth.images, backbone))
    assert values is not None
    assert values.dtype == torch.float64
    assert values.shape == (len(truth.images),)
    return values


@pytest.mark.parametrize("kind", PIXEL_METRICS)
def test_a_perfect_claim_scores_perfectly_and_a_random_one_does_not(kind: type[Metric]) -> None:
    truth, metric = Estimate(pictures(6)), kind()
    perfect = score(metric, truth, truth)
    stranger = score(metric, Estimate(pictures(6, seed=3)), truth)
    assert perfect.tolist() == pytest.approx([PERFECT[kind.name]] * 6)
    gap = float((perfect - stranger).mean())
    assert gap > 0 if kind.higher_is_closer else gap < 0


@pytest.mark.parametrize("kind", PIXEL_METRICS)
def test_more_noise_is_never_closer(kind: type[Metric]) -> None:
    truth, metric = Estimate(pictures(8)), kind()
    means = [
        float(score(metric, Estimate(noisy(truth.images, s)), truth).mean())
        for s in (0.02, 0.1, 0.5)
    ]
    assert means == sorted(means, reverse=kind.higher_is_closer)


@pytest.mark.parametrize("kind", [*PIXEL_METRICS, IdTop1, IdTop5, Identified, EdgeF1])
def test_a_batch_scores_like_its_records_one_by_one(kind: type[Metric]) -> None:
    truth, metric = pictures(5), kind()
    claim = noisy(truth)
    together = score(metric, Estimate(claim), Estimate(truth))
    whole = context(truth)
    for i in range(5):
        own_first = [i, *(j for j in range(len(whole.gallery)) if j != i)]
        alone = dataclasses.replace(whole, gallery=whole.gallery.take(own_first))
        value = metric.score(Estimate(claim.take([i])), Estimate(truth.take([i])), alone)
        assert value is not None
        assert float(value) == pytest.approx(float(together[i]), abs=1e-6)


@pytest.mark.parametrize("kind", [*PIXEL_METRICS, IdTop1, IdTop5, Identified, EdgeF1])
def test_claims_that_do_not_pair_with_the_truth_are_refused(kind: type[Metric]) -> None:
    truth = pictures(4)
    for claim in (pictures(3), pictures(4, size=20)):
        with pytest.raises(BenchError, match=kind.name):
            kind().score(Estimate(claim), Estimate(truth), context(truth))


def test_known_values_of_mse_and_psnr() -> None:
    truth = ImageBatch(torch.zeros(2, 3, 16, 16))
    claim = ImageBatch(torch.stack([torch.full((3, 16, 16), 0.1), torch.full((3, 16, 16), 1.0)]))
    assert score(MSE(), Estimate(claim), Estimate(truth)).tolist() == pytest.approx([0.01, 1.0])
    assert score(PSNR(), Estimate(claim), Estimate(truth)).tolist() == pytest.approx(
        [20.0, 0.0], abs=1e-4
    )


def test_psnr_uses_peak_one_and_not_255() -> None:
    truth = pictures(3)
    assert float(score(PSNR(), Estimate(pictures(3, seed=2)), Estimate(truth)).max()) < 20.0


def test_images_smaller_than_the_window_are_refused_by_ssim() -> None:
    small = Estimate(pictures(2, size=8))
    for metric in (SSIM(), Success()):
        with pytest.raises(BenchError, match="at least 11x11"):
            metric.score(small, small, context(small.images))


def test_images_outside_their_range_or_type_never_reach_a_metric() -> None:
    for bad in (
        torch.full((1, 3, 16, 16), 255.0),
        torch.full((1, 3, 16, 16), -1.0),
        torch.full((1, 3, 16, 16), math.nan),
        torch.zeros(1, 3, 16, 16, dtype=torch.float16),
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(1, 1, 16, 16),
        torch.zeros(3, 16, 16),
    ):
        with pytest.raises(ImageRangeError):
            ImageBatch(bad)


def test_success_counts_ssim_above_its_threshold() -> None:
    truth = Estimate(pictures(10))
    claim = Estimate(noisy(truth.images, 0.3))
    similarity = score(SSIM(), claim, truth)
    middle = float(similarity.median())
    values = score(Success.build({"threshold": middle}), claim, truth)
    assert values.tolist() == (similarity > middle).double().tolist()
    with pytest.raises(RequestError, match="threshold"):
        Success.build({"threshold": 1.5})


def test_latent_nmse_is_zero_for_the_truth_and_one_for_its_mean() -> None:
    images, latents = (
        pictures(6),
        torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(1)),
    )
    truth = Estimate(images, latents)
    mean = Estimate(images, latents.mean(dim=0, keepdim=True).expand(6, -1, -1, -1))
    assert score(LatentNMSE(), truth, truth).tolist() == [0.0] * 6
    assert score(LatentNMSE(), mean, truth).tolist() == pytest.approx([1.0] * 6)


def test_latent_nmse_of_one_record_ignores_the_other_claims() -> None:
    images, latents = (
        pictures(3),
        torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(1)),
    )
    other = latents.clone()
    other[1:] += 3.0
    values = score(LatentNMSE(), Estimate(images, other), Estimate(images, latents))
    assert float(values[0]) == 0.0
    assert bool((values[1:] > 0).all())


def test_latent_nmse_is_absent_where_it_has_no_meaning() -> None:
    images, latents = (
        pictures(2),
        torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1)),
    )
    with_latents, without = Estimate(images, latents), Estimate(images)
    one = Estimate(images.take([0]), latents[:1])
    assert LatentNMSE().score(without, with_latents, context(images)) is None
    assert LatentNMSE().score(with_latents, without, context(images)) is None
    assert LatentNMSE().score(one, one, context(one.images)) is None
    with pytest.raises(BenchError, match="not finite"):
        LatentNMSE().score(Estimate(images, latents * math.nan), with_latents, context(images))


@pytest.mark.parametrize("kind", [IdTop1, IdTop5, Identified])
def test_truth_identifies_itself_and_a_collapsed_backbone_identifies_nobody(
    kind: type[Metric],
) -> None:
    truth = Estimate(pictures(8))
    assert score(kind(), truth, truth).tolist() == [1.0] * 8
    assert score(kind(), truth, truth, Constant()).tolist() == [0.0] * 8


@pytest.mark.parametrize("kind", [IdTop1, IdTop5])
def test_embeddings_that_are_no_numbers_identify_nobody(kind: type[Metric]) -> None:
    truth = Estimate(pictures(8))
    assert score(kind(), truth, truth, Constant(math.nan)).tolist() == [0.0] * 8
    assert score(kind(), truth, truth, Constant(0.0)).tolist() == [0.0] * 8


def test_random_claims_are_identified_at_chance() -> None:
    truth = Estimate(pictures(100))
    claim = Estimate(pictures(100, seed=77))
    assert float(score(IdTop1(), claim, truth).mean()) <= 0.05
    assert float(score(IdTop5(), claim, truth).mean()) <= 0.12
    assert float(score(Identified(), claim, truth).mean()) <= 0.05


def test_identification_needs_a_gallery_that_begins_with_the_truth_and_has_others() -> None:
    truth = Estimate(pictures(4))
    with pytest.raises(BenchError, match="gallery must begin"):
        IdTop1().score(truth, truth, context(pictures(4, seed=5)))
    assert IdTop5().score(truth, truth, context(truth.images, distractors=1)) is None


def test_another_picture_of_the_same_person_is_no_rival_in_the_gallery() -> None:
    """Two pictures a person, and every claim is exactly the other picture of its person."""
    truth = pictures(8)
    other = noisy(truth, 0.05)
    gallery = ImageBatch.cat([truth, other, pictures(6, seed=9)])
    people = tuple(f"person {i}" for i in (*range(8), *range(8), *range(8, 14)))
    net = Thumbnail()
    backbones = BackboneSet(net, net, net, net)
    known = ScoringContext(gallery, people, pictures(40, seed=8), (None,) * 40, backbones)
    unknown = dataclasses.replace(known, gallery_identities=(None,) * len(gallery))
    for kind, without in ((IdTop1, 0.0), (IdTop5, 1.0)):
        found = kind().score(Estimate(other), Estimate(truth), known)
        assert found is not None
        assert found.tolist() == [1.0] * 8
        blind = kind().score(Estimate(other), Estimate(truth), unknown)
        assert blind is not None
        assert float(blind.mean()) == without
    alone = dataclasses.replace(known, gallery_identities=("one",) * len(gallery))
    assert IdTop1().score(Estimate(other), Estimate(truth), alone) is None


def test_a_context_refuses_identities_that_do_not_pair_with_its_pictures() -> None:
    whole = context(pictures(4))
    with pytest.raises(BenchError, match="34 gallery pictures but 3 identities"):
        dataclasses.replace(whole, gallery_identities=("a", "b", "c"))
    with pytest.raises(BenchError, match="40 calibration pictures but 1 identities"):
        dataclasses.replace(whole, calibration_identities=(None,))


def lines(*columns: int) -> ImageBatch:
    pixels = torch.zeros(1, 3, 16, 16)
    pixels[..., list(columns)] = 1.0
    return ImageBatch(pixels)


def test_known_values_of_edge_f1() -> None:
    assert float(edge_f1(lines(4), lines(4))) == 1.0
    assert float(edge_f1(lines(4), lines(5))) == 1.0
    assert float(edge_f1(lines(4), lines(6))) == 0.0
    assert float(edge_f1(lines(4), lines(6), tolerance=2)) == 1.0
    assert float(edge_f1(lines(4), lines(4, 10))) == pytest.approx(2 / 3)
    assert float(edge_f1(lines(), lines())) == 1.0
    assert float(edge_f1(lines(), lines(4))) == 0.0
    assert float(edge_f1(lines(4), lines())) == 0.0
    white = ImageBatch(torch.ones(1, 3, 16, 16))
    assert float(edge_f1(white, lines(4))) == pytest.approx(2 * 3 / 16 / (1 + 3 / 16))


def test_samples_that_follow_their_hints_are_faithful() -> None:
    samples = pictures(4, size=64)
    hints = ImageBatch.from_uint8(extract("canny", samples.uint8()))
    found = condition_fidelity(samples, hints, "canny")
    assert found["condition_edge_f1"] == 1.0
    assert found["condition_ssim"] == pytest.approx(1.0)
    assert found["condition_edge_f1_chance"] < 0.8
    assert found["condition_ssim_chance"] < 0.9
    others = condition_fidelity(pictures(4, seed=3, size=64), hints, "canny")
    assert others["condition_ssim"] < 0.9
    with pytest.raises(BenchError, match="do not pair"):
        condition_fidelity(samples, hints.take([0]), "canny")


def test_metrics_say_which_targets_and_backbones_they_use() -> None:
    truth = pictures(2)
    both = frozenset({"image", "condition"})
    for kind in (*PIXEL_METRICS, LatentNMSE):
        assert kind.targets == both
    assert {k.targets for k in (IdTop1, IdTop5, Identified)} == {frozenset({"image"})}
    assert EdgeF1.targets == frozenset({"condition"})
    for kind in (LPIPS, IdTop1, Identified):
        assert kind().backbone(context(truth)) == "thumbnail"
    assert MSE().backbone(context(truth)) is None


def test_distribution_distances_grow_with_the_distortion_and_leave_random_state_alone() -> None:
    real, backbone = pictures(100), Thumbnail()
    levels = [noisy(real, s) for s in (0.0, 0.2, 0.8)]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    distances = [fid(real, fake, backbone) for fake in levels]
    kernels = [kid(real, fake, backbone, subsets=4, subset_size=50, seed=1)[0] for fake in levels]
    assert torch.equal(torch.rand(3), expected)
    assert distances[0] == pytest.approx(0.0, abs=1e-6)
    assert distances == sorted(distances)
    assert kernels[2] > kernels[0]
    assert needed_for_fid(backbone.dim) == 49


def test_kid_depends_on_its_seed_alone_and_too_few_images_are_refused() -> None:
    real, fake, net = pictures(20), pictures(20, seed=4), Thumbnail()
    first = kid(real, fake, net, subsets=3, subset_size=10, seed=1)
    assert kid(real, fake, net, subsets=3, subset_size=10, seed=1) == first
    assert kid(real, fake, net, subsets=3, subset_size=10, seed=2) != first
    with pytest.raises(BenchError, match="at least 50 real"):
        kid(real, fake, net, subsets=3, subset_size=50, seed=1)
    with pytest.raises(BenchError, match="at least 2 generated"):
        fid(real, fake.take([0]), net)
