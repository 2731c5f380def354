"""Inversion through a diffusion prior with a known answer: a linear client, a Gaussian prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import grad

from attacks.common.attack_run import AttackRun
from attacks.common.optimisation.priors import TotalVariation
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.integer_search import candidates, fit_integers
from attacks.gradients.engine.inversion import GradientInversion
from attacks.gradients.engine.latent_training import Ddim, LatentTraining
from attacks.gradients.engine.objectives import Cosine
from attacks.gradients.engine.problem import Terms
from attacks.gradients.engine.updates import Update
from attacks.gradients.gidm import GIDM
from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    NOISE_TARGET,
    TIMESTEP,
    Budget,
    Channel,
    Claim,
    Codec,
    Denoiser,
    Estimate,
    ImageBatch,
    LocalTraining,
    NoiseSchedule,
    NotApplicableError,
    Public,
    PublicTrainer,
    Release,
    Silent,
    ThreatModel,
    Unknown,
    View,
)
from bench.wire.transcript import NamedTensors
from tests.conftest import make_records

SCHEDULE = NoiseSchedule.stable_diffusion()
SHAPE = (4, 2, 2)
WIDE = 16


class Gaussian(Denoiser):
    """The exact denoiser where latents are standard normal: E[eps | x_t] = b_t x_t."""

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        return SCHEDULE.noise(timesteps) * noisy


class Linear(PublicTrainer):
    """A linear network on x_t that predicts eps, behind a gate that may be closed."""

    def __init__(self) -> None:
        self.local = LocalTraining("sgd", 1.0, 1, 1)

    def unknowns(self) -> Mapping[str, Unknown]:
        return {
            "z": Unknown(SHAPE, latent=True),
            "eps": Unknown(SHAPE, channel=NOISE_TARGET),
            "t": Unknown((), 0, SCHEDULE.steps - 1, integer=True, channel=TIMESTEP),
        }

    def loss(self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        noisy = SCHEDULE.add_noise(inputs["z"], inputs["eps"], inputs["t"]).flatten(1)
        guess = (noisy @ weights["inner"].T) @ weights["gate"].T + weights["bias"]
        return (guess - inputs["eps"].flatten(1)).square().mean()

    def gradient(
        self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return dict(grad(self.loss)(dict(weights), dict(inputs)))

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        return {"image": Estimate(ImageBatch(torch.zeros(len(inputs["z"]), 3, 8, 8)), inputs["z"])}


class NoCodec(Codec):
    def encode(self, images: ImageBatch) -> Tensor:
        raise NotImplementedError

    def decode(self, latents: Tensor) -> ImageBatch:
        raise NotImplementedError


def weights(*, closed: bool = False) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    inner, gate = (torch.randn(WIDE, WIDE, generator=rng) / 4 for _ in range(2))
    return {
        "inner": inner,
        "gate": torch.zeros_like(gate) if closed else gate,
        "bias": torch.zeros(WIDE),
    }


def truth(t: int = 300) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    z, eps = (torch.randn(1, *SHAPE, generator=rng) for _ in range(2))
    return {"z": z, "eps": eps, "t": torch.tensor([t])}


def see(*channels: Channel, closed: bool = False) -> View:
    """What one update of ``truth()`` shows, with the given channels beside it."""
    start, inputs, trainer = weights(closed=closed), truth(), Linear()
    sent = {name: -tensor for name, tensor in trainer.gradient(start, inputs).items()}
    public = Public(
        None,
        NoCodec(),
        SCHEDULE,
        None,
        None,
        "fedsgd",
        make_records(2),
        "cpu",
        trainer=trainer,
        denoiser=Gaussian(),
    )
    rows = {TIMESTEP: inputs["t"], NOISE_TARGET: inputs["eps"]}
    return View(
        granted=frozenset({CLIENT_UPDATE, GLOBAL_MODEL, *channels}),
        rows={channel: rows[channel] for channel in channels},
        parts={CLIENT_UPDATE: [NamedTensors(0, sent)], GLOBAL_MODEL: [NamedTensors(0, start)]},
        releases=(Release(0, 0, 0),),
        targets=(0,),
        batch_sizes=(1,),
        public=public,
        threat=ThreatModel(),
    )


def run(view: View, iterations: int, **params: object) -> Claim:
    rng = torch.Generator().manual_seed(0)
    return GIDM.build(params).run(view, rng=rng, budget=Budget(iterations, 4), progress=Silent())


def error(claim: Claim) -> float:
    found = claim.estimates["image"]
    assert isinstance(found, Estimate)
    assert found.latents is not None
    return float((found.latents - truth()["z"]).square().mean())


def test_the_chain_of_an_exact_denoiser_is_linear_on_the_sphere_of_normal_latents() -> None:
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(2))
    x = x / x.square().mean((1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(
        Ddim(Gaussian(), SCHEDULE, 2)(5 * x), Ddim(Gaussian(), SCHEDULE, 2)(x)
    )
    ratio = Ddim(Gaussian(), SCHEDULE, 50)(x) / x
    assert float(ratio.std()) < 1e-5
    # The exact flow of a standard normal onto itself is the identity; 50 steps come near it.
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.1)
    torch.testing.assert_close(
        Ddim(Gaussian(), SCHEDULE, 1)(x),
        SCHEDULE.signal(torch.tensor(999)) * x,
        rtol=1e-4,
        atol=1e-6,
    )


def test_a_generated_training_is_the_inner_one_on_what_was_made() -> None:
    inputs, outer = truth(), LatentTraining(Linear(), "z", lambda z: 2 * z)
    made = {**inputs, "z": 2 * inputs["z"]}
    here, there = outer.gradient(weights(), inputs), Linear().gradient(weights(), made)
    assert all(torch.equal(here[name], there[name]) for name in there)


@pytest.mark.slow
@pytest.mark.parametrize("generated", [0.0, 0.5])
def test_the_latent_comes_out_where_t_and_eps_were_sent(generated: float) -> None:
    view = see(TIMESTEP, NOISE_TARGET)
    claim = run(view, 600, generated=generated, rate=0.1)
    assert error(claim) < 0.01
    assert view.channels_read == {CLIENT_UPDATE, GLOBAL_MODEL, TIMESTEP, NOISE_TARGET}
    assert ("attack_loss_generated" in claim.diagnostics) == (generated > 0)
    assert claim.diagnostics["attack_loss_last"] < 1e-3 * claim.diagnostics["attack_loss_first"]


@pytest.mark.slow
def test_the_triple_optimisation_brings_the_gradient_near() -> None:
    claim = run(see(), 400, rounds=3)
    assert claim.diagnostics["attack_loss_last"] < 0.1 * claim.diagnostics["attack_loss_first"]


def test_a_grid_finds_the_timestep_when_the_rest_is_right() -> None:
    update = Update((0,), 1, weights(), Linear().gradient(weights(), truth()))
    inputs = {**truth(), "t": torch.tensor([500])}
    for level in range(9):
        inputs["t"] = fit_integers(
            Linear(),
            update,
            inputs,
            "t",
            Terms(Cosine(), (), Adaptation(), unroll=True),
            points=7,
            level=level,
            device="cpu",
        )
    assert abs(int(inputs["t"]) - 300) <= 1


def test_candidates_keep_to_the_range_and_hold_the_present_one() -> None:
    unknown = Unknown((), 0, 999, integer=True)
    assert [int(t) for t in candidates(unknown, torch.tensor(7), 3, 0)] == [7, 250, 500, 749]
    near = [int(t) for t in candidates(unknown, torch.tensor(7), 3, 1)]
    assert near == [0, 7, 257]


@pytest.mark.slow
def test_tensors_without_a_gradient_are_left_out() -> None:
    """Behind a closed gate only the gate has a gradient; it still tells x_t, but for its length."""
    found = run(see(TIMESTEP, NOISE_TARGET, closed=True), 600, generated=0.25).estimates["image"]
    assert isinstance(found, Estimate)
    assert found.latents is not None
    noisy = [
        SCHEDULE.add_noise(z, truth()["eps"], truth()["t"]).flatten()
        for z in (found.latents, truth()["z"])
    ]
    assert float(torch.cosine_similarity(*noisy, dim=0)) > 0.999
    with pytest.raises(NotApplicableError, match="zero in every tensor"):
        Adaptation().observed({"a": torch.zeros(3)})


def test_updates_without_the_same_tensors_are_solved_apart() -> None:
    starts = (weights(), weights(closed=True))
    updates = [Update((i,), 1, w, Linear().gradient(w, truth())) for i, w in enumerate(starts)]
    known = [{"eps": truth()["eps"], "t": truth()["t"]}] * 2
    found = GradientInversion(Cosine()).invert(
        Linear(),
        updates,
        AttackRun(torch.Generator().manual_seed(0), Budget(0, 4), "cpu", Silent()),
        known=known,
        begin=[{"z": truth()["z"]}] * 2,
    )
    torch.testing.assert_close(found.match, torch.zeros(2), atol=1e-5, rtol=0)
    assert all(torch.equal(z, truth()["z"]) for z in found.inputs["z"])


def test_it_needs_image_latents_and_their_denoiser() -> None:
    view = see()
    view.public = replace(view.public, denoiser=None)
    with pytest.raises(NotApplicableError, match="denoiser"):
        run(view, 1)


def test_total_variation_can_be_of_named_maps_only() -> None:
    inputs = {"a": torch.eye(4).view(1, 1, 4, 4), "b": torch.eye(4).view(1, 1, 4, 4)}
    assert TotalVariation(1.0, only=frozenset({"a"}))(inputs) == TotalVariation(1.0)(
        {"a": inputs["a"]}
    )
