"""A careless or vain plugin costs its own cell, with one sentence, and bends no number."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.cell.job import Job
from bench.cell.result import CellResult
from bench.cell.runner import Runner
from bench.interfaces import RequestError, Silent
from bench.interfaces.hook_checks import DefenseError
from bench.ledger.ledger import Ledger
from bench.planning.planner import Planner
from bench.planning.suite_plan import plan_suite
from bench.running.engines.base import Limits, Setup
from bench.running.engines.processes import ProcessEngine
from bench.running.plugin_check import plugin_faults
from bench.running.suite import run_suite
from tests.conftest import SMALL
from tests.support.install import forget, install_bad_guests, on_path
from tests.support.suites import small_suite

SAID: list[str] = []
Run = Callable[..., tuple[CellResult, Path]]


class Notes(Silent):
    def note(self, text: str) -> None:
        SAID.append(text)


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder where the bad guests are installed."""
    site = tmp_path_factory.mktemp("site")
    install_bad_guests(site)
    with pytest.MonkeyPatch.context() as patch:
        on_path(site, patch, "badguests")
        yield site
    forget("badguests")


@pytest.fixture(scope="module")
def run(guests: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run one cell of some changed request, all on one results directory."""
    planner, results = Planner(Notes()), tmp_path_factory.mktemp("results")

    def one(**changes: object) -> tuple[CellResult, Path]:
        job: Job = planner.plan(SMALL.replace(model=str(tiny_model), **changes))
        return Runner(results, Silent()).compute(job), results

    return one


@pytest.fixture(scope="module")
def good(run: Run) -> CellResult:
    """What the same attack gets when it does nothing wrong."""
    return run(attack="bad-attack")[0]


def attacked(run: Run, how: str) -> CellResult:
    return run(attack=f"bad-attack:how={how}")[0]


def scores(result: CellResult) -> dict[str, object]:
    """All columns of the image's row that the judge writes."""
    row = result.rows[0]
    left_out = ("cell_id", "created", "spec", "attack", "flags", "commit", "versions")
    return {k: v for k, v in row.items() if k not in left_out and not k.startswith("attack_")}


@pytest.mark.slow
def test_the_harmless_one_is_ok_and_its_package_stands_in_the_row(good: CellResult) -> None:
    assert good.status == "ok", good.rows[0]["reason"]
    assert '"badguests": "1.0"' in str(good.rows[0]["versions"])
    assert "global-random" not in str(good.rows[0]["flags"])


def test_diagnostics_have_columns_of_their_own_and_change_no_other(
    run: Run, good: CellResult
) -> None:
    result = attacked(run, "vain")
    assert result.status == "ok", result.rows[0]["reason"]
    row = result.rows[0]
    assert scores(result) == scores(good)
    assert (row["attack_ssim"], row["attack_utility_fid"], row["attack_n"]) == (0.99, 0.0, 1000)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (
            "taken",
            "attack 'bad-attack': diagnostic 'seconds' would be the column 'attack_seconds', "
            "which the runner writes",
        ),
        ("text", "diagnostic 'loss' must be an int or a float, got str"),
        ("tensor", "diagnostic 'loss' must be an int or a float, got Tensor"),
        ("twice", "two diagnostics would be the column 'attack_loss'"),
        ("names", "diagnostic 'Loss last' is no column name"),
        ("changes", "attack 'bad-attack' changed what it was handed: view.public.auxiliary.images"),
        ("changes_labels", "changed what it was handed: view.public.auxiliary.attributes[0]"),
        ("nan", "attack 'bad-attack' claims 6 of 6 images from pixels that are not finite"),
        ("nan_pixels", "claims 6 of 6 images from pixels that are not finite"),
        ("exit", "SystemExit: 0 (attack.py, line "),
        ("raise", "ValueError: first line (attack.py, line "),
        ("assert", "AssertionError: no message (attack.py, line "),
        ("dict", "attack 'bad-attack' returned a dict; run() must return a Claim"),
        ("none", "attack 'bad-attack' returned None; run() must return a Claim"),
        ("raw", "claims a Tensor as the image; it must be an instance of Estimate"),
        ("grad", "claims the image's pixels that still need a gradient; detach() them"),
        ("size", "claims images of 8x8 pixels; the records have 64x64"),
        ("unknown", "claims an unknown target 'face'; known: image"),
    ],
)
def test_a_wrong_attack_fails_with_one_sentence_and_keeps_what_was_measured(
    run: Run, good: CellResult, how: str, words: str
) -> None:
    result, results = run(attack=f"bad-attack:how={how}")
    row = result.rows[0]
    assert {r["status"] for r in result.rows} == {"failed"}
    assert words in str(row["reason"])
    assert "\n" not in str(row["reason"])
    assert row["utility_fid"] == good.rows[0]["utility_fid"]
    assert row["leak_snr_mean"] == good.rows[0]["leak_snr_mean"]
    assert "ssim" not in row
    log = results / str(row["reason"]).rpartition("traceback in ")[2]
    assert "Traceback (most recent call last)" in log.read_text()


