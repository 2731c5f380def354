"""The threshold of ``identified``: known answers, impostor pairs, its interval, too few people."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.cell.runner import Runner
from bench.interfaces import (
    BackboneSet,
    BenchError,
    Estimate,
    ImageBatch,
    ScoringContext,
    Silent,
    generator,
)
from bench.metrics.identification import Identified
from bench.metrics.match_threshold import MatchThreshold, calibrate, shortage, threshold
from bench.reports.result_table import print_result
from bench.scoring.controls.facts import _wrong_records
from bench.scoring.rows import CellOutcome, make_rows
from bench.scoring.score import score_target, unsupported_metrics
from bench.types.identities import group_numbers, other_identities
from tests.conftest import make_records


def people(
    count: int, photos: int, *, spread: float, seed: int = 0, size: int = 8
) -> tuple[Tensor, list[str | None]]:
    """Unit-length embeddings of several photographs of each person, and whom each shows."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, size, generator=rng, dtype=torch.float64).repeat_interleave(
        photos, 0
    )
    moved = centres + spread * torch.randn(centres.shape, generator=rng, dtype=torch.float64)
    names: list[str | None] = [f"person {i // photos}" for i in range(count * photos)]
    return torch.nn.functional.normalize(moved, dim=1), names


def impostors(embedded: Tensor, names: list[str | None]) -> Tensor:
    """Cosines of all pairs of different people."""
    pairs = [
        (i, j)
        for i in range(len(names))
        for j in range(i)
        if names[i] is None or names[i] != names[j]
    ]
    return torch.stack([embedded[i] @ embedded[j] for i, j in pairs])


def test_true_matches_do_not_set_the_threshold() -> None:
    """Of 16 people with four photographs, 96 of 2,016 pairs (4.8 %) show one person."""
    embedded, names = people(16, 4, spread=0.15)
    all_pairs = embedded @ embedded.T
    row, column = torch.triu_indices(64, 64, offset=1)
    over_all = float(all_pairs[row, column].sort(descending=True).values[int(0.01 * 2016)])
    strangers = impostors(embedded, names)
    found = calibrate(embedded, names, 0.01)
    assert len(strangers) == found.impostor_pairs == 1920
    assert found.identities == 16
    assert found.value == pytest.approx(float(strangers.sort(descending=True).values[19]))
    assert over_all > 0.97
    assert found.value < 0.9
    true_matches = torch.stack(
        [all_pairs[i, j] for i in range(64) for j in range(i) if names[i] == names[j]]
    )
    assert float((true_matches > over_all).double().mean()) < 0.25, (
        "the rule over all pairs misses most true matches"
    )
    assert float((true_matches > found.value).double().mean()) > 0.99


def test_the_threshold_keeps_its_false_match_rate() -> None:
    embedded, names = people(20, 3, spread=0.3)
    strangers = impostors(embedded, names)
    for share in (0.01, 0.1, 0.5):
        above = float((strangers > threshold(embedded, names, share) + 1e-9).double().mean())
        assert share - 0.001 <= above <= share
        assert threshold(embedded, names, share) == calibrate(embedded, names, share).value


def test_without_identities_every_pair_is_one_of_strangers() -> None:
    embedded, _ = people(60, 1, spread=0.0)
    nobody: list[str | None] = [None] * 60
    named: list[str | None] = [f"person {i}" for i in range(60)]
    assert calibrate(embedded, nobody, 0.01) == calibrate(embedded, named, 0.01)
    assert calibrate(embedded, nobody, 0.01).impostor_pairs == 60 * 59 // 2
    assert group_numbers(["a", None, "b", None, "a"]) == [0, 1, 2, 3, 0]


def test_unequal_clusters_and_copies_of_one_picture_do_not_move_the_threshold() -> None:
    """Crops of one picture share its identity: thirty of them are no thirty strangers."""
    embedded, names = people(30, 1, spread=0.0)
    crops = torch.cat([embedded, embedded[:1].expand(30, -1)])
    counted = impostors(crops, [*names, *[names[0]] * 30])
    assert threshold(crops, [*names, *[names[0]] * 30], 0.01) == pytest.approx(
        float(counted.sort(descending=True).values[int(0.01 * len(counted))])
    )
    assert threshold(crops, [*names, *[None] * 30], 0.01) == pytest.approx(1.0), (
        "unnamed copies pass as strangers"
    )


