"""What every registered metric must hold to."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from bench.interfaces import (
    AttributeMetric,
    BenchError,
    Estimate,
    IdentityMetric,
    ImageBatch,
    Metric,
    ScoringContext,
    TextMetric,
    Texts,
)
from bench.interfaces.backbone import EMBEDDED
from bench.types.targets import ALL_TARGETS as TARGETS
from tests.contract.test_plugins import METRICS, MakeJob, load

TEXT_METRICS = [name for name in METRICS if issubclass(load("metrics", name), TextMetric)]
FACT_METRICS = [
    n for n in METRICS if issubclass(load("metrics", n), AttributeMetric | IdentityMetric)
]
PICTURE_METRICS = [name for name in METRICS if name not in (*TEXT_METRICS, *FACT_METRICS)]


@pytest.fixture(scope="session")
def scene(make_job: MakeJob) -> tuple[Estimate, Estimate, ScoringContext]:
    """A noisy claim, the truth, and a context with the shipped backbones."""
    job = make_job(calibration=60)  # 15 people to calibrate on
    truth = job.splits.victim.select(range(5))
    rng = torch.Generator().manual_seed(1)
    latents = torch.randn(5, 4, 8, 8, generator=rng)
    pixels = truth.image_batch().pixels
    noisy = ImageBatch.clamped(pixels + 0.25 * torch.randn(pixels.shape, generator=rng))
    gallery = ImageBatch.cat([truth.image_batch(), job.splits.evaluation.image_batch()])
    shown = ScoringContext(
        gallery,
        (*truth.identities, *job.splits.evaluation.identities),
        job.splits.calibration.image_batch(),
        job.splits.calibration.identities,
        job.backbones,
    )
    claim = Estimate(noisy, latents + 0.5 * torch.randn(latents.shape, generator=rng))
    return claim, Estimate(truth.image_batch(), latents), shown


def score(metric: Metric, claim: Estimate, truth: Estimate, shown: ScoringContext) -> Tensor:
    values = metric.score(claim, truth, shown)
    assert values is not None
    assert values.dtype == torch.float64
    assert values.shape == (len(truth.images),)
    assert bool(values.isfinite().all())
    return values


@pytest.mark.parametrize("name", PICTURE_METRICS)
def test_an_identical_claim_is_perfect(
    scene: tuple[Estimate, Estimate, ScoringContext], name: str
) -> None:
    """0 where low is closer, the metric's one best value where high is; and no other claim beats
    it.
    """
    claim, truth, shown = scene
    metric = load("metrics", name).build({})
    best = {"psnr": 100.0}.get(name, 1.0) if metric.higher_is_closer else 0.0
    perfect = score(metric, truth, truth, shown)
    assert perfect.tolist() == pytest.approx([best] * len(perfect), abs=1e-6)
    other = score(metric, claim, truth, shown)
    assert bool(
        (other <= perfect + 1e-6).all()
        if metric.higher_is_closer
        else (other >= perfect - 1e-6).all()
    )


@pytest.mark.parametrize("name", PICTURE_METRICS)
def test_a_record_scores_alike_alone_and_in_company(
    scene: tuple[Estimate, Estimate, ScoringContext], name: str
) -> None:
    claim, truth, shown = scene
    metric = load("metrics", name).build({})
    together = score(metric, claim, truth, shown)
    for i in range(len(together)):
        order = [
            i,
            *(j for j in range(len(shown.gallery)) if j != i),
        ]  # the gallery begins with the truth
        people = tuple(shown.gallery_identities[j] for j in order)
        own = dataclasses.replace(
            shown, gallery=shown.gallery.take(order), gallery_identities=people
        )
        alone = metric.score(take(claim, i), take(truth, i), own)
        if name == "latent_nmse":
            assert alone is None, (
                "normalized by the spread of the scored set, which one record has not"
            )
            continue
        assert alone is not None
        assert float(alone) == pytest.approx(float(together[i]), abs=1e-5)


def take(estimate: Estimate, i: int) -> Estimate:
    assert estimate.latents is not None
    return Estimate(estimate.images.take([i]), estimate.latents[i : i + 1])


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_names_its_backbone_or_none(
    scene: tuple[Estimate, Estimate, ScoringContext], name: str
) -> None:
    metric = load("metrics", name).build({})
    used = metric.backbone(scene[2])
    known = {
        getattr(scene[2].backbones, role).name
        for role in ("identity", "distribution", "perceptual", "prompt")
    }
    assert used is None or used in {*known, EMBEDDED}
    assert metric.targets <= set(TARGETS)
    assert metric.targets
    kinds = {"prompt": TextMetric, "attribute": AttributeMetric, "identity": IdentityMetric}
    special = (TextMetric, AttributeMetric, IdentityMetric)
    for target in metric.targets:
        assert (
            isinstance(metric, kinds[target])
            if target in kinds
            else not isinstance(metric, special)
        )


@pytest.fixture(scope="session")
def texts(make_job: MakeJob) -> tuple[Texts, Texts, ScoringContext]:
    """Somebody else's prompts as a claim, the truth, and a context with the shipped backbones."""
    job = make_job()
    truth = job.splits.victim.select(range(5))
    public = job.new_victim().public(
        None, job.splits.auxiliary, protocol="no-gradient", device="cpu"
    )
    shown = ScoringContext(
        truth.image_batch(),
        truth.identities,
        job.splits.calibration.image_batch(),
        job.splits.calibration.identities,
        job.backbones,
        prompts=(*truth.prompts, *job.splits.evaluation.prompts),
        text=public.text,
    )
    return Texts(job.splits.auxiliary.prompts[:5]), Texts(truth.prompts), shown


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_the_true_texts_are_a_perfect_claim(
    texts: tuple[Texts, Texts, ScoringContext], name: str
) -> None:
    claim, truth, shown = texts
    metric = load("metrics", name).build({})
    perfect, other = metric.compare(truth, truth, shown), metric.compare(claim, truth, shown)
    assert perfect.dtype == other.dtype == torch.float64
    assert perfect.tolist() == pytest.approx([1.0] * 5, abs=1e-6)
    assert bool((other <= perfect + 1e-6).all())
    assert float(other.mean()) < 0.999


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_a_text_scores_alike_alone_and_in_company(
    texts: tuple[Texts, Texts, ScoringContext], name: str
) -> None:
    claim, truth, shown = texts
    metric = load("metrics", name).build({})
    together = metric.compare(claim, truth, shown)
    alone = [metric.compare(claim.take([i]), truth.take([i]), shown) for i in range(5)]
    assert torch.cat(alone).tolist() == pytest.approx(together.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_a_text_metric_refuses_pictures(
    scene: tuple[Estimate, Estimate, ScoringContext], name: str
) -> None:
    with pytest.raises(BenchError, match="texts, not pictures"):
        load("metrics", name).build({}).score(*scene)
