"""Real runs of the tiny model: an unchanged rerun passes, a defence and an attack that got weaker
are caught.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attacks.wire.closed_form import ClosedForm
from bench.cell.job import Job
from bench.cell.runner import Runner
from bench.interfaces import (
    NOISE_TARGET,
    Channel,
    Claim,
    Estimate,
    ImageBatch,
    NoiseSchedule,
    ProtectContext,
    Silent,
)
from bench.ledger.ledger import Ledger
from bench.reports.check.compare import check
from bench.reports.check.compared_rows import ComparedRow, Key, compared_rows
from bench.reports.comparability import ledger_scores
from bench.reports.leaderboard import leaderboard
from defenses.prompt import PromptRetention

MEASURE = "latent_nmse"  # the tiny autoencoder's pictures say little; its latents do


class Blurring(PromptRetention):
    """Drowns the noise target, without which the latent cannot be computed; one timestep, so that
    records are alike.
    """

    sigma = 3.0

    def sample_timesteps(
        self, record_ids: Sequence[str], schedule: NoiseSchedule, rng: torch.Generator
    ) -> Tensor:
        return torch.full((len(record_ids),), 100)

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != NOISE_TARGET:
            return super().protect(channel, tensor, context)
        return tensor + self.sigma * torch.randn(tensor.shape, generator=context.rng)


class Broken(Blurring):
    """A change of its code left nothing of it."""

    sigma = 0.0


class Sloppy(ClosedForm):
    """Gets only half of the latent."""

    def run(self, view, **options) -> Claim:
        found = super().run(view, **options)
        return Claim(
            {
                t: Estimate(ImageBatch(e.images.pixels / 2), e.latents / 2)
                for t, e in found.estimates.items()
            }
        )


def run(job: Job, results: Path, *, fresh: bool = False, **plugins: object) -> None:
    """Run a job with other plugins than were planned, as if their code had changed."""
    result = Runner(results, Silent()).run(dataclasses.replace(job, **plugins), fresh=fresh)
    assert result.status == "ok"


def now(results: Path) -> dict[Key, ComparedRow]:
    ledger = Ledger(results)
    return compared_rows(ledger.rows(), ledger_scores(ledger), measure=MEASURE)


@pytest.fixture(scope="module")
def jobs(make_job) -> dict[str, Job]:
    return {name: make_job(attack="closed-form", defense=name) for name in ("none", "prompt")}


@pytest.fixture(scope="module")
def first(jobs, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("check") / "first"
    run(jobs["none"], results)
    run(jobs["prompt"], results, new_defense=lambda: Blurring.build({}))
    return results


@pytest.fixture
def again(first, tmp_path) -> Path:
    """A copy to run cells in once more."""
    return Path(shutil.copytree(first, tmp_path / "again"))


def failures(first: Path, again: Path) -> set[tuple[str, str, str]]:
    """Kind, attack with defence, and target, of what is found about attacks."""
    found = [f for f in check(now(first), now(again)).failures if f.kind.startswith("attack")]
    return {
        (f.kind, f.subject.partition(" (")[0], f.subject.rpartition(", ")[2].rstrip(")"))
        for f in found
    }


@pytest.mark.slow
def test_an_unchanged_rerun_passes(first, again, jobs):
    run(jobs["none"], again, fresh=True)
    assert all(point.scores for point in now(again).values() if point.status == "ok")
    assert check(now(first), now(again)).findings == ()


def test_a_weakened_defence_is_caught(first, again, jobs):
    run(jobs["prompt"], again, fresh=True, new_defense=lambda: Broken.build({}))
    assert failures(first, again) == {("attack-stronger", "closed-form on prompt", "image")}


def test_a_weakened_attack_is_caught(first, again, jobs):
    run(jobs["none"], again, attack=Sloppy.build({}))
    expected = {
        ("attack-weaker", "closed-form on none", target) for target in ("image", "condition")
    }
    assert failures(first, again) == expected


def test_the_leaderboard_puts_the_defence_first_and_does_not_rank_one_seed(first):
    ledger = Ledger(first)
    board = leaderboard(ledger.rows(), ledger_scores(ledger), measure=MEASURE)
    found = {entry.defense: entry for entry in board if entry.setting["target"] == "image"}
    assert found["prompt"].normalized.mean < found["none"].normalized.mean
    assert found["none"].normalized.mean == pytest.approx(1.0, abs=1e-3)
    assert {entry.partial for entry in found.values()} == {"closed-form 1 seed"}
