"""Defences that change the exchange: the control branch's input, the noise target, x_t."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from attacks.wire.closed_form import ClosedForm
from bench.cell.targets import choose_targets
from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    TIMESTEP,
    UNET_FEATURES,
    Card,
    Defense,
    Records,
    Silent,
    TrainingPlan,
    generator,
)
from bench.interfaces.threat import PRESETS
from defenses.common.record_noise import per_record_noise
from defenses.compose import Compose
from defenses.decoupled_noise import DecoupledNoise
from defenses.inference_match import InferenceMatch
from defenses.timestep import TimestepPolicy
from defenses.withhold_noise import WithholdNoise
from victims.diffusion.parts.base import PUBLIC_SEED, ModelParams
from victims.diffusion.parts.client import ClientRandomness
from victims.diffusion.parts.controlnet import new_controlnet
from victims.diffusion.parts.sampling import SamplingPlan, sample
from victims.diffusion.split_controlnet import SplitControlNet

INDEX = [0, 1, 2, 3]


class SentLatent(Defense):
    name = "sent-latent"
    card = Card(summary="Sends x_t.", source="this project")
    sends_latent = True


def victim(model: Path) -> SplitControlNet:
    return SplitControlNet(ModelParams(model=str(model)))


def emitted(tiny_model, records, defense, protocol="no-gradient"):
    """A first batch with all that the client computes of it."""
    split = victim(tiny_model)
    model = split.load("cpu")
    client = split.client_half(model, new_controlnet(model, PUBLIC_SEED), defense, protocol)
    rng = ClientRandomness.seeded(0)
    batch = client.encode(records, INDEX, rng)
    with torch.no_grad():
        return batch, client.compute(batch, rng)


def trained(tiny_model, records, plan, defense, out, protocol="no-gradient"):
    capture = victim(tiny_model).train(
        records, defense, plan, protocol=protocol, out=out, progress=Silent()
    )
    return capture, victim(tiny_model).load_trained(capture.model_dir, defense, protocol, "cpu")


def weights(control):
    return control.controlnet.state_dict()


def assert_close(first, second, tolerance=2e-5):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], rtol=tolerance, atol=tolerance, msg=name
        )


@pytest.mark.parametrize("memoised", [False, True])
def test_decoupled_noise_masks_the_condition_with_noise_that_h_sd_does_not_know(
    tiny_model, records, memoised
):
    batch, plain = emitted(tiny_model, records, Defense())
    defense = DecoupledNoise.build({"b": 3.0, "memoised": memoised})
    _, sent = emitted(tiny_model, records, defense)
    for channel in (UNET_FEATURES, TIMESTEP, NOISE_TARGET):
        assert torch.equal(sent[channel], plain[channel]), "only the control branch changes"
    own = sent[CONTROL_FEATURES] - batch.condition_latents
    noisy = plain[CONTROL_FEATURES] - batch.condition_latents
    assert float(own.std()) == pytest.approx(3.0, rel=0.1)
    assert abs(float(torch.corrcoef(torch.stack([own.flatten(), noisy.flatten()]))[0, 1])) < 0.15


def test_memoised_noise_is_of_the_record_and_of_the_secret():
    first = per_record_noise(7, "x", ("a", "b"), (4, 2, 2))
    assert torch.equal(first.flip(0), per_record_noise(7, "x", ("b", "a"), (4, 2, 2)))
    assert not torch.equal(first, per_record_noise(8, "x", ("a", "b"), (4, 2, 2)))
    assert not torch.equal(first, per_record_noise(7, "y", ("a", "b"), (4, 2, 2)))


def spied_inputs(tiny_model, records, defense, monkeypatch):
    """Record the control network's input and the weight of its residuals at each sampling step."""
    split = victim(tiny_model)
    model = split.load("cpu")
    net = new_controlnet(model, PUBLIC_SEED)
    client = split.client_half(model, net, defense, "no-gradient")
    from bench.interfaces import ServerAdapter
    from victims.diffusion.parts.sampling import TrainedControl

    seen: list[tuple[int, torch.Tensor, float]] = []
    control = TrainedControl(client, client.stem.server_part(net).eval(), ServerAdapter())
    forward = control.controlnet.forward

    def spy(sample, t, **options):
        seen.append((int(t[0]), sample.clone(), options["conditioning_scale"]))
        return forward(sample, t, **options)

    monkeypatch.setattr(control.controlnet, "forward", spy)
    sample(control, records.select(range(4)), SamplingPlan(steps=4, guidance=1.0, seed=0), Silent())
    return seen


def test_sampling_gives_the_control_branch_the_input_that_it_was_trained_on(
    tiny_model, records, monkeypatch
):
    plain = spied_inputs(tiny_model, records, Defense(), monkeypatch)
    own = spied_inputs(
        tiny_model, records, DecoupledNoise.build({"b": 5.0, "memoised": True}), monkeypatch
    )
    assert all(torch.equal(given, own[0][1]) for _, given, _ in own), (
        "z_c and the record's noise, and no latent"
    )
    assert float(own[0][1].std()) == pytest.approx(5.0, rel=0.2)
    assert not torch.equal(plain[0][1], plain[1][1])