def test_other_cells_are_as_they_were_after_an_attack_changed_its_records(
    run: Run, good: CellResult
) -> None:
    assert attacked(run, "changes").status == "failed"
    again = run(attack="bad-attack:groups=[1]")[0]
    assert scores(again) == scores(good)


def test_a_diagnostic_that_is_not_finite_is_flagged_and_empty(run: Run) -> None:
    row = attacked(run, "infinite").rows[0]
    assert row["status"] == "ok"
    assert row["attack_loss"] is None
    assert "diagnostic-not-finite" in str(row["flags"]).split()


@pytest.mark.parametrize("how", ["torch", "numpy", "python"])
def test_a_global_draw_of_an_attack_is_the_same_in_every_run_and_flagged(
    run: Run, how: str
) -> None:
    first, second = attacked(run, how), attacked(run, how)
    assert first.status == second.status == "ok"
    assert scores(first) == scores(second)
    assert "global-random" in str(first.rows[0]["flags"]).split()


@pytest.mark.slow
def test_global_draws_of_a_defence_are_the_same_in_every_run_and_flagged(
    guests: Path, tiny_model: Path, tmp_path: Path
) -> None:
    planner = Planner(Silent())
    request = SMALL.replace(
        model=str(tiny_model), attack="closed-form", defense="bad-defense:how=global"
    )
    found = [
        Runner(tmp_path / name, Silent()).compute(planner.plan(request)).rows[0]
        for name in ("a", "b")
    ]
    assert found[0]["status"] == "ok", found[0]["reason"]
    assert found[0]["ssim"] == found[1]["ssim"]
    assert found[0]["utility_fid"] == found[1]["utility_fid"]
    assert all("global-random" in str(row["flags"]).split() for row in found)
    kept = Runner(tmp_path / "a", Silent()).compute(planner.plan(request))
    assert kept.reused
    assert "global-random" in str(kept.rows[0]["flags"]).split()


FEATURES = "float32 (4, 16, 16, 16)"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("half", f"protect of unet_features must return {FEATURES}; got float16 (4, 16, 16, 16)"),
        ("int32", f"protect of unet_features must return {FEATURES}; got int32 (4, 16, 16, 16)"),
        ("shape", f"protect of unet_features must return {FEATURES}; got float32 (4, 1, 16, 16)"),
        ("none", f"protect of unet_features must return a tensor, {FEATURES}; got None"),
        ("numpy", f"protect of unet_features must return a tensor, {FEATURES}; got ndarray"),
        ("nan", "protect of unet_features must return finite numbers; 16384 of 16384 are not"),
        ("in_place", "protect of unet_features changed its input in place"),
        ("raise", "protect of unet_features raised KeyError: 'sigma'"),
        ("times", "sample_timesteps must return int64 (4,) in 0 to 999; got "),
        ("noise", "sample_noise must return float32 (4, 4, 16, 16); got float64 (4, 4, 16, 16)"),
    ],
)
def test_a_wrong_defence_is_named_with_channel_expected_and_got(
    guests: Path, tiny_model: Path, tmp_path: Path, how: str, words: str
) -> None:
    job = Planner(Silent()).plan(
        SMALL.replace(model=str(tiny_model), defense=f"bad-defense:how={how}")
    )
    with pytest.raises(DefenseError, match=r"^defence 'bad-defense': ") as caught:
        Runner(tmp_path, Silent()).compute(job)
    assert words in str(caught.value)


def test_metrics_of_others_that_cannot_be_used_cost_nothing_but_themselves(
    run: Run, good: CellResult
) -> None:
    assert "metric-failed:bad-metric" in str(good.rows[0]["flags"]).split()
    assert isinstance(good.rows[0]["ssim"], float)
    said = "\n".join(SAID)
    assert "no_such_module_anywhere" in said
    assert "metric 'utility_fid': the runner writes columns of that name" in said
    assert (
        "badguests.metric:BadMetric of badguests 1.0 is not used: metric 'ssim' is splitleak's own"
        in said
    )
    assert "dataset 'portraits' is splitleak's own" in said


