"""Attacks on prompts: exact where they must be, and silent where there is nothing to read."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from attacks.prompts.parts.token_order import TokenOrder
from attacks.prompts.prompt_decode import PromptDecode, beam_search, greedy
from attacks.prompts.prompt_from_image import PromptFromImage
from attacks.prompts.prompt_nearest import PromptNearest
from attacks.prompts.prompt_optimise import PromptOptimise
from bench.data.portraits.dataset import Portraits
from bench.interfaces import (
    NOISE_TARGET,
    PROMPT_EMBEDDING,
    TIMESTEP,
    UNET_FEATURES,
    Budget,
    NotApplicableError,
    Silent,
)
from bench.metrics.rouge import rouge_l
from tests.conftest import make_records
from tests.support.views import made_public, made_view
from victims.stable_diffusion.model import StableDiffusion

BUDGET = Budget(iterations=3, batch_size=2)
ON_STATES = [PromptDecode, PromptNearest, PromptOptimise]


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion.load(str(tiny_model))


def view(model, rows, auxiliary=None):
    auxiliary = make_records(6, seed=3) if auxiliary is None else auxiliary
    return made_view(made_public(model, auxiliary), rows)


def run(attack, seen, budget=BUDGET):
    return attack.run(seen, rng=torch.Generator().manual_seed(0), budget=budget, progress=Silent())


PROMPTS = ("a man", "", "abcdef", "z !?", "q")


@pytest.mark.parametrize("shortlist", [0, 8])
def test_decoding_is_exact_on_any_prompt(model, shortlist):
    """Random weights; no prompt like the attacker's; one is empty, one fills the encoder."""
    seen = view(model, {PROMPT_EMBEDDING: model.embed(list(PROMPTS))})
    claim = run(PromptDecode.build({"shortlist": shortlist}), seen)
    assert claim.estimates["prompt"].tokens == model.text().tokens(PROMPTS)
    assert claim.estimates["prompt"].texts[0] == "a man"
    assert claim.diagnostics["decode_explained"] == 1.0


def test_the_pocket_model_gives_real_prompts_away(make_job):
    """Real weights, real prompts; words that no auxiliary prompt has are found too."""
    pocket = StableDiffusion.load("pocket")
    records = make_job().splits.auxiliary
    truth = (*records.prompts[:2], "zebra by a quiet harbour")
    states = pocket.embed(list(truth))
    text = pocket.text()
    likely = TokenOrder(text, records.prompts[2:])
    rows, exact = greedy(text, states, likely, 32)
    assert tuple(map(tuple, rows)) == text.tokens(truth)
    assert exact == [True] * 3


def noisy(model, sigma, seed=0):
    states = model.embed(list(PROMPTS))
    return states + sigma * torch.randn(states.shape, generator=torch.Generator().manual_seed(seed))


def accuracy(model, rows):
    wanted = model.text().tokens(PROMPTS)
    pairs = [
        (a, b)
        for row, true in zip(rows, wanted, strict=True)
        for a, b in zip(row, true, strict=False)
    ]
    return sum(a == b for a, b in pairs) / sum(map(len, wanted))


def test_noise_well_below_the_distance_of_tokens_changes_nothing(model):
    states = noisy(model, 1e-3)
    rows, exact = greedy(model.text(), states, None, 0)
    assert accuracy(model, rows) == 1.0
    assert not any(exact), "nothing agrees to rounding any more"


def error(model, tokens, states):
    """Summed squared relative error of a hypothesis over all positions."""
    text = model.text()
    distance = (text.states(text.filled([tokens]))[0] - states).norm(dim=1) / states.norm(dim=1)
    return float(distance[1:].square().sum())


@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_a_beam_explains_noisy_states_no_worse_than_a_single_path(model, sigma):
    """The wider search may end elsewhere, but nowhere that fits less."""
    states = noisy(model, sigma)
    for one in states[[0, 2, 3]]:
        narrow, wide = beam_search(model.text(), one, 1), beam_search(model.text(), one, 6)
        assert error(model, wide, one) <= error(model, narrow, one) + 1e-6


