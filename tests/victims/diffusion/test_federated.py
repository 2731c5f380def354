"""The federated victim: rounds, optimisers, shared draws, aggregation, and its public trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from bench.cell.job import Job
from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    NOISE_TARGET,
    TIMESTEP,
    Capture,
    LocalTraining,
    RequestError,
    Silent,
    TrainingPlan,
)
from victims.diffusion.parts.federated_rounds import clients_with_shares, schedule

RATE = 0.25


@pytest.fixture(scope="module")
def trained(make_job, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A federated job and its capture, each trained once."""
    kept: dict[tuple[str, str, int], tuple[Job, Capture]] = {}

    def get(params: str, protocol: str = "fedavg", epochs: int = 1) -> tuple[Job, Capture]:
        key = (params, protocol, epochs)
        if key not in kept:
            job = make_job(victim=f"federated:{params}", protocol=protocol, attack="inversion")
            plan = TrainingPlan(
                epochs, batch_size=3, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32"
            )
            out: Path = tmp_path_factory.mktemp("federated") / "c"
            victim = job.new_victim()
            kept[key] = (
                job,
                victim.train(
                    job.splits.victim,
                    job.new_defense(),
                    plan,
                    protocol=protocol,
                    out=out,
                    progress=Silent(),
                ),
            )
        return kept[key]

    return get


def parts(capture: Capture, channel, step: int) -> Mapping[str, Tensor]:  # type: ignore[no-untyped-def]
    return next(p.tensors for p in capture.transcript.parts(channel) if p.step == step)


def truth(job: Job, capture: Capture, step: int) -> dict[str, Tensor]:
    """The trainer's inputs behind an update with shared draws, from the sealed secrets."""
    releases = [r for r in capture.transcript.releases() if r.step == step]
    records, estimates = capture.secrets.truth(releases)
    latents = estimates["image"].latents
    assert latents is not None
    return {
        "image_latents": latents,
        "condition": records.condition_batch().pixels,
        "text": job.new_victim().load("cpu").embed(list(records.prompts)),  # type: ignore[attr-defined]
        "noise": capture.transcript.rows(NOISE_TARGET, releases),
        "timestep": capture.transcript.rows(TIMESTEP, releases),
    }


def public(job: Job, protocol: str = "fedavg"):  # type: ignore[no-untyped-def]
    return job.new_victim().public(None, job.splits.auxiliary, protocol=protocol, device="cpu")


@pytest.mark.parametrize(
    ("per_update", "rounds", "last"), [(0, 1, [4, 3]), (1, 4, [1]), (3, 2, [1])]
)
def test_an_epoch_is_one_pass_over_all_records_in_as_many_rounds_as_needed(
    per_update: int, rounds: int, last: list[int]
) -> None:
    plan = schedule(clients_with_shares(7, 2, seed=0), per_update, epoch=0, seed=0)
    assert len(plan) == rounds
    assert [len(part.index) for part in plan[-1]] == last
    assert sorted(i for parts in plan for part in parts for i in part.index) == list(range(7))


def test_every_update_says_how_many_records_it_was_computed_on(trained) -> None:  # type: ignore[no-untyped-def]
    _, capture = trained(
        f"clients=2,records_per_update=3,optimizer=sgd,learning_rate={RATE},shared_draws=true",
        epochs=2,
    )
    updates = [m for m in capture.transcript.messages if CLIENT_UPDATE in m.channels()]
    assert [(m.epoch, m.records) for m in updates] == [(e, n) for e in (0, 1) for n in (3, 3, 1, 1)]
    assert capture.transcript.channels() == {CLIENT_UPDATE, GLOBAL_MODEL, TIMESTEP, NOISE_TARGET}
    assert len(capture.transcript.releases(1)) == 8


def test_the_trainers_gradient_is_the_sgd_update_that_crossed_the_wire(trained) -> None:  # type: ignore[no-untyped-def]
    job, capture = trained(
        f"clients=2,records_per_update=3,optimizer=sgd,learning_rate={RATE},shared_draws=true",
        epochs=2,
    )
    trainer = public(job).trainer
    assert trainer.local == LocalTraining("sgd", RATE, 3, 3)
    step = capture.transcript.releases(1)[0].step
    gradient = trainer.gradient(parts(capture, GLOBAL_MODEL, step), truth(job, capture, step))
    sent = parts(capture, CLIENT_UPDATE, step)
    assert gradient.keys() == sent.keys()
    for name, update in sent.items():
        # The secrets keep latents in half precision, hence the tolerance.
        torch.testing.assert_close(
            -RATE * gradient[name], update, rtol=1e-2, atol=2e-3 * float(update.abs().max()) + 1e-9
        )


