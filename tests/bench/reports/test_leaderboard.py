"""The leaderboard ranks the worst case, among rows that may be compared, and shows the rest unranked."""

from __future__ import annotations

import csv
import io

import pytest

from bench.interfaces import RequestError
from bench.reports.leaderboard import Standing, leaderboard
from bench.reports.leaderboard_files import as_csv, as_markdown, write_leaderboard
from tests.support.rows import SyntheticLedger

SEEDS = (0, 1, 2)


@pytest.fixture
def made() -> SyntheticLedger:
    """Two attacks on two defences and the undefended victim; weak stops inversion only, strong stops both."""
    made = SyntheticLedger()
    for seed in SEEDS:
        for defense, inversion, algebra in [
            ("none", 0.7, 0.8),
            ("weak", 0.3, 0.8),
            ("strong", 0.3, 0.25),
        ]:
            made.add(defense, "inversion", seed, inversion, noise=1, utility={"fid": 10.0 + seed})
            made.add(defense, "closed-form", seed, algebra, noise=2, utility={"fid": 10.0 + seed})
    return made


def standings(made: SyntheticLedger, **options: str) -> dict[str, Standing]:
    """By defence, of a ledger with one setting."""
    found = leaderboard(made.rows, made.read, **options)
    assert len({entry.setting for entry in found}) == 1
    return {entry.defense: entry for entry in found}


def test_the_worst_attack_speaks_for_a_defence(made):
    found = standings(made)
    assert {d: (e.rank, e.attack, e.attacks, e.seeds, e.n) for d, e in found.items()} == {
        "strong": (1, "inversion", "2/2", 3, 40),
        "weak": (2, "closed-form", "2/2", 3, 40),
        "none": (2, "closed-form", "2/2", 3, 40),
    }
    strong = found["strong"]
    assert strong.score.mean == pytest.approx(0.3)
    assert strong.normalized.mean == pytest.approx((0.3 - 0.2) / 0.6)
    assert strong.normalized.low < strong.normalized.mean < strong.normalized.high
    assert strong.of_reference == pytest.approx(0.1 / 0.6, rel=1e-4)
    assert strong.difference.mean == pytest.approx(-0.5 / 0.6, rel=1e-4)
    assert strong.figures["utility_fid"] == 11.0
    assert strong.p_below < 0.01
    assert found["weak"].p_below == 1.0
    assert found["none"].p_below != found["none"].p_below


def test_a_defence_that_no_attack_adapts_to_is_shown_and_not_ranked(made):
    for seed in SEEDS:
        made.add("deaf", "inversion", seed, 0.2, flags="few-for-fid not-adaptive:deaf")
        made.add("deaf", "closed-form", seed, 0.2, flags="not-adaptive:deaf")
        made.add("half", "inversion", seed, 0.2)
        made.add("half", "closed-form", seed, 0.21, flags="not-adaptive:half")
    found = standings(made)
    assert (found["deaf"].rank, found["deaf"].partial) == (None, "no attack adapts")
    assert found["deaf"].normalized.mean == pytest.approx(0.0, abs=1e-6)
    assert (found["half"].rank, found["half"].partial) == (1, "")


def test_two_defences_are_compared_directly(made):
    found = standings(made, reference="weak")
    assert found["strong"].p_below < 0.01
    assert found["strong"].difference.mean == pytest.approx(-0.5 / 0.6, rel=1e-4)


def test_where_lower_is_closer_the_lowest_score_is_the_worst_case():
    made = SyntheticLedger()
    for seed in SEEDS:
        for attack, level in [("inversion", 0.3), ("closed-form", 0.6)]:
            made.add("none", attack, seed, level, ssim_floor=0.8, ssim_ceiling=0.2)
    entry = standings(made)["none"]
    assert entry.attack == "inversion"
    assert entry.score.mean == pytest.approx(0.3)
    assert entry.score.low <= 0.3 <= entry.score.high
    assert entry.normalized.mean == pytest.approx(0.5 / 0.6, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "failed"}, "inversion failed at seed 2"),
        ({"status": "timeout"}, "inversion timeout at seed 2"),
        ({"seed": 1}, "inversion 2 seeds"),
        ({"ssim_ceiling": None}, "inversion no ssim between controls at seed 2"),
    ],
)
def test_a_partial_defence_is_shown_and_not_ranked(made, change, words):
    for seed in SEEDS[:2]:
        made.add("other", "inversion", seed, 0.3)
    made.add("other", "inversion", **{"seed": 2, "level": 0.3} | change)
    for seed in SEEDS:
        made.add("other", "closed-form", seed, 0.3)
    found = standings(made)
    assert found["other"].rank is None
    assert words in found["other"].partial
    assert found["other"].p_below != found["other"].p_below
    assert found["strong"].rank == 1