def test_a_beam_of_one_is_the_greedy_path(model):
    states = noisy(model, 0.05)
    rows, _ = greedy(model.text(), states, None, 0)
    assert [beam_search(model.text(), one, 1) for one in states[:2]] == rows[:2]


def test_the_baseline_learns_tokens_and_the_optimiser_comes_nearer(model):
    prompts = tuple(f"p{i}" for i in range(8))
    seen = view(model, {PROMPT_EMBEDDING: model.embed(list(prompts))})
    read = run(PromptNearest(), seen).estimates["prompt"]
    assert accuracy_of(model, read.tokens, prompts) > 0.5
    claim = run(PromptOptimise(), seen, Budget(iterations=40, batch_size=8))
    assert claim.diagnostics["attack_loss_last"] < claim.diagnostics["attack_loss_first"]


def accuracy_of(model, rows, prompts):
    wanted = model.text().tokens(prompts)
    hits = [
        a == b
        for row, true in zip(rows, wanted, strict=True)
        for a, b in zip(row, true, strict=False)
    ]
    return sum(hits) / sum(map(len, wanted))


@pytest.mark.parametrize("attack", ON_STATES)
@pytest.mark.parametrize("null", ["zero", "empty"])
def test_a_retained_prompt_is_recognised(model, attack, null):
    empty = model.embed([""])
    sent = (torch.zeros_like(empty) if null == "zero" else empty).expand(4, -1, -1).contiguous()
    with pytest.raises(NotApplicableError, match="the prompt is retained"):
        run(attack(), view(model, {PROMPT_EMBEDDING: sent}))


@pytest.mark.parametrize("attack", ON_STATES)
def test_no_encoder_no_channel_no_attack(model, attack):
    seen = view(model, {PROMPT_EMBEDDING: model.embed(["a", "b"])})
    seen.public = seen.public.without_weights()
    assert seen.public.text is None
    with pytest.raises(NotApplicableError, match="text encoder is not known"):
        run(attack(), seen)
    with pytest.raises(NotApplicableError, match="not in view"):
        run(attack(), view(model, {TIMESTEP: torch.zeros(2, dtype=torch.long)}))
    with pytest.raises(NotApplicableError, match="not of this text encoder"):
        run(attack(), view(model, {PROMPT_EMBEDDING: torch.ones(2, 5, 16)}))


def test_the_picture_tells_of_a_retained_prompt():
    """Captions of exact pictures fit their prompt, and no prompt channel is read."""
    pocket = StableDiffusion.load("pocket")
    known = Portraits().load(72, image_size=64, condition="canny", progress=Silent())
    records, auxiliary = known.select(range(8)), known.select(range(8, 72))
    rng = torch.Generator().manual_seed(1)
    t = torch.randint(0, 1000, (8,), generator=rng)
    clean = pocket.encode(records.image_batch())
    noise = torch.randn(clean.shape, generator=rng)
    rows = {
        UNET_FEATURES: pocket.unet.conv_in(pocket.schedule.add_noise(clean, noise, t)).detach(),
        TIMESTEP: t,
        NOISE_TARGET: noise,
        PROMPT_EMBEDDING: torch.zeros(8, 32, 128),
    }
    seen = view(pocket, rows, auxiliary)
    seen.public = dataclasses.replace(seen.public, schedule=pocket.schedule)
    claim = run(PromptFromImage(), seen)
    assert set(claim.estimates) == {"prompt"}
    assert PROMPT_EMBEDDING not in seen.channels_read
    texts = claim.estimates["prompt"].texts
    own = rouge_l(texts, records.prompts).mean()
    others = rouge_l(texts, (*records.prompts[1:], records.prompts[0])).mean()
    assert own > others + 0.1
    with pytest.raises(NotApplicableError, match="auxiliary"):
        run(PromptFromImage(), view(pocket, rows, auxiliary.select([])))
