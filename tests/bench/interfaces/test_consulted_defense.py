"""Whether an attack adapts to a defence is derived from the hooks that it used."""

from __future__ import annotations

import copy

import pytest
import torch

from attacks.common.undo.numerical_inverse import made_context
from bench.interfaces import (
    CONTROL_FEATURES,
    NOISE_TARGET,
    TIMESTEP,
    UNET_FEATURES,
    Defense,
    NoiseSchedule,
    generator,
)
from bench.interfaces.consulted_defense import RecordedDefense, unrecorded
from defenses.activation import Activation
from defenses.additive_noise import AdditiveNoise
from defenses.compose import Compose
from defenses.decoupled_noise import DecoupledNoise
from defenses.memoised_noise import MemoisedNoise
from defenses.mixup import Mixup
from defenses.none import NoDefense
from defenses.shredder import Shredder
from defenses.timestep import TimestepPolicy
from defenses.topk import TopK

SCHEDULE = NoiseSchedule.stable_diffusion()
MAPS = torch.randn(2, 4, 8, 8, generator=generator(0))
SENT = (CONTROL_FEATURES, UNET_FEATURES, NOISE_TARGET, TIMESTEP)


def context():
    return made_context(torch.tensor([5, 900]), SCHEDULE)


def missed(defense: Defense, use, read=SENT) -> list[str]:
    recorded = RecordedDefense(defense)
    use(defense)
    return recorded.not_adapted_to(dict.fromkeys(read, MAPS), SENT, context())


def nothing(defense):
    pass


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (NoDefense, nothing),
        (TimestepPolicy, nothing),  # t was read
        (Activation, lambda d: d.invert(CONTROL_FEATURES, MAPS, context())),
        (Activation, lambda d: d.surrogate(CONTROL_FEATURES, MAPS, context())),
        (Activation, lambda d: copy.deepcopy(d).protect(CONTROL_FEATURES, MAPS, context())),
        (DecoupledNoise, lambda d: d.control_noise()),
        (Mixup, lambda d: d.mixed_records()),
        (Shredder, lambda d: d.noise_collection(CONTROL_FEATURES)),
    ],
)
def test_an_attack_that_uses_a_hook_or_needs_none_adapts(make, use):
    assert missed(make(), use) == []


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (Activation, nothing),
        (Activation, lambda d: d.invert(UNET_FEATURES, MAPS, context())),
        (TopK, lambda d: d.invert(CONTROL_FEATURES, MAPS, context())),  # no answer
        (TopK, lambda d: d.protect(CONTROL_FEATURES, MAPS, context())),  # h_sd is cut too
        (DecoupledNoise, lambda d: d.protect(CONTROL_FEATURES, MAPS, context())),
        (Mixup, nothing),
        (Shredder, lambda d: d.added_noise(CONTROL_FEATURES, 4)),  # 0 states nothing
    ],
)
def test_an_attack_that_asks_nothing_or_gets_no_answer_does_not(make, use):
    assert missed(make(), use) == [make.name]


def test_only_what_was_read_counts():
    assert missed(Activation(), nothing, read=(UNET_FEATURES,)) == []
    assert missed(TimestepPolicy(), nothing, read=(UNET_FEATURES,)) == ["timestep"]
    assert missed(TimestepPolicy(), lambda d: d.first_timestep(SCHEDULE), (UNET_FEATURES,)) == []
    assert missed(MemoisedNoise(), nothing, read=(UNET_FEATURES, TIMESTEP)) == ["memoised-noise"]
    assert missed(MemoisedNoise(), lambda d: d.keeps_noise(), (UNET_FEATURES, TIMESTEP)) == []


def test_each_part_of_a_stack_counts_by_itself_and_trials_do_not():
    stack = Compose.from_parts([Activation(), AdditiveNoise()])

    def use(defense):
        defense.flat()[1].added_noise(CONTROL_FEATURES, 256)
        defense.flat()[1].added_noise(UNET_FEATURES, 256)
        with unrecorded():
            defense.protect(CONTROL_FEATURES, MAPS, context())

    assert missed(stack, use) == ["activation"]


def test_a_recorded_defence_works_as_before_and_is_of_its_class():
    plain, defense = Activation(), Activation()
    RecordedDefense(defense)
    assert isinstance(defense, Activation)
    assert type(defense).added_noise is Defense.added_noise
    ours, theirs = (d.protect(CONTROL_FEATURES, MAPS, context()) for d in (defense, plain))
    assert torch.equal(ours, theirs)
