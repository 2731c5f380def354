"""DP-SGD in local steps: plain training when off, clipped and noisy when on; its statement."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import bench
from bench.interfaces import (
    CLIENT_UPDATE,
    NOISE_TARGET,
    TIMESTEP,
    UNET_FEATURES,
    Capture,
    Defense,
    NoiseSchedule,
)
from defenses.compose import Compose
from defenses.dp_sgd import DpSgd, DpSgdParams
from defenses.timestep import TimestepPolicy

SCHEDULE = NoiseSchedule.stable_diffusion()


def gradients(count: int = 4) -> list[dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    return [
        {"a": torch.randn(5, 3, generator=rng), "b": torch.randn(200, generator=rng)}
        for _ in range(count)
    ]


def train(make_job, out: Path, victim: str, defense: str) -> Capture:  # type: ignore[no-untyped-def]
    own = {"model": None} if victim.startswith("federated-classifier") else {}
    job = make_job(victim=victim, attack="inversion", defense=defense, **own)
    return bench.train(
        job.new_victim(),
        job.splits.victim,
        out,
        defense=job.new_defense(),
        protocol=job.cell.capture.protocol,
        batch_size=4,
        learning_rate=1e-3,
    )


@pytest.mark.parametrize(
    "victim",
    [
        "federated:records_per_update=2,optimizer=sgd",
        "centralised",
        "federated-classifier:clients=2,records_per_update=2",
    ],
)
def test_without_noise_and_with_a_huge_clip_it_is_plain_training(
    make_job, tmp_path, victim: str
) -> None:  # type: ignore[no-untyped-def]
    plain = train(make_job, tmp_path / "plain", victim, "none")
    private = train(make_job, tmp_path / "private", victim, "dp-sgd:clip=1e9,noise=0")
    assert private.costs.losses == pytest.approx(plain.costs.losses, rel=1e-4)
    if victim != "centralised":
        for one, other in zip(
            plain.transcript.parts(CLIENT_UPDATE),
            private.transcript.parts(CLIENT_UPDATE),
            strict=True,
        ):
            for name, update in one.tensors.items():
                torch.testing.assert_close(
                    other.tensors[name], update, rtol=1e-3, atol=1e-3 * float(update.abs().max())
                )


def test_an_update_is_as_noisy_as_stated(make_job, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """With a tiny clip and sigma 3 over 2 records, an update is -lr times noise of 3 C / 2."""
    capture = train(
        make_job,
        tmp_path / "c",
        "federated:records_per_update=2,optimizer=sgd,learning_rate=1",
        "dp-sgd:clip=1e-3,noise=3",
    )
    update = capture.transcript.parts(CLIENT_UPDATE)[0].tensors
    everything = torch.cat([u.flatten() for u in update.values()])
    assert float(everything.std()) == pytest.approx(1.5e-3, rel=0.02)


def test_no_record_counts_for_more_than_the_clip() -> None:
    defense = DpSgd(DpSgdParams(clip=0.5, noise=0))
    big = [{name: 1000 * g for name, g in gradient.items()} for gradient in gradients(1)]
    for records, bound in ((big, 0.5), (gradients(4), 0.5)):
        mean = defense.local_gradient(records, torch.Generator())
        assert float(torch.cat([g.flatten() for g in mean.values()]).norm()) <= bound + 1e-6
    combined = defense.local_gradient(big, torch.Generator())
    whole = torch.cat([g.flatten() for g in combined.values()])
    assert float(whole.norm()) == pytest.approx(0.5, rel=1e-5)
    direction = torch.cat([g.flatten() for g in gradients(1)[0].values()])
    torch.testing.assert_close(whole, 0.5 * direction / direction.norm())


def test_a_small_gradient_is_left_alone() -> None:
    mean = DpSgd(DpSgdParams(clip=1e6, noise=0)).local_gradient(
        iter(gradients()), torch.Generator()
    )
    undefended = Defense().local_gradient(iter(gradients()), torch.Generator())
    for name in mean:
        torch.testing.assert_close(mean[name], torch.stack([g[name] for g in gradients()]).mean(0))
        torch.testing.assert_close(undefended[name], mean[name])


def test_the_statement_is_that_of_composed_gaussian_mechanisms() -> None:
    """One release at sigma 2 is mu = 1: delta(eps) = Phi(-eps + 1/2) - e^eps Phi(-eps - 1/2)."""
    statement = DpSgd(DpSgdParams(noise=2.0)).guarantee(1, SCHEDULE)
    assert statement is not None

    def phi(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    eps = statement.epsilon
    assert phi(-eps + 0.5) - math.exp(eps) * phi(-eps - 0.5) == pytest.approx(1e-5, rel=1e-3)
    four = DpSgd(DpSgdParams(noise=4.0)).guarantee(4, SCHEDULE)
    assert four is not None
    assert four.epsilon == pytest.approx(eps)
    assert four.releases == 4


def test_no_statement_without_noise_and_none_where_features_cross_the_wire() -> None:
    assert DpSgd(DpSgdParams(noise=0)).guarantee(1, SCHEDULE) is None
    statement = DpSgd().guarantee(1, SCHEDULE)
    assert statement is not None
    assert UNET_FEATURES in statement.voided_by
    assert not {CLIENT_UPDATE, TIMESTEP, NOISE_TARGET} & set(statement.voided_by)


def test_it_stacks_and_the_stack_asks_for_record_gradients() -> None:
    stack = Compose.from_parts([TimestepPolicy(), DpSgd(DpSgdParams(clip=0.5, noise=0))])
    assert stack.record_gradients
    assert not Compose.from_parts([TimestepPolicy()]).record_gradients
    alone = DpSgd(DpSgdParams(clip=0.5, noise=0)).local_gradient(gradients(), torch.Generator())
    together = stack.local_gradient(gradients(), torch.Generator())
    assert all(torch.equal(alone[name], together[name]) for name in alone)
