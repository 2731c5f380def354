"""The frontier: leaks beside costs paired by seed, what reaches the goal, and what no other defence beats."""

from __future__ import annotations

import csv
import io

import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.ledger.ledger import Ledger
from bench.reports.frontier import frontier
from bench.reports.frontier_files import as_csv, as_markdown
from bench.reports.frontier_plot import draw, family
from bench.reports.frontier_point import QUALITIES, FrontierPoint
from bench.util.stats import Interval
from tests.support.rows import SyntheticLedger

SEEDS = (0, 1, 2)


def _ledger() -> SyntheticLedger:
    """By defence: score (floor 0.2, ceiling 0.8), FID and edge F1 over the undefended ones at the same seed."""
    made = SyntheticLedger()
    for seed in SEEDS:
        for defense, level, fid, f1 in [
            ("none", 0.8, 1.0, 1.0),
            ("dear", 0.2, 1.5, 0.5),
            ("good", 0.2, 1.05, 0.96),
            ("worse", 0.5, 1.2, 0.9),
            ("free", 0.5, 1.0, 1.0),
        ]:
            utility = {
                "fid": (100.0 + 10 * seed) * fid,
                "condition_edge_f1": (0.5 + seed / 10) * f1,
            }
            made.add(defense, "inversion", seed, level, noise=1, utility=utility)
    return made


def _fid(point: FrontierPoint) -> Interval:
    return point.costs[QUALITIES[0]]


def _fidelity(point: FrontierPoint) -> Interval:
    return point.costs[QUALITIES[1]]


@pytest.fixture
def points() -> dict[str, FrontierPoint]:
    made = _ledger()
    return {p.defense: p for p in frontier(made.rows, made.read)}


def test_costs_are_ratios_at_each_seed(points):
    assert _fid(points["good"]).mean == pytest.approx(1.05)
    assert _fid(points["good"]).high == pytest.approx(1.05)  # the spread between seeds cancels
    assert _fidelity(points["dear"]).mean == pytest.approx(0.5)


def test_the_goal_needs_the_floor_and_both_costs(points):
    assert [name for name, p in points.items() if p.reaches_goal] == ["good"]
    assert points["dear"].leaks["image"].at_floor
    assert not points["dear"].cheap
    assert points["free"].cheap
    assert not points["free"].leaks["image"].at_floor
    assert points["free"].worst == pytest.approx(0.5)


def test_a_point_is_best_unless_another_leaks_no_more_at_no_more_cost(points):
    assert {name for name, p in points.items() if p.best} == {"good", "free"}


def test_an_attack_that_failed_keeps_a_defence_from_the_goal():
    made = _ledger()
    made.add("good", "closed-form", 0, status="failed")
    found = {p.defense: p for p in frontier(made.rows, made.read)}["good"]
    assert "closed-form" in found.leaks["image"].partial
    assert not found.reaches_goal
    assert not found.best


@pytest.mark.parametrize("attacked", [False, True])
def test_a_floor_counts_only_where_the_reference_is_above_its_own(attacked: bool):
    """An attack that finds nothing without a defence praises none."""
    made = SyntheticLedger()
    utility = {"fid": 100.0, "condition_edge_f1": 0.5}
    for seed in SEEDS:
        made.add("good", "inversion", seed, 0.2, noise=1, utility=utility)
        if attacked:
            made.add("none", "inversion", seed, 0.2, noise=1, utility=utility)
    found = {p.defense: p for p in frontier(made.rows, made.read)}
    assert not any(p.reaches_goal for p in found.values())
    if attacked:
        assert found["good"].worst == 0 == found["none"].worst
        assert found["good"].unproven == ("image",)
        assert "recover the image under `none`." in as_markdown(list(found.values()), "none")


def test_longer_training_is_a_table_of_its_own_with_its_own_reference():
    made = _ledger()
    for row in made.rows:
        row["epochs"] = 5
    longer = {"fid": 50.0, "condition_edge_f1": 0.8}
    made.add("none", "inversion", 0, 0.8, utility=longer, epochs=20)
    made.add("good", "inversion", 0, 0.3, utility=longer | {"fid": 60.0}, epochs=20)
    found = {(p.view, p.defense): p for p in frontier(made.rows, made.read)}
    assert {view for view, _ in found} == {"server, 5 epochs", "server, 20 epochs"}
    assert _fid(found["server, 20 epochs", "good"]).mean == pytest.approx(1.2)
    assert _fid(found["server, 5 epochs", "good"]).mean == pytest.approx(1.05)