def test_a_trainers_inputs_have_the_shapes_that_it_says(trained) -> None:  # type: ignore[no-untyped-def]
    job, capture = trained(
        f"clients=2,records_per_update=3,optimizer=sgd,learning_rate={RATE},shared_draws=true",
        epochs=2,
    )
    inputs = truth(job, capture, 0)
    unknowns = public(job).trainer.unknowns()
    assert {name: u.shape for name, u in unknowns.items()} == {
        n: tuple(t.shape[1:]) for n, t in inputs.items()
    }
    claims = public(job).trainer.estimates(inputs)
    assert torch.equal(claims["image"].latents, inputs["image_latents"])
    assert torch.equal(claims["condition"].images.pixels, inputs["condition"])


def test_the_trainers_gradient_runs_under_vmap_and_can_be_differentiated(trained) -> None:  # type: ignore[no-untyped-def]
    job, capture = trained(
        f"clients=2,records_per_update=3,optimizer=sgd,learning_rate={RATE},shared_draws=true",
        epochs=2,
    )
    trainer = public(job).trainer
    step = capture.transcript.releases(1)[0].step
    weights = parts(capture, GLOBAL_MODEL, step)
    two = {n: torch.stack([t[:1], t[1:2]]) for n, t in truth(job, capture, step).items()}
    two["image_latents"] = two["image_latents"].clone().requires_grad_()
    together = vmap(lambda inputs: trainer.gradient(weights, inputs))(two)
    alone = trainer.gradient(weights, {n: t[1] for n, t in two.items()})
    for name, gradient in alone.items():
        torch.testing.assert_close(
            together[name][1], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()) + 1e-10
        )
    torch.stack([g.square().sum() for g in together.values()]).sum().backward()
    slope = two["image_latents"].grad
    assert bool(slope.isfinite().all())
    assert float(slope.abs().max()) > 0


@pytest.mark.slow
def test_no_trainer_where_the_plan_alone_knows_the_local_training(trained) -> None:  # type: ignore[no-untyped-def]
    assert public(trained("clients=2")[0]).trainer is None
    job, _ = trained("clients=2,records_per_update=4,learning_rate=0.001")
    assert public(job).trainer.local == LocalTraining("adamw", 0.001, 4, 4)
    assert public(job, "secure-aggregation").trainer.local.records == 8


def test_fedsgd_by_name_sends_gradients_of_one_record(make_job) -> None:  # type: ignore[no-untyped-def]
    trainer = public(make_job(victim="federated-sgd", attack="inversion")).trainer
    assert trainer.local == LocalTraining("sgd", 0.1, 1, 1)


def test_only_the_sum_of_the_updates_crosses_under_secure_aggregation(trained) -> None:  # type: ignore[no-untyped-def]
    params = f"clients=2,records_per_update=2,optimizer=sgd,learning_rate={RATE},shared_draws=true"
    _, summed = trained(params, "secure-aggregation")
    messages = [m for m in summed.transcript.messages if CLIENT_UPDATE in m.channels()]
    assert [(m.records, m.sender) for m in messages] == [(4, "clients"), (4, "clients")]
    assert not any(
        "client-" in end for m in summed.transcript.messages for end in (m.sender, m.receiver)
    )
    assert len(summed.transcript.releases(0)) == 8


def test_the_sum_is_one_step_on_all_records_of_the_round(trained) -> None:  # type: ignore[no-untyped-def]
    params = f"clients=2,records_per_update=2,optimizer=sgd,learning_rate={RATE},shared_draws=true"
    job, summed = trained(params, "secure-aggregation")
    trainer = public(job, "secure-aggregation").trainer
    gradient = trainer.gradient(parts(summed, GLOBAL_MODEL, 1), truth(job, summed, 1))
    for name, update in parts(summed, CLIENT_UPDATE, 1).items():
        torch.testing.assert_close(
            -RATE * gradient[name], update, rtol=1e-2, atol=2e-3 * float(update.abs().max()) + 1e-9
        )


def test_the_server_ends_with_the_same_model_either_way(trained) -> None:  # type: ignore[no-untyped-def]
    """Hiding the summands changes nothing of the training."""
    params = "clients=2,records_per_update=2,optimizer=sgd"
    separate, together = trained(params)[1], trained(params, "secure-aggregation")[1]
    assert separate.costs.losses == pytest.approx(together.costs.losses, rel=1e-4)


def test_shared_draws_need_a_model_that_predicts_the_noise(make_job, monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from victims.diffusion.federated import Federated

    job = make_job(victim="federated:shared_draws=true", attack="inversion")
    load = Federated.load

    def velocity(self, device):  # type: ignore[no-untyped-def]
        model = load(self, device)
        return replace(model, schedule=replace(model.schedule, prediction="v_prediction"))

    monkeypatch.setattr(Federated, "load", velocity)
    plan = TrainingPlan(1, 4, 1e-3, 0, "cpu", "fp32")
    with pytest.raises(RequestError, match="shared_draws"):
        job.new_victim().train(
            job.splits.victim,
            job.new_defense(),
            plan,
            protocol="fedavg",
            out=tmp_path / "c",
            progress=Silent(),
        )
