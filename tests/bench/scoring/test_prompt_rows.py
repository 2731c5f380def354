"""The third target on its way: rows, leaderboard, check and the tables that print them."""

from __future__ import annotations

import pytest

from bench.cell.runner import Runner
from bench.interfaces import TARGETS, BenchError, Claim, Estimate, Silent, Texts
from bench.reports.check.compare import check
from bench.reports.check.compared_rows import compared_rows
from bench.reports.comparability import choose_measure
from bench.reports.leaderboard import leaderboard
from bench.scoring.claim_check import check_claim
from bench.types.targets import HEADLINE
from tests.conftest import make_records
from tests.support.rows import SyntheticLedger


def prompt_row(made: SyntheticLedger, defense: str, attack: str, seed: int, level: float) -> None:
    """A row of texts: two measures, of which ``exact_match`` comes first by the alphabet."""
    fields = {
        f"exact_match{end}": x for end, x in (("", level), ("_floor", 0.0), ("_ceiling", 1.0))
    }
    fields |= {f"rouge_l{end}": x for end, x in (("", level), ("_floor", 0.1), ("_ceiling", 1.0))}
    fields |= {"exact_match_normalized": level, "rouge_l_normalized": (level - 0.1) / 0.9}
    row = made.add(defense, attack, seed, level, target="prompt", **fields)
    for name in [name for name in row if name.startswith("ssim")]:
        row.pop(name)


def test_prompt_settings_rank_by_their_headline_measure():
    made = SyntheticLedger()
    for seed in (0, 1, 2):
        made.add("none", "inversion", seed, 0.7)
        made.add("none", "inversion", seed, status="not_claimed", target="prompt")
        prompt_row(made, "none", "prompt-decode", seed, 1.0)
        made.add("prompt", "prompt-decode", seed, status="not_applicable", target="prompt")
        prompt_row(made, "none", "prompt-from-image", seed, 0.4)
        prompt_row(made, "prompt", "prompt-from-image", seed, 0.4)
    found = {(e.setting["target"], e.defense): e for e in leaderboard(made.rows, made.read)}
    assert {key: (e.measure, e.attack) for key, e in found.items()} == {
        ("image", "none"): ("ssim", "inversion"),
        ("prompt", "none"): (HEADLINE["prompt"], "prompt-decode"),
        ("prompt", "prompt"): (HEADLINE["prompt"], "prompt-from-image"),
    }
    assert found["prompt", "prompt"].rank == 1
    asked = choose_measure([row for row in made.rows if row["target"] == "prompt"], "exact_match")
    assert asked == "exact_match", "what is asked for goes before the headline"


def test_a_target_that_nobody_claims_is_no_news_to_an_older_baseline():
    old, new = SyntheticLedger(), SyntheticLedger()
    for made in (old, new):
        made.add("none", "inversion", 0, 0.7)
    new.add("none", "inversion", 0, status="not_claimed", target="prompt")
    before, after = (compared_rows(made.rows, made.read, measure="ssim") for made in (old, new))
    assert check(before, after).findings == ()
    prompt_row(new, "none", "prompt-decode", 0, 1.0)
    assert [
        f.kind for f in check(before, compared_rows(new.rows, new.read, measure="ssim")).findings
    ] == ["new"]


@pytest.mark.parametrize(
    ("estimates", "words"),
    [
        ({"prompt": Texts(("a",))}, "1 prompts for 2"),
        ({"prompt": Estimate(make_records(2).image_batch())}, "an? Estimate as the prompt"),
        ({"image": Texts(("a", "b"))}, "a Texts as the image"),
        ({"mood": Texts(("a", "b"))}, "unknown target"),
        ({"identity": Texts(("a", "b"))}, "a Texts as the identity"),
    ],
)
def test_a_claim_of_the_wrong_kind_is_refused(estimates, words):
    with pytest.raises(BenchError, match=words):
        check_claim("guess", Claim(estimates), targets=2, releases=2, image_size=32)


@pytest.mark.slow
def test_a_cell_of_texts_goes_all_the_way(make_job, tmp_path, capsys):
    from bench.reports.result_table import print_result

    job = make_job(attack="prompt-decode", protocol="gradient", attack_batch_size=64)
    result = Runner(tmp_path, Silent()).run(job)
    rows = {str(row["target"]): row for row in result.rows}
    assert tuple(rows) == TARGETS
    assert [row["status"] for row in result.rows] == ["not_claimed", "not_claimed", "ok"]
    row = rows["prompt"]
    assert row["token_accuracy"] == row["token_accuracy_ceiling"] == 1.0
    assert row["token_accuracy_floor"] < 1.0
    assert {"rouge_l_typical", "rouge_l_random", "rouge_l_nearest", "rouge_l_caption"} <= row.keys()
    assert "ssim" not in row
    assert "few-for-fid" not in str(row["flags"])
    assert str(row["certificate"]).startswith("prompt token_accuracy")
    assert "certificate-missed" not in str(row["flags"])
    assert result.picture is None
    assert {score.metric for score in result.scores} >= {"token_accuracy", "rouge_l", "exact_match"}
    print_result(job, result, tmp_path)
    assert "cut truth" in capsys.readouterr().out


def test_a_retained_prompt_gives_not_applicable_with_the_reason(make_job, tmp_path):
    result = Runner(tmp_path, Silent()).run(
        make_job(attack="prompt-decode", protocol="gradient", defense="prompt")
    )
    assert result.status == "not_applicable"
    assert "the prompt is retained" in str(result.rows[-1]["reason"])