def test_a_list_is_a_parameter_and_stands_in_the_label_as_it_is_written(run: Run) -> None:
    row = run(attack="bad-attack:groups=[3,4],words=[red,blue]")[0].rows[0]
    assert row["attack"] == 'bad-attack:groups=[3,4],words=["red","blue"]'
    assert run(attack=str(row["attack"]))[0].rows[0]["cell_id"] == row["cell_id"]


def test_the_listing_names_every_fault_and_imports_nothing(guests: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "ls"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "fault: attack 'bad-import' (badguests.broken:Broken of badguests 1.0) "
        "cannot be loaded: No module named",
        "fault: importing it ended the process with exit code 3",
        "fault: badguests.metric:BadMetric of badguests 1.0 is not used: "
        "metric 'ssim' is splitleak's own; rename it",
        "closed-form",
    ):
        assert words in done.stdout
    good = done.stdout.split("bad-attack ")[1].splitlines()[1]
    assert "fault" not in good
    assert "badguests.broken" not in sys.modules


def test_faults_are_found_without_an_import_in_this_process(guests: Path) -> None:
    found = plugin_faults()
    assert ("attacks", "bad-attack") not in found
    assert ("defenses", "bad-defense") not in found
    assert set(found) >= {
        ("attacks", "bad-import"),
        ("datasets", "bad-leaves"),
        ("metrics", "ssim"),
    }


@pytest.mark.slow
def test_debug_shows_the_traceback_of_a_cell_in_a_process_of_its_own(
    guests: Path, tiny_model: Path, tmp_path: Path
) -> None:
    sizes = [
        "--records=8",
        "--auxiliary=12",
        "--calibration=8",
        "--evaluation=8",
        "--epochs=1",
        "--targets=4",
    ]
    options = [
        *sizes,
        "--utility-steps=1",
        f"--model={tiny_model}",
        f"--results={tmp_path}",
        "--debug",
        "--device=cpu",
    ]
    command = [sys.executable, "-m", "bench", "run", "--attack", "bad-attack:how=raise", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "cells with plugins of badguests 1.0 run in a process that can be ended" in done.stderr
    assert "Traceback (most recent call last)" in done.stderr
    assert "second line" in done.stderr
    assert "ValueError: first line (attack.py, line " in done.stdout


def test_a_data_set_that_raises_is_named_while_the_cell_is_planned(
    guests: Path, tiny_model: Path
) -> None:
    with pytest.raises(
        RequestError,
        match=r"^dataset 'bad-data': ZeroDivisionError: no records \(dataset.py, line ",
    ):
        Planner(Silent()).plan(SMALL.replace(model=str(tiny_model), data="bad-data"))


@pytest.mark.slow
def test_what_ends_the_process_or_never_ends_costs_its_cell_alone(
    guests: Path, tiny_model: Path, tmp_path: Path
) -> None:
    attacks = [f"bad-attack:how={how}" for how in ("os_exit", "hang", "exit", "nothing")]
    defenses = ["none", "bad-defense:how=exit"]
    plan = plan_suite(
        small_suite(tiny_model, attacks=attacks, defenses=defenses), Planner(Silent())
    )
    engine = ProcessEngine(Setup(tmp_path, None, 1, Limits(seconds=30)), 1, Silent())
    run_suite(
        plan,
        engine,
        tmp_path,
        Ledger(tmp_path),
        fresh=False,
        retry_failed=False,
        show=lambda *shown: None,
    )
    rows = [row for row in Ledger(tmp_path).rows() if row["target"] == "image"]
    found = {(row["defense"], row["attack"]): (row["status"], str(row["reason"])) for row in rows}
    assert found["none", "bad-attack:how=os_exit"] == (
        "failed",
        "the worker ended with exit code 0",
    )
    assert found["none", "bad-attack:how=hang"] == (
        "timeout",
        "not finished after 30 s (time limit)",
    )
    assert found["none", "bad-attack:how=exit"][0] == "failed"
    assert found["none", "bad-attack"][0] == "ok"
    assert all(found["bad-defense:how=exit", attack][0] == "failed" for _, attack in found)