def test_inference_match_stops_the_control_network_where_its_training_stopped(
    tiny_model, records, monkeypatch
):
    stack = Compose.from_parts([TimestepPolicy.build({"t_min": 600}), InferenceMatch()])
    for defense in (stack, InferenceMatch.build({"t_min": 600})):
        seen = spied_inputs(tiny_model, records, defense, monkeypatch)
        assert {t >= 600: scale for t, _, scale in seen} == {True: 1.0, False: 0.0}
        assert all((scale == 1.0) == (t >= 600) for t, _, scale in seen)
    assert all(
        scale == 1.0
        for *_, scale in spied_inputs(tiny_model, records, InferenceMatch(), monkeypatch)
    )


@pytest.mark.parametrize("protocol", ["no-gradient", "gradient"])
def test_a_withheld_noise_target_moves_the_loss_to_the_client_and_changes_no_weight(
    tiny_model, records, plan, tmp_path, protocol
):
    _, expected = trained(tiny_model, records, plan, Defense(), tmp_path / "plain", protocol)
    capture, deployed = trained(
        tiny_model, records, plan, WithholdNoise(), tmp_path / "own", protocol
    )
    sent = capture.transcript.channels()
    assert NOISE_TARGET not in sent
    assert {PREDICTION_DOWN, LOSS_GRADIENT} <= sent
    assert (GRADIENT_DOWN in sent) == (protocol == "gradient")
    assert WithholdNoise().wire(victim(tiny_model).channels(protocol)) == sent
    assert_close(weights(deployed), weights(expected))
    replayed = victim(tiny_model).retrain_server(
        capture.transcript, WithholdNoise(), plan, protocol
    )
    assert_close(replayed.controlnet.state_dict(), weights(deployed), 1e-6)


def test_plain_feedback_gives_the_noise_away(make_job, tmp_path):
    """eps = eps_hat - (N / 2) g, so the closed form is as exact as on the undefended wire."""
    job = make_job(attack="closed-form", defense="withhold-noise")
    plan = TrainingPlan(1, 4, 1e-3, 0, "cpu", "fp32")
    defense = job.new_defense()
    capture = job.new_victim().train(
        job.splits.victim, defense, plan, protocol="no-gradient", out=tmp_path, progress=Silent()
    )
    targets = choose_targets(capture.transcript, job)
    public = job.new_victim().public(
        defense, job.splits.auxiliary, protocol="no-gradient", device="cpu"
    )
    view = PRESETS["server"].project(capture.transcript, public, targets)
    claim = ClosedForm().run(
        view, rng=generator(0), budget=ClosedForm.default_budget, progress=Silent()
    )
    _, truth = capture.secrets.truth(targets)
    torch.testing.assert_close(
        claim.estimates["image"].latents, truth["image"].latents, atol=2e-2, rtol=1e-2
    )


def test_feedback_of_a_u_shaped_client_is_protected(tiny_model, records, plan, tmp_path):
    signs, _ = trained(
        tiny_model,
        records,
        plan,
        WithholdNoise.build({"feedback": "sign"}),
        tmp_path / "sign",
        "u-shaped",
    )
    message = next(m for m in signs.transcript.messages if LOSS_GRADIENT in m.tensors)
    gradient = signs.transcript.read(message)[LOSS_GRADIENT]
    assert all(len(row.abs().unique()) == 1 for row in gradient)


def test_a_sent_latent_is_x_t_and_the_server_learns_the_same(tiny_model, records, plan, tmp_path):
    plain, expected = trained(tiny_model, records, plan, Defense(), tmp_path / "plain")
    capture, deployed = trained(tiny_model, records, plan, SentLatent(), tmp_path / "own")
    assert_close(weights(deployed), weights(expected))
    assert capture.costs.bytes_up < plain.costs.bytes_up
    releases = capture.transcript.releases(0)
    latent = capture.transcript.rows(UNET_FEATURES, releases)
    assert latent.shape[1] == 4
    public = victim(tiny_model).public(SentLatent(), records, protocol="no-gradient", device="cpu")
    assert torch.equal(public.stem(latent), latent)


def test_a_simulated_client_starts_each_release_without_memory(tiny_model, records):
    class Remembering(Defense):
        name = "remembering"
        card = Card(summary="Counts.", source="this project")

        def __init__(self):
            super().__init__()
            self.calls = 0

        def sample_timesteps(self, record_ids, schedule, rng):
            self.calls += 1
            return torch.full((len(record_ids),), self.calls)

    defense = Remembering()
    public = victim(tiny_model).public(defense, records, protocol="no-gradient", device="cpu")
    simulator = public.client.simulator(records)
    for _ in range(2):
        assert simulator.emit([0], generator(0)).sent[TIMESTEP].tolist() == [1]
    assert defense.calls == 0
    assert copy.deepcopy(defense).calls == 0


def test_the_clients_secret_is_kept_for_inference_and_not_shared(
    tiny_model, records: Records, plan, tmp_path
):
    _, deployed = trained(tiny_model, records, plan, Defense(), tmp_path)
    from victims.diffusion.parts.client import client_secret

    assert deployed.client.secret == client_secret(plan.seed) != client_secret(plan.seed + 1)
    public = victim(tiny_model).public(Defense(), records, protocol="no-gradient", device="cpu")
    assert public.client._client.secret == 0
