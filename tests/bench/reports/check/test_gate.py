"""A check judges the present state of a suite, says where it cannot, and never counts what it skipped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from bench.cli import check_suite
from bench.cli.main import main
from bench.interfaces import DataError
from bench.ledger.ledger import Ledger
from bench.planning.suite import Suite, SuiteFile
from bench.reports.check.baseline import Baseline
from bench.reports.check.compare import current_rows, judge
from bench.reports.check.plan import suite_state
from bench.reports.check.verdict import Tolerances, Verdict
from bench.reports.comparability import ledger_scores
from bench.reports.processor_tolerance import Difference, ProcessorTolerance
from tests.support.rows import RECORDS, SyntheticLedger

UTILITY = {"fid": 100.0, "ssim": 0.0713}


def state(code: str = "1", **levels: float) -> SyntheticLedger:
    """Two cells of a state of the code; its cell ids depend on ``code``."""
    made = SyntheticLedger()
    for defense, level in {"none": 0.7, "strong": 0.3}.items():
        made.add(defense, level=levels.get(defense, level), utility=UTILITY, code=code)
    return made


def baseline_of(made: SyntheticLedger, **options: Any) -> Baseline:
    present = suite_state(made.plan(), made.rows)
    return Baseline(
        current_rows(present, made.read, measure="ssim"), "made", Tolerances(), **options
    )


def judged(
    old: SyntheticLedger, plan: SyntheticLedger, *stored: SyntheticLedger, allow_new: bool = False
) -> Verdict:
    """The verdict on a ledger that holds several states, under the plan of one of them."""
    rows = [row for made in stored for row in made.rows]

    def read(cell_id: str, target: str, metric: str) -> Any:
        return next((found for made in stored if (found := made.read(cell_id, target, metric))), {})

    present = suite_state(plan.plan(), rows)
    return judge(baseline_of(old), present, read, suite="made", name="b.csv", allow_new=allow_new)


def told(verdict: Verdict, *, fails: bool = True) -> list[tuple[str, str]]:
    return [(f.kind, f.level) for f in verdict.findings if f.fails == fails]


def test_an_unchanged_state_is_no_worse_and_says_of_what():
    verdict = judged(state(), state(), state())
    assert (verdict.exit_code, verdict.answer, verdict.findings) == (0, "no worse", ())
    assert len(verdict.compared) == 4
    assert (verdict.scope.cells, verdict.scope.cells_found, verdict.scope.baseline_cells) == (
        2,
        2,
        2,
    )


def test_rows_of_another_code_do_not_count_and_are_named_once():
    verdict = judged(state("1"), state("2"), state("1"))
    assert told(verdict) == [("stale", "unsure")]
    assert verdict.exit_code == 4
    assert verdict.compared == ()
    assert (
        "2 of the suite's 2 cells have rows of another state only" in verdict.findings[0].sentence
    )
    assert "made with other code of the bench" in verdict.findings[0].sentence


def test_the_present_state_is_judged_whatever_was_run_after_it():
    """Good code, leaky code, good code again: the rows of the leaky code are newer than those of the good one."""
    good, leaky = state("1"), state("2", strong=0.5)
    for row in leaky.rows:
        row["created"] = "2027-01-01T00:00:00+00:00"
    assert judged(good, good, good, leaky).exit_code == 0
    assert judged(good, good, good, leaky).scope.cells_left_out == 2
    assert judged(good, leaky, good, leaky).exit_code == 1


def test_a_cell_that_was_never_run_leaves_the_answer_open():
    some = state()
    some.rows = some.rows[:1]
    verdict = judged(state(), state(), some)
    assert told(verdict) == [("not-run", "unsure")]
    assert (
        "1 of the suite's 2 cells has no rows in the ledger (inversion on strong)"
        in verdict.findings[0].sentence
    )
    assert len(verdict.compared) == 2


@pytest.mark.parametrize("allow_new", [False, True])
def test_a_cell_taken_out_of_the_suite_is_missing_though_its_rows_are_there(allow_new):
    plan = state()
    plan.rows = plan.rows[:1]
    verdict = judged(state(), plan, state(), allow_new=allow_new)
    assert told(verdict) == [("missing", "unsure")]
    assert "inversion on strong" in verdict.findings[0].sentence
    assert verdict.exit_code == 4


@pytest.mark.parametrize("allow_new", [False, True])
def test_a_parameter_that_changed_in_the_suite_is_named(allow_new):
    plan = SyntheticLedger()
    plan.add("none", level=0.7, utility=UTILITY, code="1")
    plan.add("strong:sigma=0.25", level=0.5, utility=UTILITY, code="1")
    verdict = judged(state(), plan, state(), plan, allow_new=allow_new)
    assert told(verdict) == [("missing", "unsure")]
    assert (
        "differ in defense (strong in the baseline, strong:sigma=0.25 now)"
        in verdict.findings[0].sentence
    )


def test_one_hash_that_moved_is_told_once_and_never_as_all_rows_missing():
    def of(data_hash: str) -> SyntheticLedger:
        made = SyntheticLedger()
        for i in range(20):
            made.add(f"d{i}", data_hash=data_hash, utility=UTILITY)
        return made

    new = of("bb")
    verdict = judged(of("aa"), new, new)
    assert told(verdict) == [("missing", "unsure")]
    (finding,) = verdict.findings
    assert "20 of the baseline's comparisons missing" in finding.sentence
    assert "data_hash (aa in the baseline, bb now): other records" in finding.sentence
    assert verdict.exit_code == 4


def test_nothing_compared_is_not_nothing_worse():
    gone = SyntheticLedger()
    gone.add("strong", status="not_applicable")
    verdict = judged(gone, gone, gone)
    assert (verdict.findings, verdict.compared, verdict.exit_code) == ((), (), 4)


def test_new_rows_never_make_a_check_of_nothing_pass():
    old, new = SyntheticLedger(), state()
    old.add("gone", status="not_applicable")
    assert judged(old, new, new, allow_new=True).exit_code == 4


def test_a_measure_on_one_side_only_is_told():
    old, new = state(), state()
    for row in old.rows:
        row["psnr_normalized"] = 0.5
    verdict = judged(old, new, new)
    assert told(verdict) == [("measure", "unsure")]
    assert (
        "the measures psnr are in the baseline and not in the run" in verdict.findings[0].sentence
    )
    assert told(judged(new, old, old)) == [("measure", "unsure")]
    assert judged(new, old, old, allow_new=True).exit_code == 0
    for row in new.rows:
        row["ssim_normalized"] = None
        row["ssim_floor"] = None
    assert ("measure", "unsure") in told(judged(state(), new, new))
    assert len(judged(state(), new, new).compared) == 2  # the utility


def test_a_figure_of_utility_on_one_side_only_is_told():
    old, new = state(), state()
    for row in new.rows:
        del row["utility_ssim"]
    verdict = judged(old, new, new)
    assert told(verdict) == [("measure", "unsure")] * 2
    assert "ssim is in the baseline and was not measured now" in verdict.findings[0].sentence
    assert told(judged(new, old, old)) == [("measure", "unsure")] * 2
    assert judged(new, old, old, allow_new=True).exit_code == 0
    for row in new.rows:
        del row["utility_fid"]
    verdict = judged(old, new, new)
    assert [f.sentence.partition(": ")[2] for f in verdict.findings] == [
        "fid, ssim is in the baseline and was not measured now"
    ] * 2
    assert len(verdict.compared) == 2


def test_comparisons_of_one_name_are_counted_each():
    made = SyntheticLedger()
    for epochs in (1, 2):
        made.add("strong", level=0.3, epochs=epochs)
    made.add("strong", level=0.3, epochs=2, attack_iterations=7)
    verdict = judged(made, made, made)
    assert len(verdict.compared) == 3
    assert any("epochs 2, 7 iterations of 32)" in subject for subject in verdict.compared)


def test_a_defence_made_stronger_is_not_called_worse_for_one_figure_of_one_seed():
    new = state(strong=0.25)
    for row in new.rows:
        row["utility_ssim"] = 0.0676
    verdict = judged(state(), new, new)
    assert verdict.exit_code == 0
    assert ("utility-fell", "note") in told(verdict, fails=False)


@pytest.mark.parametrize(("now", "level"), [(0.5, None), (0.4, "note"), (0.2, "worse")])
def test_a_figure_of_one_seed_that_states_its_error_is_held_to_it(now, level):
    old, new = SyntheticLedger(), SyntheticLedger()
    for made, value in ((old, 0.5), (new, now)):
        made.add("strong", utility={"ssim": value, "ssim_se": 0.05})
    levels = [f.level for f in judged(old, new, new).findings]
    assert levels == ([level] if level else [])


@pytest.mark.parametrize(("now", "level"), [(0.75, None), (0.65, "note"), (0.4, "worse")])
def test_an_accuracy_of_one_seed_is_held_to_its_records(now, level):
    old, new = SyntheticLedger(), SyntheticLedger()
    for made, value in ((old, 0.8), (new, now)):
        made.add("strong", utility={"accuracy": value}, records_evaluation=40)
    levels = [f.level for f in judged(old, new, new).findings]
    assert levels == ([level] if level else [])


@pytest.mark.parametrize("noise", [0, 9])
@pytest.mark.parametrize("exposed", [1, 2, 3])
def test_records_that_lost_their_privacy_are_found_though_the_mean_hardly_moved(exposed, noise):
    old, new = SyntheticLedger(), SyntheticLedger()
    old.add("strong", level=0.3, noise=1)
    new.add("strong", level=0.3, noise=noise or 1, exposed=exposed)
    verdict = judged(old, new, new)
    assert [(f.kind, f.level) for f in verdict.findings if f.fails] == [
        ("records-exposed", "worse")
    ]
    assert re.search(r"record r[012] rose by 0\.[6-9]", verdict.failures[0].sentence)


def test_more_records_above_the_identification_threshold_are_found():
    """Nine of forty pass the threshold by a little: no record rose far above the others."""
    old, new = SyntheticLedger(), SyntheticLedger()
    for made in (old, new):
        made.add("strong", level=0.7, spread=0.0)

    def identified(of: SyntheticLedger, count: int) -> Any:
        def read(cell_id: str, target: str, metric: str) -> Any:
            if metric == "identified":
                return {f"r{i}": float(i < count) for i in range(RECORDS)}
            return {
                f"r{i}": 0.7 + 0.001 * (i % 3 - 1) + 0.004 * (count > 0) * (i % 2)
                for i in range(RECORDS)
            }

        for row in of.rows:
            row["ssim"] = sum(read("", "image", "ssim").values()) / RECORDS
        return read

    before, after = identified(old, 0), identified(new, 9)
    present = [suite_state(made.plan(), made.rows) for made in (old, new)]
    baseline = Baseline(current_rows(present[0], before, measure="ssim"), "made", Tolerances())
    verdict = judge(baseline, present[1], after, suite="made", name="b.csv")
    assert told(verdict) == [("records-exposed", "worse")]
    assert (
        "9 records pass the identification threshold that did not before, 0 do not pass it now"
        in verdict.failures[0].sentence
    )


def test_other_libraries_are_named_where_something_was_found():
    baseline, good, leaky = baseline_of(state()), state(), state(strong=0.5)
    here = {**baseline.versions, "torch": "0.1"}
    for made, expected in ((good, []), (leaky, ["attack-stronger", "versions"])):
        present = suite_state(made.plan(), made.rows)
        verdict = judge(baseline, present, made.read, suite="made", name="b.csv", versions=here)
        assert [finding.kind for finding in verdict.findings] == expected
    assert f"torch {baseline.versions['torch']} (now 0.1)" in verdict.findings[1].sentence


def test_scores_by_record_that_contradict_their_row_are_refused():
    new = state()
    new.rows[1]["ssim"] = 0.2
    with pytest.raises(
        DataError, match="the scores by record contradict the row's ssim of the image"
    ):
        judged(state(), new, new)


def test_two_cells_that_a_check_cannot_tell_apart_are_refused():
    made = state()
    made.add("strong", level=0.3, utility=UTILITY, code="1", device="cuda")
    with pytest.raises(DataError, match="differ in nothing that a check compares by"):
        judged(state(), made, made)


class TestProcessors:
    """Differences that another processor explains, and those that it does not."""

    TABLE = ProcessorTolerance(
        "made", {"ssim": Difference(0.02, 0.0, 0.1), "utility_fid": Difference(10.0, 0.0)}
    )

    def verdict(self, level: float, fid: float, processor: str) -> Verdict:
        old, new = SyntheticLedger(), SyntheticLedger()
        old.add("strong", level=0.3, utility={"fid": 100.0})
        new.add("strong", level=level, utility={"fid": fid}, processor=processor)
        limits = Tolerances(processor=self.TABLE)
        present = [suite_state(made.plan(), made.rows) for made in (old, new)]
        baseline = Baseline(current_rows(present[0], old.read, measure="ssim"), "made", limits)
        return judge(baseline, present[1], new.read, suite="made", name="b.csv")

    def test_what_another_processor_explains_is_one_note(self):
        verdict = self.verdict(0.33, 115.0, "B")
        assert told(verdict) == []
        assert told(verdict, fails=False) == [("processor", "note")]
        assert (
            "another processor (baseline A, now B): one comparison differs"
            in verdict.findings[0].sentence
        )

    def test_on_the_same_processor_it_counts(self):
        assert ("attack-stronger", "worse") in told(self.verdict(0.33, 115.0, "A"))

    def test_what_it_does_not_explain_counts_and_names_it(self):
        verdict = self.verdict(0.4, 100.0, "B")
        assert told(verdict) == [("attack-stronger", "worse")]
        assert (
            "another processor (A, now B), though none was measured to change so much"
            in verdict.failures[0].sentence
        )


@pytest.fixture
def command(tmp_path, monkeypatch):
    """``bench check made`` on made rows, in place of a suite that would be planned and run."""
    planned: list[SyntheticLedger] = []
    document = None
    suite = Suite("made", SuiteFile.model_validate({"blocks": {"b": {"attacks": ["x"]}}}), document)
    monkeypatch.setattr(check_suite, "find_suite", lambda name: suite)

    def present(options: Any, suite: Suite, *, run: bool) -> tuple[Any, Any]:
        ledger = Ledger(options.results)
        return suite_state(planned[-1].plan(), ledger.rows()), ledger_scores(ledger)

    monkeypatch.setattr(check_suite, "_present", present)

    def stored(name: str, made: SyntheticLedger) -> str:
        planned.append(made)
        ledger = Ledger(tmp_path / name)
        for row in made.rows:
            scores = made.record_scores(row["cell_id"])
            ledger.write(row["cell_id"], row["capture_id"], row["spec"], [row], scores)
        return str(tmp_path / name)

    return stored


def bench(*args: str, **environment: str) -> tuple[int, str]:
    environment = {"GITHUB_ACTIONS": "", **environment}
    result = CliRunner().invoke(main, list(args), catch_exceptions=False, env=environment)
    return result.exit_code, result.output


def test_the_command_from_first_baseline_to_accepted_change(command, tmp_path):
    good = command("good", state())
    code, output = bench("check", "made", "--results", good)
    assert code == 2
    assert (
        "baseline.csv: does not exist; bench check SUITE --update --reason TEXT writes a baseline"
        in output
    )
    assert bench("check", "made", "--results", good, "--update")[0] == 2
    assert bench("check", "made", "--results", good, "--update", "--reason", " ")[0] == 2
    assert bench("check", "--results", good, "--update", "--reason", "no suite")[0] == 2
    assert not (Path(good) / "baseline.csv").exists()
    assert bench("check", "made", "--results", good, "--update", "--reason", "first")[0] == 0
    for option in (
        ("--reason", "why"),
        ("--tolerance", "inf"),
        ("--metric", "psnr"),
        ("--accept-failed",),
    ):
        code, output = bench("check", "made", "--results", good, *option)
        assert code == 2
        assert f"{option[0]} goes with --update" in output
    code, output = bench(
        "check", "made", "--results", good, "--update", "--reason", "x", "--tolerance", "nan"
    )
    assert code == 2
    assert "the attack tolerance must be from 0 to below 1, got nan" in output
    code, output = bench("check", "made", "--results", good)
    assert code == 0
    assert re.fullmatch(
        r"no worse: 4 comparisons of suite made \(2 of its 2 cells are there\) with .*/good/baseline.csv \(2 cells\), "
        r"nothing got worse\n",
        output,
    )

    bad = command("bad", state(strong=0.4))
    against = ("check", "made", "--results", bad, "--baseline", str(Path(good) / "baseline.csv"))
    summary = tmp_path / "summary.md"
    code, output = bench(
        *against,
        "--junit",
        str(tmp_path / "j.xml"),
        "--github-summary",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert code == 1
    assert output.splitlines()[0].startswith("FAIL attack-stronger: inversion on strong (")
    assert output.splitlines()[1].startswith(
        "bench: worse: 1 finding in 4 comparisons of suite made"
    )
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == [
        "4",
        "1",
        "0",
        "0",
    ]
    assert [f.get("type") for f in suite.iter("failure")] == ["attack-stronger"]
    assert "| ❌ | attack-stronger |" in summary.read_text()
    assert bench(*against, "--github-summary", GITHUB_STEP_SUMMARY="")[0] == 2
    assert (
        "::error title=bench check%3A attack-stronger::"
        in bench(*against, GITHUB_ACTIONS="true")[1]
    )
    assert "::error" not in bench(*against)[1]

    code, output = bench(*against, "--json")
    verdict = json.loads(output[: output.rindex("}") + 1])
    assert (code, verdict["answer"], verdict["exit_code"]) == (1, "worse", 1)
    assert verdict["suite"] == {"name": "made", "cells": 2, "cells_found": 2, "cells_left_out": 0}
    assert verdict["findings"][0]["kind"] == "attack-stronger"

    assert bench(*against, "--update", "--reason", "accepted for now")[0] == 0
    assert bench(*against)[0] == 0
    assert (
        (Path(good) / "baseline.history.csv")
        .read_text()
        .splitlines()[-1]
        .endswith(",2,1,accepted for now")
    )


def test_the_command_ends_in_4_where_it_cannot_say(command, tmp_path):
    results = command("r", state("1"))
    assert bench("check", "made", "--results", results, "--update", "--reason", "first")[0] == 0
    command("elsewhere", state("2"))  # the plan of another code, the ledger of the first
    code, output = bench("check", "made", "--results", results, "--junit", str(tmp_path / "j.xml"))
    assert code == 4
    assert output.splitlines()[0].startswith(
        "UNSURE stale: 2 of the suite's 2 cells have rows of another state only"
    )
    assert output.splitlines()[1].startswith(
        "bench: cannot say: 1 finding that could not be judged; 0 comparisons"
    )
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "2")
    code, output = bench("check", "made", "--results", results, "--update", "--reason", "stale")
    assert code == 2
    assert "no baseline of a suite that is not complete" in output


@pytest.mark.parametrize("allow_new", [[], ["--allow-new"]])
@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_baseline_is_refused(command, rows, allow_new):
    results = command("r", state())
    bench("check", "made", "--results", results, "--update", "--reason", "first")
    path = Path(results) / "baseline.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:rows]))
    code, output = bench("check", "made", "--results", results, *allow_new)
    assert code == 2
    assert "baseline.csv" in output


def test_a_baseline_of_the_first_format_says_what_to_do(command):
    results = command("r", state())
    bench("check", "made", "--results", results, "--update", "--reason", "first")
    (Path(results) / "baseline.json").unlink()
    code, output = bench("check", "made", "--results", results)
    assert code == 2
    assert "write the baseline again with bench check SUITE --update --reason TEXT" in output
    assert bench("check", "made", "--results", results, "--update", "--reason", "second")[0] == 0
    assert bench("check", "made", "--results", results)[0] == 0
