"""A check finds what got worse, says which, and stays quiet where nothing did."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.interfaces import DataError, RequestError
from bench.reports.check.baseline import Baseline, read_baseline, write_baseline
from bench.reports.check.compare import check
from bench.reports.check.compared_rows import compared_rows
from bench.reports.check.output import as_json, github_lines, github_markdown, lines, write_junit
from bench.reports.check.verdict import Tolerances, Verdict
from tests.support.rows import SyntheticLedger

LEVELS = {
    ("none", "inversion"): 0.7,
    ("none", "closed-form"): 0.8,
    ("strong", "inversion"): 0.3,
    ("weak", "inversion"): 0.5,
}
UTILITY = {"fid": 100.0, "kid": 1.0, "kid_std": 0.3, "prompt_score": 0.25, "of_a_plugin": 1.0}


def run(seeds: tuple[int, ...] = (0, 1, 2), noise: int = 0, **changes: float) -> SyntheticLedger:
    """The cells of one run; ``changes`` are new levels by ``defense_attack``."""
    made = SyntheticLedger()
    for i, ((defense, attack), level) in enumerate(LEVELS.items()):
        for seed in seeds:
            level_now = changes.get(f"{defense}_{attack}", level)
            made.add(
                defense, attack, seed, level_now, noise=noise + i if noise else 0, utility=UTILITY
            )
    return made


def compared(old: SyntheticLedger, new: SyntheticLedger, **options: bool) -> Verdict:
    return check(*(compared_rows(m.rows, m.read, measure="ssim") for m in (old, new)), **options)


def kinds(verdict: Verdict, *, fails: bool = True) -> list[tuple[str, str]]:
    """Kind, and attack with defence."""
    return [(f.kind, f.subject.partition(" (")[0]) for f in verdict.findings if f.fails == fails]


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (0, 1, 2)])
class TestStrength:
    """On one, two and three seeds."""

    def test_an_unchanged_rerun_passes(self, seeds):
        verdict = compared(run(seeds), run(seeds))
        assert verdict.findings == ()
        assert len(verdict.subjects) == len(LEVELS) + 3

    def test_a_weakened_defence_is_caught(self, seeds):
        verdict = compared(run(seeds, noise=1), run(seeds, noise=50, strong_inversion=0.4))
        assert kinds(verdict) == [("attack-stronger", "inversion on strong")]
        assert "normalized ssim from 0.167 to 0.333" in verdict.failures[0].sentence

    def test_a_weakened_attack_is_caught_where_it_must_work(self, seeds):
        verdict = compared(
            run(seeds, noise=1), run(seeds, noise=50, none_inversion=0.6, strong_inversion=0.2)
        )
        assert kinds(verdict) == [("attack-weaker", "inversion on none")]
        notes = [("attack-weaker", "inversion on strong"), ("attack-blind", "inversion on strong")]
        assert kinds(verdict, fails=False) == notes

    def test_an_improved_attack_on_the_undefended_victim_is_a_remark(self, seeds):
        verdict = compared(run(seeds), run(seeds, none_inversion=0.75))
        assert verdict.failures == []
        assert kinds(verdict, fails=False) == [("attack-stronger", "inversion on none")]

    def test_noise_of_records_and_of_another_machine_passes(self, seeds):
        assert compared(run(seeds, noise=1), run(seeds, noise=90)).findings == ()
        assert (
            compared(run(seeds), run(seeds, strong_inversion=0.305, none_inversion=0.695)).findings
            == ()
        )


def test_a_weakened_attack_is_caught_on_its_certificate():
    old, new = SyntheticLedger(), SyntheticLedger()
    old.add("linear", "inversion", level=0.8, certificate=1)
    new.add("linear", "inversion", level=0.6, certificate=1)
    assert kinds(compared(old, new)) == [("attack-weaker", "inversion on linear")]


def test_a_collapse_at_one_seed_of_three_is_caught():
    old, new = run(noise=1), SyntheticLedger()
    for row in run(noise=1).rows:
        broke = row["attack"] == "closed-form" and row["seed"] == 1
        level = 0.3 if broke else LEVELS[row["defense"], row["attack"]]
        new.add(row["defense"], row["attack"], row["seed"], level, noise=1, utility=UTILITY)
    assert kinds(compared(old, new)) == [("attack-weaker", "closed-form on none")]


def test_what_other_training_runs_change_is_no_finding():
    old, new = SyntheticLedger(), SyntheticLedger()
    for seed, (before, after) in enumerate([(0.30, 0.36), (0.38, 0.34), (0.33, 0.36)]):
        old.add("strong", level=before, seed=seed)
        new.add("strong", level=after, seed=seed)
    assert compared(old, new).findings == ()


def test_an_attack_is_measured_by_the_controls_of_the_baseline():
    """A control that moved with the attack would hide the change."""
    old, new = SyntheticLedger(), SyntheticLedger()
    old.add("strong", level=0.3)
    new.add("strong", level=0.4, ssim_ceiling=1.4)
    verdict = compared(old, new)
    assert kinds(verdict) == [
        ("attack-stronger", "inversion on strong"),
        ("controls", "inversion on strong"),
    ]
    assert "ceiling of ssim from 0.8 to 1.4" in verdict.failures[1].sentence


def test_where_lower_is_closer_a_lower_score_is_the_stronger_attack():
    old, new = SyntheticLedger(), SyntheticLedger()
    for made, level in ((old, 0.6), (new, 0.5)):
        made.add("strong", level=level, ssim_floor=0.8, ssim_ceiling=0.2)
    assert kinds(compared(old, new)) == [("attack-stronger", "inversion on strong")]


def test_many_comparisons_raise_the_bar():
    """Forty defences, each with a chance difference of two standard errors: alone it counts, in the family not."""
    old, new = SyntheticLedger(), SyntheticLedger()
    for i in range(40):
        old.add(f"d{i}", level=0.5, noise=2 * i + 1)
        new.add(f"d{i}", level=0.513, noise=2 * i + 2)
    assert kinds(compared(old, new)) == []
    alone = tuple(
        {
            key: point
            for key, point in compared_rows(m.rows, m.read, measure="ssim").items()
            if key[1] == "d0"
        }
        for m in (old, new)
    )
    assert kinds(check(*alone)) == [("attack-stronger", "inversion on d0")]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("figure", "worse", "within"),
    [("fid", 110.0, 103.0), ("prompt_score", 0.2, 0.24), ("kid", 1.5, 1.25)],
)
def test_a_fall_of_utility_is_caught(seeds, figure, worse, within):
    def made(value: float) -> SyntheticLedger:
        found = SyntheticLedger()
        for seed in range(seeds):
            for attack in ("inversion", "closed-form"):
                found.add(
                    "strong", attack, seed, utility=UTILITY | {figure: value * (1 + seed / 500)}
                )
        return found

    old = UTILITY[figure]
    verdict = compared(made(old), made(worse))
    assert [f.kind for f in verdict.findings] == ["utility-fell"]
    assert [f.level for f in verdict.findings] == ["worse" if seeds == 3 else "note"]
    assert f"{figure} from {old * (1 + (seeds > 1) / 500):.4g} to" in verdict.findings[0].sentence
    assert compared(made(old), made(within)).findings == ()
    assert compared(made(worse), made(old)).findings == ()


@pytest.mark.parametrize("status", ["failed", "timeout", "not_applicable"])
def test_a_change_of_state_is_caught(status):
    new = run()
    row = new.add("strong", "inversion", 1, status=status, created="2027")
    verdict = compared(run(), new)
    assert kinds(verdict) == [("state", "inversion on strong")]
    assert f"was ok and is {status}: {row['reason']} at seed 1" in verdict.failures[0].sentence
    assert kinds(compared(new, run())) == [("state", "inversion on strong")]


def test_missing_and_new_rows_are_caught():
    fewer = run()
    fewer.rows = [row for row in fewer.rows if row["attack"] != "closed-form"]
    verdict = compared(run(), fewer)
    assert kinds(verdict) == [("missing", "closed-form on none")]
    assert verdict.failures[0].sentence.endswith("is missing at seed 0, 1, 2")
    assert kinds(compared(fewer, run())) == [("new", "closed-form on none")]
    assert compared(fewer, run(), allow_new=True).findings == ()


def test_a_row_that_moved_to_another_setting_is_explained():
    old, new = SyntheticLedger(), SyntheticLedger()
    old.add("strong", epochs=5)
    new.add("strong", epochs=6)
    found = {finding.kind: finding.sentence for finding in compared(old, new).findings}
    assert set(found) == {"missing"}
    assert "differ in epochs (5 in the baseline, 6 now)" in found["missing"]


def written(path: Path, made: SyntheticLedger, **options: object) -> Baseline:
    """A baseline of a run, in files."""
    baseline = Baseline(
        compared_rows(made.rows, made.read, measure="ssim"), "made", Tolerances(), **options
    )
    write_baseline(path, baseline, reason="first", accepted=0)
    return baseline


def test_a_baseline_survives_its_files(tmp_path):
    made = run()
    made.add("odd", threat="12e45678", data_hash="0012345678901234", certificate=1)
    made.add("gone", status="failed")
    path = tmp_path / "baseline.csv"
    old = written(path, made, accepts_failed=True)
    again = read_baseline(path)
    assert set(again.compared_rows) == set(old.compared_rows)
    assert len(again.compared_rows) == len(made.rows)
    assert (again.suite, again.tolerances, again.accepts_failed) == ("made", Tolerances(), True)
    assert (
        kinds(check(again.compared_rows, old.compared_rows))
        == kinds(check(old.compared_rows, again.compared_rows))
        == []
    )
    for key, point in old.compared_rows.items():
        assert set(again.compared_rows[key].scores) == set(point.scores)
        assert again.compared_rows[key].identified == point.identified
    worse = run(strong_inversion=0.4)
    assert (
        kinds(check(again.compared_rows, compared_rows(worse.rows, worse.read, measure="ssim")))[
            -1
        ][0]
        == "attack-stronger"
    )
    write_baseline(path, old, reason="second, with a comma", accepted=3)
    with (tmp_path / "baseline.history.csv").open() as stream:
        history = list(csv.DictReader(stream))
    assert [(line["reason"], line["accepted"]) for line in history] == [
        ("first", "0"),
        ("second, with a comma", "3"),
    ]


def test_line_ends_and_a_byte_order_mark_damage_no_baseline(tmp_path):
    path = tmp_path / "baseline.csv"
    old = written(path, run())
    for file in (path, tmp_path / "baseline.scores.jsonl"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert check(read_baseline(path).compared_rows, old.compared_rows).findings == ()


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_baseline_without_scores_by_record_still_compares_means(tmp_path, seeds):
    made, path = run(seeds), tmp_path / "baseline.csv"
    current = compared_rows(made.rows, lambda *_: {}, measure="ssim")
    write_baseline(path, Baseline(current, "made", Tolerances()), reason="first", accepted=0)
    worse = run(seeds, strong_inversion=0.4)
    baseline = read_baseline(path).compared_rows
    assert not any(point.scores for point in baseline.values())
    verdict = check(baseline, compared_rows(worse.rows, worse.read, measure="ssim"))
    assert kinds(verdict) == [("attack-stronger", "inversion on strong")]
    assert check(baseline, compared_rows(made.rows, made.read, measure="ssim")).findings == ()


def test_a_baseline_of_failed_cells_is_refused_unless_said(tmp_path):
    made = run((0,))
    made.add("gone", status="failed")
    path = tmp_path / "baseline.csv"
    with pytest.raises(RequestError, match=r"1 of the cells failed \(inversion on gone\)"):
        written(path, made)
    assert not path.exists()
    old = written(path, made, accepts_failed=True)
    verdict = check(read_baseline(path).compared_rows, old.compared_rows)
    assert kinds(verdict, fails=False) == [("state", "inversion on gone")]
    assert "failed as in the baseline, and was not compared" in verdict.findings[0].sentence
    assert not [subject for subject in verdict.compared if "gone" in subject]
    about = path.with_suffix(".json")
    about.write_text(about.read_text().replace('"accepts_failed": true', '"accepts_failed": false'))
    with pytest.raises(DataError, match="1 of its rows failed, but it does not accept failed rows"):
        read_baseline(path)


def test_where_nothing_has_a_score_there_is_no_baseline(tmp_path):
    made = SyntheticLedger()
    made.add("gone", status="failed")
    with pytest.raises(RequestError, match="nothing could be compared"):
        written(tmp_path / "baseline.csv", made, accepts_failed=True)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -0.1, 1.0])
def test_impossible_tolerances_are_refused(value):
    for name in ("attack", "record", "utility"):
        with pytest.raises(RequestError, match=f"the {name} tolerance must be from 0 to below 1"):
            Tolerances(**{name: value})
    with pytest.raises(RequestError, match="alpha"):
        Tolerances(alpha=value)


def test_tolerances_stand_in_the_baseline(tmp_path):
    path = tmp_path / "baseline.csv"
    old = written(path, run())
    write_baseline(
        path, dataclasses.replace(old, tolerances=Tolerances(attack=0.2)), reason="r", accepted=0
    )
    baseline = read_baseline(path)
    worse = run(strong_inversion=0.4)
    current = compared_rows(worse.rows, worse.read, measure="ssim")
    assert check(baseline.compared_rows, current, tolerances=baseline.tolerances).findings == ()
    assert check(baseline.compared_rows, current).exit_code == 1
    about = path.with_suffix(".json")
    about.write_text(about.read_text().replace('"attack": 0.2', '"attack": Infinity'))
    with pytest.raises(DataError, match="the attack tolerance must be from 0 to below 1"):
        read_baseline(path)


def test_reports_hold_one_line_a_finding_whatever_a_label_says():
    verdict = compared(run(), run(strong_inversion=0.4, none_inversion=0.5))
    assert [line.split(":")[0] for line in lines(verdict)] == [
        "FAIL attack-weaker",
        "FAIL attack-stronger",
    ]
    old, new = SyntheticLedger(), SyntheticLedger()
    old.add("a|<b>\x1b\n")
    verdict = compared(old, new)
    table = github_markdown(verdict).splitlines()
    assert len(table) == 5
    assert "a\\|&lt;b>" in table[-1]
    (line,) = github_lines(verdict)
    assert line.startswith("::error title=bench check%3A missing::inversion on a|<b>")
    assert "%0A" in line
    assert "\n" not in line


def test_a_note_stands_in_every_report(tmp_path):
    verdict = compared(run((0,)), run((0,), strong_inversion=0.2))
    assert verdict.exit_code == 0
    blind = [f for f in verdict.findings if f.kind == "attack-blind"]
    assert "the attack may be broken" in blind[0].sentence
    write_junit(tmp_path / "j.xml", verdict)
    cases = {
        case.get("name"): case
        for case in ElementTree.parse(tmp_path / "j.xml").getroot().iter("testcase")
    }
    assert "the attack may be broken" in cases[blind[0].subject].findtext("system-out")
    told = json.loads(as_json(verdict))
    assert (told["answer"], told["exit_code"]) == ("no worse", 0)
    assert {f["kind"] for f in told["findings"]} == {"attack-weaker", "attack-blind"}
    assert any(
        line.startswith("::notice title=bench check%3A attack-blind::")
        for line in github_lines(verdict)
    )
    assert "| note | attack-blind |" in github_markdown(verdict)


def test_an_attack_that_still_tells_records_apart_is_not_called_broken():
    new = SyntheticLedger()
    new.add(
        "strong", "inversion", level=0.2, identified=0.5, identified_low=0.4, identified_high=0.6
    )
    new.rows[0] |= {
        "identified_floor": 0.0,
        "identified_ceiling": 1.0,
        "identified_normalized": 0.5,
    }
    old = SyntheticLedger()
    old.add("strong", "inversion", level=0.3)
    (blind,) = [f for f in compared(old, new).findings if f.kind == "attack-blind"]
    assert "other measures still are above their floor" in blind.sentence