def test_an_attack_that_missed_its_certificate_praises_no_defence(made):
    made.add("none", "inversion", seed=0, level=0.3, flags="certificate-missed")
    found = standings(made)
    assert {name: entry.rank for name, entry in found.items()} == dict.fromkeys(found)
    assert all("inversion missed its certificate" in entry.partial for entry in found.values())


def test_an_attack_that_was_not_run_leaves_a_defence_unranked(made):
    for seed in SEEDS:
        made.add("other", "inversion", seed, 0.21)
    assert standings(made)["other"].partial == "closed-form missing"


@pytest.mark.parametrize("status", ["not_applicable", "not_claimed"])
def test_an_attack_that_does_not_apply_is_no_failure(made, status):
    for seed in SEEDS:
        made.add("other", "inversion", seed, 0.3)
        made.add("other", "closed-form", seed, status=status)
    entry = standings(made)["other"]
    assert (entry.partial, entry.attacks) == ("", "1/1")
    assert entry.rank is not None


def test_where_no_attack_applies_nothing_is_praised(made):
    for seed in SEEDS:
        for attack in ("inversion", "closed-form"):
            made.add("other", attack, seed, status="not_applicable")
    entry = standings(made)["other"]
    assert (entry.rank, entry.partial) == (None, "no attack applies")


@pytest.mark.parametrize(
    "change",
    [
        {"backbones": "identity=inception"},
        {"scale": "user-model"},
        {"epochs": 50},
        {"target": "condition"},
        {"withheld_from_view": "noise_target"},
        {"protocol": "u-shaped"},
        {"data_hash": "other"},
        {"targets": 64},
    ],
    ids=str,
)
def test_what_is_not_comparable_stands_in_another_table(made, change):
    for seed in SEEDS:
        made.add("other", "inversion", seed, 0.21, **change)
    found = leaderboard(made.rows, made.read)
    entry = next(e for e in found if e.defense == "other")
    assert all(e.setting != entry.setting for e in found if e.defense != "other")
    assert entry.rank == 1
    assert entry.p_below != entry.p_below


def test_where_a_model_lies_does_not_matter(made):
    for seed in SEEDS:
        made.add(
            "other",
            "inversion",
            seed,
            0.3,
            victim="v:model=/home/x/sd",
            dataset="portraits:path=/y",
            model="/x/sd",
        )
        made.add(
            "other",
            "closed-form",
            seed,
            0.3,
            victim="v:model=/home/x/sd",
            dataset="portraits:path=/y",
        )
    assert standings(made)["other"].rank is not None
    assert "/home" not in as_csv(list(standings(made).values()))


def test_the_newest_of_two_runs_counts(made):
    made.add(
        "strong", "inversion", 0, 0.75, created="2026-02-01T00:00:00+00:00", capture_id="again"
    )
    assert standings(made)["strong"].score.mean == pytest.approx((0.75 + 0.3 + 0.3) / 3)


def test_seed_means_serve_where_scores_by_record_are_not_known(made):
    with_records = standings(made)["strong"]
    without = {e.defense: e for e in leaderboard(made.rows, lambda *_: {})}["strong"]
    assert without.normalized.mean == pytest.approx(with_records.normalized.mean, abs=1e-5)
    assert without.normalized.low == pytest.approx(with_records.normalized.low, abs=1e-5)
    assert without.p_below == pytest.approx(with_records.p_below, abs=1e-5)


def test_flags_across_rows(made):
    for seed in SEEDS:
        made.add("none", "inversion", seed, 0.75, withheld_from_view="noise_target")
        made.add("strong", "inversion", seed, 0.5, noise=3, withheld_from_view="noise_target")
    found = {
        (e.defense, e.setting["withheld_from_view"]): e.flags
        for e in leaderboard(made.rows, made.read)
    }
    assert "weaker-than-simpler:inversion" in found["weak", ""]
    assert "weaker-than-simpler:inversion" not in found["strong", ""]
    assert "stronger-view-weaker-result" in found["strong", ""]
    assert "stronger-view-weaker-result" not in found["none", ""]


def test_csv_and_markdown_show_every_row_and_cannot_be_broken_by_a_label(made):
    made.add("evil|<b>\nx", "inversion", 0, 0.3)
    entries = leaderboard(made.rows, made.read)
    table = list(csv.DictReader(io.StringIO(as_csv(entries))))
    assert [line["defense"] for line in table] == [e.defense for e in entries]
    assert table[0]["defense"] == "strong"
    assert table[0]["backbones"] == "identity=embedded-v1"
    assert float(table[0]["normalized"]) == pytest.approx(1 / 6, rel=1e-4)
    assert table[-1]["rank"] == ""
    lines = [line for line in as_markdown(entries, "none").splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(entries)
    assert {line.replace("\\|", "").count("|") for line in lines} == {lines[0].count("|")}
    assert "<b>" not in "".join(lines)


def test_no_ledger_is_one_sentence(tmp_path):
    with pytest.raises(RequestError, match=r"no ledger\.sqlite"):
        write_leaderboard(tmp_path)
    assert list(tmp_path.iterdir()) == []
