"""The prefix cache of the public text encoder against its plain forward pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.interfaces import PublicText
from victims.stable_diffusion.clip_text import ClipText
from victims.stable_diffusion.model import StableDiffusion

PROMPTS = ("a man", "", "no end to this one")


@pytest.fixture(scope="module")
def text(any_model: Path) -> PublicText:
    return StableDiffusion.load(str(any_model)).text()


def test_a_cached_step_equals_the_plain_forward(text):
    ids = text.encode(PROMPTS)
    plain = text.states(ids)
    prefix = text.begin(len(ids))
    for position in range(1, text.length):
        assert prefix.length == position
        stepped = text.candidates(prefix, ids[:, position : position + 1])[:, 0]
        torch.testing.assert_close(stepped, plain[:, position], rtol=1e-5, atol=1e-5)
        prefix = text.extend(prefix, ids[:, position])


def test_candidates_do_not_see_one_another(text):
    """States of all candidate tokens at once equal those of each token read on its own."""
    ids = text.encode(PROMPTS)
    prefix = text.begin(3)
    for position in (1, 2):
        prefix = text.extend(prefix, ids[:, position])
    tried = torch.arange(text.vocabulary).unsqueeze(0)
    at_once = text.candidates(prefix, tried)
    assert at_once.shape == (3, text.vocabulary, text.states(ids).shape[-1])
    for token in (0, 65, text.end):
        real = torch.cat([ids[:, :3], torch.full((3, 1), token)], 1)
        torch.testing.assert_close(at_once[:, token], text.states(real)[:, 3], rtol=1e-5, atol=1e-5)


def test_prefixes_can_be_taken_repeatedly(text):
    ids = text.encode(PROMPTS)
    rows = torch.tensor([2, 0, 0])
    taken = text.extend(text.begin(3), ids[:, 1]).take(rows)
    direct = text.extend(text.begin(3), ids[rows, 1])
    tried = torch.tensor([[7, 8]])
    torch.testing.assert_close(text.candidates(taken, tried), text.candidates(direct, tried))


def test_states_of_embeddings_are_those_of_the_tokens_and_differentiable(text):
    ids = text.encode(PROMPTS)
    embedded = text.embeddings()[ids].requires_grad_(True)
    states = text.states_of_embeddings(embedded)
    for row, content, expected in zip(states, text.tokens(PROMPTS), text.states(ids), strict=True):
        # Two encoders pad differently, and behind the end an embedding does not say that it is
        # padding.
        told = text.length if isinstance(text, ClipText) else len(content) + 2
        torch.testing.assert_close(row[:told], expected[:told], rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(
        states[:, 2, 0].sum(), embedded
    )  # the sum of a normalized state is constant
    assert bool(gradient[:, :3].abs().sum((1, 2)).all())
    assert not bool(gradient[:, 3:].any()), "a causal encoder's state depends on nothing after it"


def test_contents_go_round(text):
    ids = text.encode(PROMPTS)
    contents = text.tokens(PROMPTS)
    assert torch.equal(text.filled(contents), ids)
    assert contents[1] == ()
    assert len(contents[2]) == text.length - 2
    assert [text.decode(row) for row in contents[:2]] == ["a man", ""]
