"""Guided sampling: walks with a known posterior, the feature guide, and the attack."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attacks.common.denoising import DiffusionPrior
from attacks.common.spectral_prior import Spectrum
from attacks.features.guidance.feature_guide import FeatureGuide, GuidePlan
from attacks.features.guidance.latent_priors import GaussianDenoiser
from attacks.features.guidance.sampler import (
    GaussianEvidence,
    NoGuide,
    SamplerPlan,
    posterior_mean,
    spherical_noise,
    walk,
)
from attacks.features.guidance.unknown_latents import DirectLatent, NoisyLatent
from attacks.features.guided import Guided
from attacks.features.search.coordinates import Direct, SearchInputs
from attacks.features.search.knowledge import noisy_is_solvable
from attacks.features.search.match import Match
from bench.interfaces import (
    CONTROL_FEATURES,
    NOISE_TARGET,
    UNET_FEATURES,
    Budget,
    Defense,
    NoiseSchedule,
    NotApplicableError,
    PublicForward,
    Silent,
    ThreatModel,
    Unknown,
    generator,
)
from bench.interfaces.public_forward import CONDITION_LATENTS, NOISY
from defenses.activation import Activation
from defenses.compose import Compose
from defenses.gaussian_noise import GaussianNoise
from defenses.lowpass import Lowpass
from defenses.none import NoDefense
from defenses.quantise import Quantise
from defenses.topk import TopK
from tests.conftest import make_records
from tests.support.attacked import train_and_view
from victims.classifier.split_cnn import SplitCnn
from victims.diffusion.split_controlnet import SplitControlNet

SCHEDULE = NoiseSchedule.stable_diffusion()
SHAPE = (4, 6, 6)
RECORDS = make_records(6)


def toy(prediction: str = "epsilon") -> tuple[Spectrum, DiffusionPrior]:
    """A Gaussian over latents, with a mean and unequal variances, as a denoiser."""
    schedule = NoiseSchedule(SCHEDULE.alphas_cumprod, prediction)
    rng = generator(1)
    spectrum = Spectrum(torch.randn(SHAPE, generator=rng), torch.rand(SHAPE, generator=rng) + 0.2)
    return spectrum, DiffusionPrior(GaussianDenoiser(spectrum, schedule), schedule)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_state_and_evidence_together_give_the_known_posterior_mean(prediction):
    spectrum, prior = toy(prediction)
    rng = generator(2)
    truth = torch.randn(2, *SHAPE, generator=rng)
    times = torch.tensor([400, 700])
    state = prior.schedule.add_noise(truth, torch.randn(truth.shape, generator=rng), times)
    level = 550
    precision = prior.schedule.snr(level).expand(2)
    seen = truth + precision.rsqrt().float().view(-1, 1, 1, 1) * torch.randn(
        truth.shape, generator=rng
    )
    found, total = posterior_mean([prior], GaussianEvidence(seen, precision), state, times, 8)
    own = prior.schedule.snr(times)
    mean = (
        own.view(-1, 1, 1, 1) * state / prior.schedule.signal(times)
        + precision.view(-1, 1, 1, 1) * seen
    ) / (own + precision).view(-1, 1, 1, 1)
    torch.testing.assert_close(total, own + precision)
    # The denoiser is asked at a whole timestep, the nearest in SNR.
    torch.testing.assert_close(found, spectrum.wiener(mean.float(), total), atol=0.01, rtol=0)


def test_draws_follow_the_known_posterior_of_a_gaussian():
    spectrum, prior = toy()
    level, count = 500, 400
    precision = SCHEDULE.snr(level)
    seen = torch.randn(SHAPE, generator=generator(3))
    evidence = GaussianEvidence(seen.expand(count, *SHAPE), precision.expand(count))
    rng = generator(4)
    state = torch.randn(count, *SHAPE, generator=rng)
    times = torch.full((count,), SCHEDULE.steps - 1)
    drawn = walk(
        [prior],
        evidence,
        NoGuide(),
        state,
        times,
        SamplerPlan(steps=50, batch_size=count),
        rng=rng,
    )
    expected = spectrum.wiener(seen.unsqueeze(0), precision.view(1))[0]
    error = (drawn.mean(0) - expected).square().mean().sqrt()
    spread = (1 / (1 / spectrum.variance + float(precision))).mean()
    assert float(error) < 3 * math.sqrt(float(spread) / count)
    assert float(drawn.var(0).mean()) == pytest.approx(float(spread), rel=0.15)


def test_a_turned_step_keeps_its_radius_and_goes_down():
    rng = generator(5)
    noise, slope = (torch.randn(3, *SHAPE, generator=rng) for _ in range(2))
    radius = math.sqrt(math.prod(SHAPE))
    for ratio in (0.0, 0.2, 1.0):
        step = spherical_noise(noise, slope, torch.full((3,), ratio))
        torch.testing.assert_close(step.flatten(1).norm(dim=1), torch.full((3,), radius))
    down = spherical_noise(noise, slope, torch.ones(3))
    torch.testing.assert_close(
        down, -radius * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    )
    before, after = (
        (slope * s).sum() for s in (noise, spherical_noise(noise, slope, torch.full((3,), 0.2)))
    )
    assert float(after) < float(before)


class Sum(PublicForward):
    """h_sd is a filter of x_t with no inverse, h_ctrl is z_c + x_t."""

    def __init__(self) -> None:
        self.stem = nn.Identity()

    def inputs(self):
        return {NOISY: Unknown(SHAPE), CONDITION_LATENTS: Unknown(SHAPE)}

    def send(self, inputs, rng):
        noisy = inputs[NOISY]
        half = noisy[..., :3] + noisy[..., 3:]
        return {UNET_FEATURES: half, CONTROL_FEATURES: noisy + inputs[CONDITION_LATENTS]}

    def estimates(self, inputs):
        return {}


def guide_of(
    noisy: torch.Tensor, condition: torch.Tensor, times: torch.Tensor, tolerance: float = 0.05
):
    forward = Sum()
    sent = forward.send({NOISY: noisy, CONDITION_LATENTS: condition}, generator(0))
    inputs = forward.inputs()
    return FeatureGuide(
        forward,
        Match(sent),
        [
            NoisyLatent.from_schedule(NOISY, tuple(noisy.shape), times, SCHEDULE, None, 0.0),
            DirectLatent(CONDITION_LATENTS),
        ],
        SearchInputs({}, {name: Direct(unknown) for name, unknown in inputs.items()}, {}),
        GuidePlan(tolerance, tv=0.0, searches=600, rate=0.1),
        rng=generator(0),
        device="cpu",
    )


def scene(seed: int = 6, count: int = 2):
    rng = generator(seed)
    clean, condition, noise = (torch.randn(count, *SHAPE, generator=rng) for _ in range(3))
    times = torch.full((count,), 300)
    return clean, condition, SCHEDULE.add_noise(clean, noise, times), times


def test_the_guide_finds_the_posterior_mean_where_all_is_linear_and_gaussian():
    """Noise summed out: against the dense solution for z0, z_c and eps."""
    _, condition, noisy, times = scene()
    guide = guide_of(noisy, condition, times)
    variance = torch.tensor([0.5, 0.5, 0.8, 0.8])
    found = guide.nearest(torch.zeros(4, *SHAPE), variance)
    a, b = float(SCHEDULE.signal(times)[0]), float(SCHEDULE.noise(times)[0])
    size = math.prod(SHAPE)
    eye = torch.eye(size, dtype=torch.float64)
    half = (
        torch.stack([row.view(SHAPE)[..., :3] + row.view(SHAPE)[..., 3:] for row in eye])
        .flatten(1)
        .T
    )
    to = torch.cat(
        [torch.cat([a * half, 0 * half, b * half], 1), torch.cat([a * eye, eye, b * eye], 1)]
    )
    spread = torch.cat([torch.full((size,), v) for v in (0.5, 0.8, 1.0)]).double()
    for record in range(2):
        parts = (
            guide._match.observed[UNET_FEATURES][record],
            guide._match.observed[CONTROL_FEATURES][record],
        )
        seen = torch.cat([part.flatten() for part in parts]).double()
        sigma = torch.cat(
            [(0.05**2 * part.square().mean()).expand(part.numel()) for part in parts]
        ).double()  # tolerance, of each channel
        inner = to @ (spread.unsqueeze(1) * to.T) + torch.diag(sigma)
        exact = spread * (to.T @ torch.linalg.solve(inner, seen))
        for block in range(2):
            expected = exact[block * size : (block + 1) * size].view(SHAPE).float()
            got = found[block * 2 + record]
            assert float((got - expected).square().mean().sqrt()) < 0.05 * float(
                expected.square().mean().sqrt()
            )


@pytest.mark.slow
@pytest.mark.parametrize("step", ["proximal", "spherical"])
def test_guided_draws_explain_the_features_better_than_unguided_ones(step):
    _, condition, noisy, times = scene()
    _, prior = toy()
    guide = guide_of(noisy, condition, times, tolerance=0.1)
    guide._searches = 40
    none = GaussianEvidence(torch.zeros(4, *SHAPE), torch.zeros(4, dtype=torch.float64))
    start = torch.full((4,), SCHEDULE.steps - 1)

    def misfit(pull) -> float:
        rng = generator(7)
        state = torch.randn(4, *SHAPE, generator=rng)
        plan = SamplerPlan(steps=8, recurrences=2, step=step, ratio=0.5, batch_size=8)
        drawn = walk([prior, prior], none, pull, state, start, plan, rng=rng)
        sent = Sum().send(
            {NOISY: SCHEDULE.signal(times) * drawn[:2], CONDITION_LATENTS: drawn[2:]}, rng
        )
        return sum(float((sent[c] - guide._match.observed[c]).square().mean()) for c in sent)

    assert misfit(guide) < 0.6 * misfit(NoGuide())
    assert float(guide.misfit().mean()) < 1


def test_a_target_leaves_x_t_less_room():
    clean, _, noisy, times = scene()
    eps = (noisy - SCHEDULE.signal(times) * clean) / SCHEDULE.noise(times)
    exact = NoisyLatent.from_schedule(NOISY, tuple(noisy.shape), times, SCHEDULE, eps, 0.0)
    variance = torch.full((2,), 0.5)
    torch.testing.assert_close(
        exact.back(torch.zeros_like(clean), variance, noisy), clean, atol=1e-4, rtol=0
    )
    hidden = NoisyLatent.from_schedule(NOISY, tuple(noisy.shape), times, SCHEDULE, None, 0.0)
    a, b = SCHEDULE.signal(times), SCHEDULE.noise(times)
    gain = a * 0.5 / (a.square() * 0.5 + b.square())
    torch.testing.assert_close(hidden.back(torch.zeros_like(clean), variance, noisy), gain * noisy)


@pytest.mark.parametrize(
    ("defense", "expected"),
    [
        (NoDefense(), True),
        (Activation(), True),
        (GaussianNoise(), True),
        (Lowpass(), False),
        (TopK(), False),
        (Quantise(Quantise.Params(bits=2)), False),
    ],
)
def test_it_is_told_by_the_known_defence_whether_x_t_can_be_solved_for(
    tiny_model, defense, expected
):
    public = SplitControlNet.build({"model": str(tiny_model)}).public(
        defense, RECORDS, protocol="no-gradient", device="cpu"
    )
    assert noisy_is_solvable(public.client.forward(32), public) == expected


def attacked(tiny_model, defense, out, attack, withhold=(), protocol="no-gradient"):
    """The claim on a fresh training, and the truth."""
    victim = SplitControlNet.build({"model": str(tiny_model)})
    threat = ThreatModel(withhold=tuple(withhold))
    seen = train_and_view(
        victim, RECORDS, out, defense=defense, protocol=protocol, count=3, threat=threat
    )
    claim = attack.run(seen.view, rng=generator(0), budget=Budget(0, 32), progress=Silent())
    return claim, seen.truth


def off(claim, truth, target: str) -> float:
    exact = truth[target].latents
    return float((claim.estimates[target].latents - exact).square().mean() / exact.var())


@pytest.mark.parametrize("defense", [NoDefense, Activation])
def test_where_all_is_in_view_it_is_exact(tiny_model, tmp_path, defense):
    claim, truth = attacked(tiny_model, defense(), tmp_path / "c", Guided.build({}))
    for target in ("image", "condition"):
        assert off(claim, truth, target) < 1e-3


def test_with_the_noise_in_view_it_sees_through_features_that_were_cut(tiny_model, tmp_path):
    """Three quarters of the numbers are missing; target and an untrained prior are there."""

    class Fixed(Defense):
        name = "fixed"

        def sample_timesteps(self, record_ids, schedule, rng):
            return torch.full((len(record_ids),), 300)

    defense = Compose.from_parts([Fixed(), TopK(TopK.Params(keep=0.25))])
    claim, truth = attacked(tiny_model, defense, tmp_path / "c", Guided.build({"searches": 60}))
    assert off(claim, truth, "image") < 0.2
    assert claim.diagnostics["misfit"] < 300


def test_it_does_not_apply_to_a_client_that_noises_nothing(tmp_path):
    victim = SplitCnn.build({"size": 16, "width": 8, "label": "identity"})
    seen = train_and_view(
        victim, RECORDS, tmp_path / "c", defense=NoDefense(), protocol="inference", count=3
    )
    with pytest.raises(NotApplicableError):
        Guided.build({}).run(seen.view, rng=generator(0), budget=Budget(0, 4), progress=Silent())


def test_the_timestep_is_told_apart_where_it_is_hidden(tiny_model, tmp_path):
    claim, truth = attacked(
        tiny_model,
        Lowpass(),
        tmp_path / "c",
        Guided.build({"steps": 2}),
        withhold=("timestep", NOISE_TARGET),
    )
    assert bool(claim.estimates["image"].latents.isfinite().all())
    assert claim.estimates["image"].latents.shape == truth["image"].latents.shape