@pytest.mark.parametrize(
    ("identities", "share", "resolved"),
    [
        (15, 0.01, True),  # 105 pairs of identities
        (14, 0.01, False),  # 91
        (46, 0.001, True),  # 1,035
        (45, 0.001, False),  # 990
        (3, 0.5, True),
        (2, 0.5, False),
        (1, 0.5, False),
    ],
)
def test_a_share_takes_enough_pairs_of_identities(
    identities: int, share: float, resolved: bool
) -> None:
    embedded, names = people(identities, 20, spread=0.3)
    reason = shortage(names, share)
    assert (reason is None) is resolved
    if resolved:
        assert math.isfinite(calibrate(embedded, names, share).value)
        return
    assert f"has {identities} identities" in str(reason)
    with pytest.raises(BenchError, match="identities"):
        calibrate(embedded, names, share)
    with pytest.raises(BenchError, match="identities"):
        threshold(embedded, names, share)


def test_the_reason_says_how_many_identities_are_enough() -> None:
    for share, enough in ((0.01, 15), (0.001, 46), (0.05, 7), (0.3, 4)):
        assert f"so {enough} identities" in str(shortage(["one"], share))
        assert shortage([None] * enough, share) is None
        assert shortage([None] * (enough - 1), share) is not None


def test_embeddings_that_are_not_finite_or_do_not_pair_are_refused() -> None:
    embedded, names = people(15, 1, spread=0.0)
    with pytest.raises(BenchError, match="not finite"):
        calibrate(embedded * math.nan, names, 0.01)
    with pytest.raises(BenchError, match="15 calibration pictures but 14 identities"):
        calibrate(embedded, names[:-1], 0.01)


def test_the_interval_is_the_same_every_time_and_narrows_with_people_not_with_photographs() -> None:
    few, many = people(16, 4, spread=0.2), people(120, 4, spread=0.2)
    found = calibrate(*few, 0.01)
    assert found == calibrate(*few, 0.01)
    assert found.low < found.value < found.high
    width = found.high - found.low
    wider = calibrate(*people(16, 16, spread=0.2), 0.01)
    narrow = calibrate(*many, 0.01)
    assert narrow.high - narrow.low < 0.5 * width
    assert wider.high - wider.low > 0.5 * width, (
        "more photographs of the same people are no more strangers"
    )


def test_the_interval_covers_the_threshold_of_the_population() -> None:
    """20 of 400 people: at least 0.9, nominally 0.95 (0.94 or more in longer simulations)."""
    embedded, names = people(400, 3, spread=0.3)
    everybody = threshold(embedded, names, 0.01)
    rng = np.random.default_rng(3)
    hits, rounds = 0, 60
    for _ in range(rounds):
        chosen = rng.choice(400, 20, replace=False)
        places = [3 * int(person) + photo for person in chosen for photo in range(3)]
        found = calibrate(embedded[places], [names[i] for i in places], 0.01)
        hits += found.low <= everybody <= found.high
    assert hits / rounds >= 0.9


class Directions:
    """Reads an embedding off a picture: its first eight red pixels, less one half."""

    name, dim = "directions", 8

    def embed(self, images: ImageBatch) -> Tensor:
        return images.pixels[:, 0, 0, :8] - 0.5


def drawn(embedded: Tensor) -> ImageBatch:
    """Pictures that :class:`Directions` reads these embeddings off."""
    pixels = torch.zeros(len(embedded), 3, 16, 16)
    pixels[:, 0, 0, :8] = 0.5 + 0.5 * embedded.float()
    return ImageBatch(pixels)


def scene(photos: int = 4, count: int = 16) -> tuple[Estimate, Estimate, ScoringContext]:
    """Claims near their truth, and a calibration split of people with several photographs each."""
    truth, who = people(40, 1, spread=0.0, seed=5)
    rng = torch.Generator().manual_seed(6)
    claim = torch.nn.functional.normalize(
        truth + 0.2 * torch.randn(truth.shape, generator=rng), dim=1
    )
    calibration, names = people(count, photos, spread=0.15)
    net = Directions()
    backbones = BackboneSet(net, net, net, net)  # type: ignore[arg-type]
    context = ScoringContext(drawn(truth), tuple(who), drawn(calibration), tuple(names), backbones)
    return Estimate(drawn(claim)), Estimate(drawn(truth)), context


def test_identified_counts_matches_beyond_strangers_and_says_what_it_rests_on() -> None:
    claim, truth, context = scene()
    (score,) = score_target("image", claim, truth, {}, [Identified()], context, seed=0)
    embedded = Directions().embed(context.calibration).double()
    expected = calibrate(
        torch.nn.functional.normalize(embedded, dim=1), context.calibration_identities, 0.01
    )
    basis = score.basis
    assert isinstance(expected, MatchThreshold)
    assert basis["threshold"] == pytest.approx(expected.value)
    assert (basis["threshold_low"], basis["threshold_high"]) == pytest.approx(
        (expected.low, expected.high)
    )
    assert (basis["impostor_pairs"], basis["impostor_identities"]) == (1920, 16)
    assert basis["at_threshold_high"] <= score.mean <= basis["at_threshold_low"]
    cosines = torch.nn.functional.cosine_similarity(
        Directions().embed(claim.images).double(), Directions().embed(truth.images).double()
    )
    assert score.values.tolist() == (cosines > expected.value).double().tolist()
    assert score.mean > 0.5
    unnamed = dataclasses.replace(context, calibration_identities=(None,) * 64)
    (kind,) = score_target("image", claim, truth, {}, [Identified()], unnamed, seed=0)
    assert kind.basis["threshold"] > 0.97
    assert kind.mean < 0.5 * score.mean, (
        "photographs of one person that pass as strangers hide leaks"
    )


