"""Inverses of known defences: stated ones, found ones, and those that there are not."""

from __future__ import annotations

import pytest
import torch

from attacks.common.undo.inverse import inverted
from attacks.common.undo.numerical_inverse import made_context, numerical_inverse
from bench.interfaces import CONTROL_FEATURES, UNET_FEATURES, Defense, NoiseSchedule, generator
from defenses.activation import Activation, activation
from defenses.additive_noise import AdditiveNoise
from defenses.keyed_mixing import KeyedMixing
from defenses.lowpass import Lowpass
from defenses.quantise import Quantise
from defenses.topk import TopK

SCHEDULE = NoiseSchedule.stable_diffusion()
FEATURES = 1.4 * torch.randn(6, 4, 6, 6, generator=generator(1))
TIMES = torch.tensor([0, 3, 200, 500, 900, 999])


class Mapped(Defense):
    """A defence of another package that states nothing."""

    name = "mapped"

    def __init__(self, function):
        super().__init__()
        self.function = function

    def protect(self, channel, tensor, context):
        return self.function(tensor, context) if channel == CONTROL_FEATURES else tensor


MIXING = torch.randn(4, 4, generator=generator(2)) + 2 * torch.eye(4)

INVERTIBLE = {
    "doubled": lambda u, c: 2 * u,
    "the paper's activation": lambda u, c: activation(u),
    "in half precision": lambda u, c: activation(u).half(),
    "falling": lambda u, c: -u.tanh() - 0.1 * u,
    "signed permutation and map": lambda u, c: -u.flip(1) + torch.linspace(-1, 1, 36).view(6, 6),
    "channels mixed": lambda u, c: torch.einsum("ij,njhw->nihw", MIXING, u),
    "by timestep": lambda u, c: u * (1 + c.timesteps.view(-1, 1, 1, 1) / 1000),
    "permuted and bent": lambda u, c: activation(u.flip(1)),
    "each number with its neighbour": lambda u, c: u + 0.4 * u.roll(1, -1),
}


@pytest.mark.parametrize("name", INVERTIBLE)
def test_what_loses_nothing_is_inverted_without_a_hook(name):
    defense = Mapped(INVERTIBLE[name])
    sent = defense.protect(CONTROL_FEATURES, FEATURES, made_context(TIMES, SCHEDULE, secret=7))
    before = inverted((defense,), CONTROL_FEATURES, sent, TIMES, SCHEDULE)
    error = (before - FEATURES).square().mean().sqrt() / FEATURES.square().mean().sqrt()
    assert before.dtype == torch.float32
    assert float(error) < 0.02


def drawn(u, context):
    return u + torch.randn(u.shape, generator=context.rng)


def keyed(u, context):
    return u * (torch.rand(u.shape[1:], generator=generator(context.secret)) + 0.5)


@pytest.mark.parametrize(
    "function", [drawn, keyed, lambda u, c: u.relu(), lambda u, c: u.round(), lambda u, c: 1 / 0]
)
def test_what_draws_depends_on_the_secret_loses_or_raises_has_no_inverse(function):
    assert numerical_inverse(Mapped(function), CONTROL_FEATURES, FEATURES, SCHEDULE) is None


@pytest.mark.parametrize("defense", [KeyedMixing(), TopK(), Quantise(), Lowpass(), AdditiveNoise()])
def test_built_in_defences_without_an_inverse_leave_the_channel_as_it_was_sent(defense):
    sent = defense.protect(CONTROL_FEATURES, FEATURES, made_context(TIMES, SCHEDULE, secret=7))
    before = inverted((defense,), CONTROL_FEATURES, sent, TIMES, SCHEDULE)
    assert torch.equal(before, sent.float())


def test_a_stack_is_inverted_from_the_outside_in_and_other_channels_stay():
    parts = (Activation(), Mapped(lambda u, c: 3 * u))
    sent = FEATURES
    for part in parts:
        sent = part.protect(CONTROL_FEATURES, sent, made_context(TIMES, SCHEDULE))
    before = inverted(parts, CONTROL_FEATURES, sent, TIMES, SCHEDULE)
    torch.testing.assert_close(before, FEATURES, atol=5e-3, rtol=5e-3)
    assert torch.equal(inverted(parts, UNET_FEATURES, FEATURES, TIMES, SCHEDULE), FEATURES)


class Lying(Mapped):
    """States that nothing is done."""

    def invert(self, channel, tensor, context):
        return tensor


def test_a_wrong_statement_is_not_believed():
    defense = Lying(INVERTIBLE["doubled"])
    before = inverted((defense,), CONTROL_FEATURES, 2 * FEATURES, TIMES, SCHEDULE)
    torch.testing.assert_close(before, FEATURES)
