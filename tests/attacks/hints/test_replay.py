"""Replay of a client: exact where the conditions are known, approximate where they are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import bench
from attacks.hints.parts.client_replay import ClientReplay, hint_part
from attacks.hints.parts.hint_decoder import SimulatedHints
from attacks.hints.parts.training_log import TrainingLog
from attacks.hints.replay import Replay, pictures_by_record
from bench.interfaces import (
    CLIENT_WEIGHTS,
    GRADIENT_DOWN,
    NOISE_TARGET,
    Budget,
    NotApplicableError,
    Silent,
    ThreatModel,
    generator,
)
from defenses.activation import Activation
from defenses.none import NoDefense
from tests.conftest import make_records
from victims.diffusion.split_controlnet import SplitControlNet

RECORDS, AUXILIARY = make_records(9), make_records(12, seed=1)
RATE = 2e-3


@pytest.fixture(scope="module")
def captured(tiny_model, tmp_path_factory):
    """A short training under ``gradient``, and what is public of it."""
    victim = SplitControlNet.build({"model": str(tiny_model)})
    capture = bench.train(
        victim,
        RECORDS,
        tmp_path_factory.mktemp("replay") / "capture",
        protocol="gradient",
        epochs=3,
        batch_size=3,
        learning_rate=RATE,
    )
    return capture, victim.public(NoDefense(), AUXILIARY, protocol="gradient", device="cpu")


def view_of(captured, **threat):
    capture, public = captured
    targets = capture.transcript.releases(2)
    return ThreatModel(**threat).project(capture.transcript, public, targets, history=True)


def true_conditions(captured, view):
    capture, _ = captured
    return capture.secrets.records.condition_batch().pixels[
        capture.secrets.records_behind(view.releases)
    ]


def typical(view):
    return AUXILIARY.condition_batch().pixels.mean(0).expand(len(view.releases), -1, -1, -1)


def test_the_learning_rate_is_on_the_wire(captured):
    view = view_of(captured, withhold=(CLIENT_WEIGHTS,))
    replay = ClientReplay.from_view(view)
    assert replay.rate(typical(view)[0]) == pytest.approx(RATE, rel=0.01)


def test_on_the_true_conditions_the_way_is_the_clients_own(captured):
    view = view_of(captured)
    truth, replay = true_conditions(captured, view), ClientReplay.from_view(view)
    path = replay.path(truth, RATE, {8})
    assert path.gap < 1e-4
    assert set(path.at) == {8}
    hints = SimulatedHints(replay.forward, path, AUXILIARY, view.public.codec, "cpu", compared=True)
    found = replay.deviations(path, truth, hints.means, compared=True)
    rows = [i for i, release in enumerate(view.releases) if release.step == 8]
    replay.forward.stem.load_state_dict(dict(path.at[8]))
    expected = hint_part(replay.forward, truth[rows], "cpu") - hints.means[8]
    torch.testing.assert_close(found[rows], expected, atol=1e-6, rtol=1e-3)
    assert float(expected.abs().max()) > 1e-5
    others = [i for i in range(len(truth)) if i not in rows]
    assert not bool(found[others].any())


def test_the_weights_sent_at_the_end_mend_a_way_that_was_guessed(captured):
    errors = {}
    truth = true_conditions(captured, view_of(captured))
    for withheld in ((), (CLIENT_WEIGHTS,)):
        view = view_of(captured, withhold=withheld)
        replay = ClientReplay.from_view(view)
        exact, guessed = (replay.path(c, RATE, {8}).at[8] for c in (truth, typical(view)))
        errors[withheld] = sum(float((guessed[n] - exact[n]).square().sum()) for n in exact)
    assert errors[()] < 0.5 * errors[(CLIENT_WEIGHTS,)]


def test_the_part_of_x_t_is_replayed_exactly_under_any_guess(captured):
    view = view_of(captured, withhold=(CLIENT_WEIGHTS,))
    replay = ClientReplay.from_view(view)
    true, guessed = (
        replay.path(c, RATE, {8}).at[8] for c in (true_conditions(captured, view), typical(view))
    )
    torch.testing.assert_close(
        guessed["conv_in.weight"], true["conv_in.weight"], atol=1e-6, rtol=1e-4
    )
    assert not torch.allclose(
        guessed["hint.blocks.0.weight"], true["hint.blocks.0.weight"], atol=1e-6
    )


def test_the_attack_claims_a_condition_for_each_target_with_or_without_the_links_of_z0(captured):
    for withheld in ((), (NOISE_TARGET,), (CLIENT_WEIGHTS,)):
        view = view_of(captured, withhold=withheld)
        attack = Replay.build({"rounds": 2, "width": 8, "depth": 1})
        claim = attack.run(view, rng=generator(0), budget=Budget(8, 4), progress=Silent())
        assert set(claim.estimates) == {"condition"}
        assert claim.estimates["condition"].latents.shape == (9, 4, 8, 8)
        assert claim.diagnostics["attack_rate"] == pytest.approx(RATE, rel=0.01)
        assert ("attack_gap" in claim.diagnostics) == (CLIENT_WEIGHTS not in withheld)


def test_a_guess_reaches_all_releases_of_its_record():
    pictures, mean = torch.rand(2, 3, 4, 4, generator=generator(1)), torch.zeros(3, 4, 4)
    guess = pictures_by_record(pictures, attacked=[2, 3], labels=[7, 8, 8, 7, 9], typical=mean)
    torch.testing.assert_close(
        guess, torch.stack([pictures[1], pictures[0], pictures[0], pictures[1], mean])
    )


def test_it_needs_a_client_that_was_moved_and_a_sum_to_take_apart(captured, tiny_model):
    view = view_of(captured)
    log = TrainingLog.from_view(view)
    with pytest.raises(NotApplicableError, match="never trained"):
        TrainingLog.from_view(view.with_channels({GRADIENT_DOWN: torch.zeros_like(log.gradient)}))
    backwards = replace(log, gradient=-log.gradient)
    with pytest.raises(NotApplicableError, match="do not move"):
        ClientReplay(view.public.client, 32, backwards, None, "cpu").rate(typical(view)[0])
    bent = SplitControlNet.build({"model": str(tiny_model)}).public(
        Activation(), AUXILIARY, protocol="gradient", device="cpu"
    )
    with pytest.raises(NotApplicableError, match="not a sum"):
        ClientReplay(bent.client, 32, log, None, "cpu")
