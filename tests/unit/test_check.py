"""A check finds what got worse, says which, and stays quiet where nothing did."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from bench.check import check
from bench.check_baseline import points, read_baseline, write_baseline
from bench.check_report import github_markdown, lines
from bench.check_verdict import Tolerances, Verdict
from bench.cli import main
from bench.errors import DataError, RequestError
from bench.ledger import Ledger
from tests.made_rows import MadeLedger

LEVELS = {
    ("none", "inversion"): 0.7,
    ("none", "closed-form"): 0.8,
    ("strong", "inversion"): 0.3,
    ("weak", "inversion"): 0.5,
}
UTILITY = {"fid": 100.0, "kid": 1.0, "kid_std": 0.3, "prompt_score": 0.25, "of_a_plugin": 1.0}


def run(seeds: tuple[int, ...] = (0, 1, 2), noise: int = 0, **changes: float) -> MadeLedger:
    """The cells of one run; ``changes`` are new levels by ``defense_attack``."""
    made = MadeLedger()
    for i, ((defense, attack), level) in enumerate(LEVELS.items()):
        for seed in seeds:
            level_now = changes.get(f"{defense}_{attack}", level)
            made.add(defense, attack, seed, level_now, noise=noise + i if noise else 0, utility=UTILITY)
    return made


def compared(old: MadeLedger, new: MadeLedger, **options: bool) -> Verdict:
    return check(*(points(m.rows, m.read, measure="ssim") for m in (old, new)), **options)


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
        assert "normalised ssim from 0.167 to 0.333" in verdict.failures[0].sentence

    def test_a_weakened_attack_is_caught_where_it_must_work(self, seeds):
        verdict = compared(run(seeds, noise=1), run(seeds, noise=50, none_inversion=0.6, strong_inversion=0.2))
        assert kinds(verdict) == [("attack-weaker", "inversion on none")]
        assert kinds(verdict, fails=False) == [("attack-weaker", "inversion on strong")]

    def test_an_improved_attack_on_the_undefended_victim_is_a_remark(self, seeds):
        verdict = compared(run(seeds), run(seeds, none_inversion=0.75))
        assert verdict.failures == []
        assert kinds(verdict, fails=False) == [("attack-stronger", "inversion on none")]

    def test_noise_of_records_and_of_another_machine_passes(self, seeds):
        assert compared(run(seeds, noise=1), run(seeds, noise=90)).findings == ()
        assert compared(run(seeds), run(seeds, strong_inversion=0.305, none_inversion=0.695)).findings == ()


def test_a_weakened_attack_is_caught_on_its_certificate():
    old, new = MadeLedger(), MadeLedger()
    old.add("linear", "inversion", level=0.8, certificate=1)
    new.add("linear", "inversion", level=0.6, certificate=1)
    assert kinds(compared(old, new)) == [("attack-weaker", "inversion on linear")]


def test_a_collapse_at_one_seed_of_three_is_caught():
    old, new = run(noise=1), MadeLedger()
    for row in run(noise=1).rows:
        broke = row["attack"] == "closed-form" and row["seed"] == 1
        level = 0.3 if broke else LEVELS[row["defense"], row["attack"]]
        new.add(row["defense"], row["attack"], row["seed"], level, noise=1)
    assert kinds(compared(old, new)) == [("attack-weaker", "closed-form on none")]


def test_what_other_training_runs_change_is_no_finding():
    old, new = MadeLedger(), MadeLedger()
    for seed, (before, after) in enumerate([(0.30, 0.36), (0.38, 0.34), (0.33, 0.36)]):
        old.add("strong", level=before, seed=seed)
        new.add("strong", level=after, seed=seed)
    assert compared(old, new).findings == ()


def test_an_attack_is_measured_by_the_controls_of_the_baseline():
    """A control that moved with the attack would hide the change."""
    old, new = MadeLedger(), MadeLedger()
    old.add("strong", level=0.3)
    new.add("strong", level=0.4, ssim_ceiling=1.4)
    assert kinds(compared(old, new)) == [("attack-stronger", "inversion on strong")]


def test_where_lower_is_closer_a_lower_score_is_the_stronger_attack():
    old, new = MadeLedger(), MadeLedger()
    for made, level in ((old, 0.6), (new, 0.5)):
        made.add("strong", level=level, ssim_floor=0.8, ssim_ceiling=0.2)
    assert kinds(compared(old, new)) == [("attack-stronger", "inversion on strong")]


def test_many_comparisons_raise_the_bar():
    """Forty defences, each with a chance difference of two standard errors: alone it counts, in the family not."""
    old, new = MadeLedger(), MadeLedger()
    for i in range(40):
        old.add(f"d{i}", level=0.5, noise=2 * i + 1)
        new.add(f"d{i}", level=0.513, noise=2 * i + 2)
    assert kinds(compared(old, new)) == []
    alone = tuple(
        {key: point for key, point in points(m.rows, m.read, measure="ssim").items() if key[1] == "d0"}
        for m in (old, new)
    )
    assert kinds(check(*alone)) == [("attack-stronger", "inversion on d0")]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("figure", "worse", "within"), [("fid", 110.0, 103.0), ("prompt_score", 0.2, 0.24), ("kid", 1.5, 1.25)]
)
def test_a_fall_of_utility_is_caught(seeds, figure, worse, within):
    def made(value: float) -> MadeLedger:
        found = MadeLedger()
        for seed in range(seeds):
            for attack in ("inversion", "closed-form"):
                found.add("strong", attack, seed, utility=UTILITY | {figure: value * (1 + seed / 500)})
        return found

    old = UTILITY[figure]
    verdict = compared(made(old), made(worse))
    assert [f.kind for f in verdict.findings] == ["utility-fell"]
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
    old, new = MadeLedger(), MadeLedger()
    old.add("strong", epochs=5)
    new.add("strong", epochs=6)
    found = {finding.kind: finding.sentence for finding in compared(old, new).findings}
    assert set(found) == {"missing", "new"}
    assert "there is one that differs in epochs" in found["missing"]


def test_a_baseline_survives_its_files(tmp_path):
    made = run()
    made.add("odd", threat="12e45678", data_hash="0012345678901234", certificate=1)
    made.add("gone", status="failed")
    old = points(made.rows, made.read, measure="ssim")
    path = tmp_path / "baseline.csv"
    write_baseline(path, old, reason="first", accepted=0)
    again = read_baseline(path)
    assert set(again) == set(old)
    assert len(again) == len(made.rows)
    assert check(again, old).findings == check(old, again).findings == ()
    assert all(set(again[key].scores) == set(old[key].scores) for key in old)
    worse = run(strong_inversion=0.4)
    assert kinds(check(again, points(worse.rows, worse.read, measure="ssim")))[-1][0] == "attack-stronger"
    write_baseline(path, old, reason="second, with a comma", accepted=3)
    with (tmp_path / "baseline.history.csv").open() as stream:
        history = list(csv.DictReader(stream))
    assert [(line["reason"], line["accepted"]) for line in history] == [("first", "0"), ("second, with a comma", "3")]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_baseline_without_scores_by_record_still_compares_means(tmp_path, seeds):
    made, path = run(seeds), tmp_path / "baseline.csv"
    write_baseline(path, points(made.rows, made.read, measure="ssim"), reason="first", accepted=0)
    (tmp_path / "baseline.scores.jsonl").unlink()
    worse = run(seeds, strong_inversion=0.4)
    verdict = check(read_baseline(path), points(worse.rows, worse.read, measure="ssim"))
    assert kinds(verdict) == [("attack-stronger", "inversion on strong")]
    assert check(read_baseline(path), points(made.rows, made.read, measure="ssim")).findings == ()


def _cut(path: Path) -> None:
    path.write_text(path.read_text().replace(",status", ",state"))


def _twice(path: Path) -> None:
    text = path.read_text()
    path.write_text(text + text.splitlines(keepends=True)[-1])


def _scores(path: Path) -> None:
    path.with_name("baseline.scores.jsonl").write_text('{"cell_id": "x"}\n')


@pytest.mark.parametrize(
    ("damage", "words"), [(_cut, "not a baseline"), (_twice, "two rows"), (_scores, "line 1 holds no scores")]
)
def test_a_damaged_baseline_is_named(tmp_path, damage: Callable[[Path], None], words):
    made, path = run(), tmp_path / "baseline.csv"
    write_baseline(path, points(made.rows, made.read, measure="ssim"), reason="first", accepted=0)
    damage(path)
    with pytest.raises(DataError, match=words):
        read_baseline(path)
    with pytest.raises(RequestError, match="--update --reason"):
        read_baseline(tmp_path / "none.csv")


def test_reports_hold_one_line_a_finding_whatever_a_label_says():
    verdict = compared(run(), run(strong_inversion=0.4, none_inversion=0.5))
    assert [line.split(":")[0] for line in lines(verdict)] == ["FAIL attack-weaker", "FAIL attack-stronger"]
    old, new = MadeLedger(), MadeLedger()
    old.add("a|<b>\x1b\n")
    table = github_markdown(compared(old, new)).splitlines()
    assert len(table) == 5
    assert "a\\|&lt;b>" in table[-1]


def stored(results: Path, made: MadeLedger) -> Path:
    ledger = Ledger(results)
    for row in made.rows:
        scores = made.record_scores(row["cell_id"])
        ledger.write(row["cell_id"], row["capture_id"], row["spec"], [row], scores)
    return results


def bench(*args: str, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(args), catch_exceptions=False, env=environment)
    return result.exit_code, result.output


def test_the_command_from_first_baseline_to_accepted_change(tmp_path):
    good = stored(tmp_path / "good", run((0,)))
    code, output = bench("check", "--results", str(good))
    assert code == 2
    assert "baseline.csv: no baseline there; make one with bench check --update --reason TEXT" in output
    assert bench("check", "--results", str(good), "--update")[0] == 2
    assert bench("check", "--results", str(good), "--update", "--reason", " ")[0] == 2
    assert not (good / "baseline.csv").exists()
    assert bench("check", "--results", str(good), "--update", "--reason", "first")[0] == 0
    assert bench("check", "--results", str(good), "--reason", "why")[0] == 2
    code, output = bench("check", "--results", str(good))
    assert (code, output) == (0, "7 comparisons with the baseline, nothing got worse\n")

    bad = stored(tmp_path / "bad", run((0,), strong_inversion=0.4))
    against = ("check", "--results", str(bad), "--baseline", str(good / "baseline.csv"))
    summary = tmp_path / "summary.md"
    code, output = bench(
        *against, "--junit", str(tmp_path / "j.xml"), "--github-summary", GITHUB_STEP_SUMMARY=str(summary)
    )
    assert code == 1
    assert output.splitlines()[0].startswith("FAIL attack-stronger: inversion on strong (")
    assert output.splitlines()[1] == "bench: 1 finding in 7 comparisons with the baseline"
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("7", "1")
    assert [f.get("type") for f in suite.iter("failure")] == ["attack-stronger"]
    assert "| ❌ | attack-stronger |" in summary.read_text()
    assert bench(*against, "--github-summary", GITHUB_STEP_SUMMARY="")[0] == 2

    assert bench(*against, "--update", "--reason", "accepted for now")[0] == 0
    assert bench(*against)[0] == 0
    assert (good / "baseline.history.csv").read_text().splitlines()[-1].endswith(",4,1,accepted for now")


def test_tolerances_are_the_callers_to_set():
    old, new = (points(m.rows, m.read, measure="ssim") for m in (run(), run(strong_inversion=0.4)))
    assert check(old, new, tolerances=Tolerances(attack=0.2)).findings == ()
