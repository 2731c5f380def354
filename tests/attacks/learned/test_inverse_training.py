"""The sweep of the inverse network: what it spends, whom it picks, and the schedule it keeps to."""

from __future__ import annotations

import pytest
import torch

from attacks.common.augmentation import by_identity, with_mirrored
from attacks.learned.parts.inverse_training import one_cycle
from attacks.learned.parts.successive_halving import halve, rungs
from bench.cell.runner import Runner
from bench.interfaces import Budget, Silent
from tests.conftest import make_records


class Counter:
    """Counts what it was trained."""

    def __init__(self, quality: float) -> None:
        self.quality, self.spent = quality, 0

    def train(self, iterations: int) -> None:
        self.spent += iterations


@pytest.mark.parametrize("candidates", [1, 2, 3, 4, 7])
def test_losers_and_winner_spend_the_budget_and_no_more(candidates: int) -> None:
    portion, own = rungs(candidates, 400, 0.15)
    candidates = [Counter(quality=float(i != candidates - 1)) for i in range(candidates)]
    winner = halve(candidates, portion, lambda candidate: candidate.quality)
    assert winner is candidates[-1], "the one of least loss"
    winner.train(own - winner.spent)
    assert sum(candidate.spent for candidate in candidates) == 400
    assert sum(candidate.spent for candidate in candidates if candidate is not winner) <= 60


@pytest.mark.parametrize("total", [3, 20, 400])
def test_the_schedule_is_that_of_one_cycle(total: int) -> None:
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, total_steps=total, pct_start=0.1
    )
    for step in range(total):
        rate, momentum = one_cycle(step, total)
        assert 2e-3 * rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        assert momentum == pytest.approx(optimizer.param_groups[0]["betas"][0], rel=1e-9)
        optimizer.step()
        if step + 1 < total:
            schedule.step()


def test_mirroring_twice_gives_the_records_back_and_copies_stay_with_their_identity() -> None:
    records = make_records(4)
    both = with_mirrored(records)
    again = with_mirrored(both.select(range(4, 8)))
    assert torch.equal(again.images[4:], records.images)
    assert torch.equal(again.conditions[4:], records.conditions)
    assert both.identities[:4] == both.identities[4:]
    assert by_identity(records, 2) == [[i, i + 4] for i in range(4)]


@pytest.mark.slow
def test_a_sweep_says_what_it_chose(make_job, tmp_path) -> None:
    job = make_job(attack="inversion:sweep=3,mirror=true", iterations=30)
    row = Runner(tmp_path, Silent()).run(job).rows[0]
    assert row["status"] == "ok", row["reason"]
    assert (row["attack_learning_rate"], row["attack_width"]) in {
        (2e-3, 64.0),
        (4e-3, 64.0),
        (1e-3, 64.0),
    }
    assert job.attack.default_budget == Budget(iterations=400, batch_size=16)