class Vain(Identified):
    """Would write its own interval."""

    def basis(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> dict[str, float]:
        return {"high": 1.0, "threshold": 0.0}


def test_a_metric_cannot_write_the_columns_of_the_judge() -> None:
    claim, truth, context = scene()
    with pytest.raises(BenchError, match="must not return high"):
        score_target("image", claim, truth, {}, [Vain()], context, seed=0)


def test_too_few_people_give_a_reason_in_the_row_and_no_number(make_job) -> None:
    claim, truth, context = scene(photos=40, count=14)
    metrics = [Identified()]
    assert Identified().score(claim, truth, context) is None
    assert score_target("image", claim, truth, {}, metrics, context, seed=0) == []
    reasons = unsupported_metrics("image", metrics, context)
    assert "14 identities" in reasons["identified"]
    assert unsupported_metrics("condition", metrics, context) == {}
    assert unsupported_metrics("image", metrics, scene()[2]) == {}
    outcome = CellOutcome(status="ok", scores={"image": []}, unsupported_metrics={"image": reasons})
    (row,) = make_rows(
        make_job().cell,
        outcome,
        split_hash="0" * 64,
        targets=["image"],
        created="2026-01-01T00:00:00",
    )
    assert row["identified_reason"] == reasons["identified"]
    assert "identified" not in row
    assert Identified.build({"far": 0.05}).score(claim, truth, context) is not None


@pytest.mark.slow
def test_a_run_states_its_threshold_or_why_there_is_none(make_job, tmp_path, capsys) -> None:
    """Portraits have four photographs a person: 60 calibration records are 15 people, 56 are 14."""
    found = {}
    for calibration in (56, 60):
        job = make_job(attack="closed-form", calibration=calibration)
        result = Runner(tmp_path, Silent()).run(job)
        print_result(job, result, tmp_path)
        found[calibration] = (
            next(r for r in result.rows if r["target"] == "image"),
            capsys.readouterr().out,
        )
    row, printed = found[60]
    assert (row["identified_impostor_identities"], row["identified_impostor_pairs"]) == (
        15,
        15 * 14 // 2 * 16,
    )
    ends = [row[f"identified_threshold{end}"] for end in ("_low", "", "_high")]
    assert ends == sorted(ends)
    assert (
        row["identified_at_threshold_high"]
        <= row["identified"]
        <= row["identified_at_threshold_low"]
    )
    assert "identified_reason" not in row
    assert f"identified: threshold {row['identified_threshold']:.3f}, 95 % interval" in printed
    row, printed = found[56]
    assert "14 identities" in row["identified_reason"]
    assert not [
        name for name in row if name.startswith("identified") and name != "identified_reason"
    ]
    assert "identified: no value: the calibration split has 14 identities" in printed


@pytest.mark.parametrize("names", [["a"] * 4 + ["b"] * 3 + ["c"] * 5, ["a", "b"] * 6, [None] * 12])
def test_shuffled_claims_go_to_other_people(names: list[str | None]) -> None:
    numbers = group_numbers(names)
    for seed in range(20):
        given = other_identities(names, generator(seed))
        assert sorted(given) == list(range(12))
        assert all(numbers[i] != numbers[j] for i, j in enumerate(given))


def test_shuffling_what_cannot_be_separated_still_moves_every_record() -> None:
    assert other_identities([], generator(0)) == []
    assert sorted(other_identities(["a"] * 5, generator(0))) == list(range(5))
    assert all(i != j for i, j in enumerate(other_identities(["a"] * 5, generator(0))))
    most: list[str | None] = ["a", "a", "a", "b"]
    given = other_identities(most, generator(1))
    assert sorted(given) == list(range(4))
    assert given[3] != 3


def test_the_shuffled_control_deals_claims_to_other_people() -> None:
    records = dataclasses.replace(
        make_records(8), identities=("a", "a", "a", "a", "b", "b", "c", "c")
    )
    given = _wrong_records(records, seed=3)
    assert all(records.identities[i] != records.identities[j] for i, j in enumerate(given))
