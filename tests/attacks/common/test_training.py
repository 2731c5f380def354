"""The optimiser step and the diagnostics that attacks share, against values by hand."""

from __future__ import annotations

import pytest
import torch

from attacks.common.attack_run import AttackRun
from attacks.common.training import first_and_last, gradient_step
from bench.interfaces import Budget, Silent


@pytest.mark.parametrize(
    ("largest_norm", "expected"), [(None, [-3.0, -4.0]), (1.0, [-0.6, -0.8]), (9.0, [-3.0, -4.0])]
)
def test_a_step_goes_down_the_slope_and_clips_all_weights_together(
    largest_norm: float | None, expected: list[float]
) -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    for weight in weights:
        weight.grad = torch.full((1,), 100.0)  # left by an earlier step, and cleared first
    gradient_step(optimizer, 3 * weights[0].sum() + 4 * weights[1].sum(), largest_norm)
    assert [float(weight.detach()) for weight in weights] == pytest.approx(expected, abs=1e-5)


def test_first_and_last_are_means_of_a_tenth_or_of_one_loss() -> None:
    losses = [float(i) for i in range(20)]
    assert first_and_last("attack_loss", losses) == {
        "attack_loss_first": 0.5,
        "attack_loss_last": 18.5,
    }
    assert first_and_last("match", [3.0, 1.0]) == {"match_first": 3.0, "match_last": 1.0}


def test_a_run_with_other_iterations_keeps_everything_else() -> None:
    run = AttackRun(torch.Generator(), Budget(10, 4), "cpu", Silent())
    shorter = run.with_iterations(3)
    assert shorter.budget == Budget(3, 4)
    assert shorter.rng is run.rng
    assert run.budget.iterations == 10
