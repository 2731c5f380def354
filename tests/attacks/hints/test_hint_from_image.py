"""Hints computed from a recovered picture: the way they are made is recognised or refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from attacks.hints.hint_from_image import HintFromImage, HintFromImageParams, way_of_hints
from bench.data.conditions import extract, hints_from_pixels
from bench.data.portraits.dataset import Portraits
from bench.interfaces import (
    NOISE_TARGET,
    TIMESTEP,
    UNET_FEATURES,
    Budget,
    ImageBatch,
    NotApplicableError,
    Records,
    RequestError,
    Silent,
)
from tests.support.views import made_public, made_view
from victims.stable_diffusion.model import StableDiffusion


@pytest.fixture(scope="module")
def people() -> Records:
    return Portraits().load(12, image_size=64, condition="canny", progress=Silent())


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion.load(str(tiny_model))


@pytest.mark.parametrize("way", ["blur", "canny", "outline", "scribble"])
def test_the_way_hints_are_made_is_recognised(model, people, way):
    drawn = hints_from_pixels(way, people.images)
    assert way_of_hints(made_public(model, dataclasses.replace(people, conditions=drawn))) == way


def test_hints_that_no_pixels_tell_are_refused(model, people):
    noise = dataclasses.replace(people, conditions=extract("random", people.images))
    with pytest.raises(NotApplicableError, match="not computed"):
        way_of_hints(made_public(model, noise))


def test_too_few_examples_are_refused(model, people):
    with pytest.raises(NotApplicableError, match="2 auxiliary"):
        way_of_hints(made_public(model, people.select([0])))


def test_with_the_exact_latent_it_is_the_hint_of_the_round_trip(model, people):
    known = made_public(model, people)
    rng = torch.Generator().manual_seed(0)
    images = ImageBatch.from_uint8(people.images[:3])
    z0 = model.encode(images)
    eps, t = torch.randn(z0.shape, generator=rng), torch.tensor([100, 400, 700])
    noisy = known.schedule.add_noise(z0, eps, t)
    view = made_view(known, {UNET_FEATURES: known.stem(noisy), TIMESTEP: t, NOISE_TARGET: eps})
    attack = HintFromImage(HintFromImageParams(through="closed-form"))
    claim = attack.run(view, rng=rng, budget=Budget(0, 2), progress=Silent())
    wanted = hints_from_pixels("canny", model.decode(z0).uint8())
    assert set(claim.estimates) == {"condition"}
    differ = (claim.estimates["condition"].images.uint8() != wanted).float().mean()
    assert differ < 0.01  # a grey level at a threshold, from rounding in the solve


def test_a_picture_must_be_what_it_goes_through():
    with pytest.raises(RequestError, match="makes no picture"):
        HintFromImage(HintFromImageParams(through="linkage"))
