"""Columns of an attack's own."""

from __future__ import annotations

import pytest

from bench.interfaces import BenchError, RequestError
from bench.ledger.diagnostics import MOST_DIAGNOSTICS, diagnostic_columns, not_finite
from bench.scoring.metric_names import RESERVED, RESERVED_PREFIXES, check_metric_name


def test_every_name_gets_the_prefix_once() -> None:
    assert diagnostic_columns("a", {"loss_first": 1.0, "attack_loss_last": 2, "ssim": 0.5}) == {
        "attack_loss_first": 1.0,
        "attack_loss_last": 2,
        "attack_ssim": 0.5,
    }


@pytest.mark.parametrize(
    "found", [{"Loss": 1.0}, {"a b": 1.0}, {"": 1.0}, {3: 1.0}, {"x" * 61: 1.0}, {"loss": True}]
)
def test_odd_names_and_types_are_refused(found: object) -> None:
    with pytest.raises(BenchError, match="attack 'a': diagnostic "):
        diagnostic_columns("a", found)


def test_too_many_are_refused() -> None:
    with pytest.raises(BenchError, match="at most 100 fit a row"):
        diagnostic_columns("a", {f"d{i}": 1.0 for i in range(MOST_DIAGNOSTICS + 1)})


def test_what_is_not_finite_is_noticed() -> None:
    assert not_finite({"attack_loss": float("nan")})
    assert not not_finite({"attack_loss": 1e300})


@pytest.mark.parametrize(
    "name", ["n", "flags", "utility_fid", "attack_ssim", "ssim_low", "Bad", "a b", "leak_x"]
)
def test_a_metric_cannot_have_the_name_of_another_column(name: str) -> None:
    with pytest.raises(RequestError, match=f"metric '{name}'"):
        check_metric_name(name)


@pytest.mark.parametrize("name", ["toy-mae", "ssim2", "edge_f1"])
def test_other_names_are_fine(name: str) -> None:
    check_metric_name(name)


@pytest.mark.slow
def test_every_column_of_the_runner_is_reserved(make_job, tmp_path) -> None:
    from bench.cell.runner import Runner
    from bench.interfaces import Silent

    row = Runner(tmp_path, Silent()).run(make_job(attack="closed-form")).rows[0]
    metrics = [metric.name for metric in make_job(attack="closed-form").metrics]
    rest = [name for name in row if not any(name == m or name.startswith(f"{m}_") for m in metrics)]
    free = [
        name for name in rest if name not in RESERVED and not name.startswith(RESERVED_PREFIXES)
    ]
    assert free == []