def test_a_model_that_learnt_nothing_is_seen_beside_an_untrained_one():
    made = SyntheticLedger()
    for seed in SEEDS:
        for defense, f1, rate in [
            ("none", 0.5, 5e-4),
            ("half", 0.45, 5e-4),
            ("idle", 0.4, 5e-4),
            ("none", 0.4, 1e-9),
        ]:
            utility = {"fid": 100.0, "condition_edge_f1": f1}
            made.add(
                defense, "inversion", seed, 0.5, noise=seed, utility=utility, learning_rate=rate
            )
    found = {p.defense: p for p in frontier(made.rows, made.read)}
    assert {name: p.learned.mean for name, p in found.items()} == pytest.approx(
        {"none": 1.0, "half": 0.5, "idle": 0.0}
    )
    assert _fidelity(found["idle"]).mean == pytest.approx(0.8)  # which looks like a small price
    assert "| edge F1 | edge F1 learnt | seeds |" in as_markdown(list(found.values()), "none")


def test_a_classifier_is_held_against_its_accuracy():
    made = SyntheticLedger()
    for seed in SEEDS:
        made.add("none", "inversion", seed, 0.8, utility={"accuracy": 0.8})
        made.add("good", "inversion", seed, 0.2, noise=1, utility={"accuracy": 0.78})
        made.add("dear", "inversion", seed, 0.2, noise=1, utility={"accuracy": 0.4})
    found = frontier(made.rows, made.read)
    assert [(p.defense, p.reaches_goal) for p in found] == [
        ("good", True),
        ("dear", False),
        ("none", False),
    ]
    assert "| defence | image | accuracy | seeds |" in as_markdown(found, "none")


def test_a_family_is_the_stack_without_its_parameters():
    assert family("timestep:t_min=950+noisy-target+decoupled-noise:b=4.0,memoised=True+prompt") == (
        "timestep+noisy-target+decoupled-noise+prompt"
    )


def test_at_the_ceiling_an_attack_that_was_not_run_could_add_nothing():
    made = _ledger()
    made.add("free", "closed-form", 0, 0.5)
    made.add("none", "closed-form", 0, 0.8)
    found = {p.defense: p for p in frontier(made.rows, made.read)}
    assert "missing" in found["good"].leaks["image"].partial
    assert found["none"].leaks["image"].normalized.mean == pytest.approx(1.0, abs=0.02)
    made.add("open", "inversion", 0, 0.8, noise=1, utility={"fid": 100.0, "condition_edge_f1": 0.5})
    found = {p.defense: p for p in frontier(made.rows, made.read)}
    assert found["open"].leaks["image"].partial == ""


def test_files_say_the_same_as_the_points(points, tmp_path):
    rows = {
        row["defense"]: row for row in csv.DictReader(io.StringIO(as_csv(list(points.values()))))
    }
    assert rows["good"]["goal"] == "1"
    assert rows["dear"]["goal"] == "0"
    assert float(rows["worse"]["fid_ratio"]) == pytest.approx(1.2)
    text = as_markdown(list(points.values()), "none")
    assert "| **good** |" in text
    assert "| dear |" in text
    assert "Goal reached by `good`." in text
    draw(list(points.values()), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_the_command_writes_beside_the_ledger(tmp_path):
    made, ledger = _ledger(), Ledger(tmp_path)
    for row in made.rows:
        ledger.write(
            row["cell_id"],
            row["capture_id"],
            row["spec"],
            [row],
            made.record_scores(row["cell_id"]),
        )
    done = CliRunner().invoke(main, ["frontier", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "5 points, 1 of them reach the goal" in done.output
    assert (tmp_path / "frontier.md").exists()
    assert (tmp_path / "frontier-v-p-server.png").exists()


def test_a_ledger_without_quality_is_refused_in_a_sentence(tmp_path):
    done = CliRunner().invoke(main, ["frontier", "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert "no ledger" in done.output
