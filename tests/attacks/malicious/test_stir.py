"""A server that moves a hint block by random gradients: what it sends, and what it gains."""

from __future__ import annotations

import pytest
import torch

from attacks.hints.parts.client_replay import ClientReplay, hint_part
from attacks.hints.parts.hint_decoder import SimulatedHints
from attacks.malicious.parts.stir_server import StirServer
from attacks.malicious.stir import Stir
from bench.interfaces import (
    CLIENT_WEIGHTS,
    GRADIENT_DOWN,
    PREDICTION_DOWN,
    Budget,
    Capture,
    Silent,
    TrainingPlan,
    generator,
)
from bench.interfaces.threat import preset
from defenses.none import NoDefense
from tests.conftest import make_records
from victims.diffusion.split_controlnet import SplitControlNet

RECORDS, AUXILIARY = make_records(8), make_records(12, seed=1)
STIRRED, EPOCHS = 5, 15


def test_random_gradients_without_a_mean_over_places_and_then_none():
    server, asked = StirServer(2, generator(0)), torch.ones(3, 4, 6, 6)
    answers = [server.answer({}, {GRADIENT_DOWN: asked})[GRADIENT_DOWN] for _ in range(4)]
    for answer in answers[:2]:
        assert answer.shape == asked.shape
        assert float(answer.mean((2, 3)).abs().max()) < 1e-9
        assert float(answer.std()) == pytest.approx(1e-3, rel=0.2)
    assert not torch.equal(answers[0], answers[1])
    assert not any(bool(answer.any()) for answer in answers[2:])


def test_what_carries_no_gradient_passes_and_counts_for_nothing():
    server, asked = StirServer(1, generator(0)), torch.ones(1, 2, 4, 4)
    prediction = {PREDICTION_DOWN: asked}
    assert server.answer({}, prediction) is prediction
    assert bool(server.answer({}, {GRADIENT_DOWN: asked})[GRADIENT_DOWN].any())


@pytest.fixture(scope="module")
def train(tiny_model, tmp_path_factory):
    """Makes captures under a stirring server or an honest one, with what is public of them."""
    victim = SplitControlNet.build({"model": str(tiny_model)})

    def captures(*, seed: int = 0, u_shaped: bool = False):
        servers = {
            "stirred": ("gradient", StirServer(STIRRED, generator(1))),
            "honest": ("gradient", None),
        }
        if u_shaped:
            servers["u-shaped"] = ("u-shaped", StirServer(STIRRED, generator(1)))
        found = {}
        for name, (protocol, adversary) in servers.items():
            out = tmp_path_factory.mktemp(name) / "capture"
            plan = TrainingPlan(EPOCHS, 4, 2e-3, seed, "cpu", "fp32", adversary)
            victim.train(RECORDS, NoDefense(), plan, protocol=protocol, out=out, progress=Silent())
            found[name] = Capture.open(out)
        return found, victim.public(NoDefense(), AUXILIARY, protocol="gradient", device="cpu")

    return captures


@pytest.fixture(scope="module")
def wires(train):
    return train(u_shaped=True)


def seen(wires, name):
    captures, public = wires
    targets = captures[name].transcript.releases(EPOCHS - 1)
    return preset("malicious_server").project(
        captures[name].transcript, public, targets, history=True
    )


def hint_parts(wires, name):
    """What the last step's releases hold besides x_t, estimated and true, ``(N, C, h, w)``."""
    captures, public = wires
    view = seen(wires, name)
    truth = captures[name].secrets.records.condition_batch().pixels
    truth = truth[captures[name].secrets.records_behind(view.releases)]
    typical = AUXILIARY.condition_batch().pixels.mean(0).expand_as(truth)
    replay, last = ClientReplay.from_view(view), max(release.step for release in view.releases)
    path = replay.path(typical, replay.rate(typical[0]), {last})
    hints = SimulatedHints(replay.forward, path, AUXILIARY, public.codec, "cpu", compared=False)
    rows = [i for i, release in enumerate(view.releases) if release.step == last]
    found = replay.deviations(path, typical, hints.means, compared=False)[rows]
    final = public.client.with_weights(view.parts(CLIENT_WEIGHTS)[-1].tensors).forward(32)
    own = hint_part(final, AUXILIARY.condition_batch().pixels, "cpu").mean(0)
    return found, hint_part(final, truth[rows], "cpu") - own


def missed(found, true):
    return float((found - true).norm() / true.norm())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stirred", "u-shaped"])
def test_a_stirred_client_sends_what_its_last_weights_give(wires, name):
    found, true = hint_parts(wires, name)
    assert float(true.std()) > 1e-5
    assert missed(found, true) < 0.1


@pytest.mark.slow
def test_a_stirred_hint_block_speaks_in_more_directions_than_one_that_learned(wires, train):
    def directions(parts):
        power = torch.linalg.svdvals(parts.transpose(0, 1).flatten(1)).square()
        return float(power.sum().square() / power.square().sum())

    runs = [wires, *(train(seed=seed) for seed in (1, 2))]  # one training alone says little
    stirred, honest = (
        sum(directions(hint_parts(run, name)[1]) for run in runs) for name in ("stirred", "honest")
    )
    assert stirred > 1.2 * honest


def test_it_claims_the_condition_of_every_target(wires):
    attack = Stir.build({"width": 8, "depth": 1, "exchanges": STIRRED})
    view = seen(wires, "stirred")
    claim = attack.run(view, rng=generator(0), budget=Budget(4, 4), progress=Silent())
    assert claim.estimates["condition"].latents.shape == (8, 4, 8, 8)
    # Random gradients take the block where no guess would.
    assert claim.diagnostics["attack_gap"] > 0.1
