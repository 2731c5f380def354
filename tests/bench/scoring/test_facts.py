"""Attributes and identities on their way: claims, galleries, controls, rows."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from attacks.learned.reidentify import meeting_loss
from bench.backbones.attribute_reader import AttributeReader, learnable_attributes
from bench.backbones.portrait_attributes import CLASSES
from bench.cell.runner import Runner
from bench.interfaces import AttributeOdds, BenchError, Gallery, IdentityScores, Silent
from bench.metrics.attributes import AttributeAccuracy, AttributeAuc, AttributeBalanced
from bench.metrics.lineup import IdentityRank, IdentityTop1, IdentityTop5
from bench.scoring.controls.facts import fact_controls
from bench.scoring.matching import match_facts
from tests.conftest import make_records

VALUES = {"hat": ("none", "cap"), "hair": ("black", "red", "grey")}
ROWS = tuple({"hat": VALUES["hat"][i % 4 == 0], "hair": VALUES["hair"][i % 3]} for i in range(12))


def claimed() -> AttributeOdds:
    rng = torch.Generator().manual_seed(1)
    return AttributeOdds(
        VALUES, {name: torch.rand(12, len(known), generator=rng) for name, known in VALUES.items()}
    )


@pytest.mark.parametrize(
    ("values", "odds", "words"),
    [
        ({"hat": ("a", "b")}, {}, "odds of nothing"),
        ({"hat": ("a", "b")}, {"hair": torch.ones(1, 2)}, "odds of hair"),
        ({"hat": ("a", "b")}, {"hat": torch.ones(1, 3)}, r"\(1, 3\), expected \(1, 2\)"),
        ({"hat": ("a", "b")}, {"hat": torch.tensor([[0.5, float("nan")]])}, "not finite"),
    ],
)
def test_labels_that_make_no_sense_are_refused(values, odds, words):
    with pytest.raises(BenchError, match=words):
        AttributeOdds(values, odds)


def test_attribute_metrics_agree_with_scikit_learn():
    claim, truth = claimed(), AttributeOdds.one_hot(ROWS, VALUES)
    balanced, auc = [], []
    for name in VALUES:
        wanted, odds = truth.odds[name].argmax(1).numpy(), claim.odds[name].double().numpy()
        balanced.append(balanced_accuracy_score(wanted, odds.argmax(1)))
        shares = torch.bincount(torch.from_numpy(wanted)) / 12
        auc.append(
            sum(float(s) * roc_auc_score(wanted == k, odds[:, k]) for k, s in enumerate(shares))
        )
    assert float(AttributeBalanced().compare(claim, truth, None).mean()) == pytest.approx(
        sum(balanced) / 2
    )
    assert float(AttributeAuc().compare(claim, truth, None).mean()) == pytest.approx(sum(auc) / 2)


def test_the_majority_has_the_accuracy_of_its_share_and_no_balance():
    truth = AttributeOdds.one_hot(ROWS, VALUES)
    prior = AttributeOdds(
        VALUES, {name: odds.mean(0).expand(12, -1) for name, odds in truth.odds.items()}
    )
    only = AttributeOdds({"hat": VALUES["hat"]}, {"hat": prior.odds["hat"]})
    right = AttributeOdds({"hat": VALUES["hat"]}, {"hat": truth.odds["hat"]})
    assert float(AttributeAccuracy().compare(only, right, None).mean()) == 0.75
    assert float(AttributeBalanced().compare(only, right, None).mean()) == 0.5
    assert AttributeAuc().compare(only, right, None).tolist() == [0.5] * 12


def test_a_value_that_the_attacker_never_met_counts_as_missed():
    truth = AttributeOdds.one_hot(({"hat": "cap"}, {"hat": "crown"}), {"hat": VALUES["hat"]})
    assert AttributeAccuracy().compare(truth, truth, None).tolist() == [1.0, 0.0]


def test_a_place_in_the_lineup_is_counted_from_one_and_ties_are_lost():
    likeness = torch.tensor([[0.9, 0.1, 0.2], [0.9, 0.1, 0.2], [0.5, 0.5, 0.1]])
    truth = IdentityScores.one_hot([0, 1, 0], 3)
    assert IdentityRank().compare(IdentityScores(likeness), truth, None).tolist() == [1.0, 3.0, 2.0]
    assert IdentityTop1().compare(IdentityScores(likeness), truth, None).tolist() == [1.0, 0.0, 0.0]
    assert IdentityTop5().compare(IdentityScores(likeness), truth, None).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(BenchError, match="identity scores of"):
        IdentityTop1().compare(IdentityScores(likeness[:, :2]), truth, None)


def test_attributes_that_name_a_person_or_say_nothing_are_no_attributes():
    records = make_records(4)
    rows = tuple({"photo": f"{i}", "hat": str(i % 2), "planet": "earth"} for i in range(4))
    assert learnable_attributes(dataclasses.replace(records, attributes=rows)) == {
        "hat": ("0", "1")
    }
    assert learnable_attributes(records) == {}
    assert learnable_attributes(dataclasses.replace(records, attributes=(*rows[:3], {}))) == {}


def test_the_reader_learns_values_that_the_backbone_does_not_know():
    records = make_records(24)
    bright = tuple(
        {"light": "bright" if p > 0.5 else "dim"}
        for p in records.image_batch().pixels.mean((1, 2, 3))
    )
    values = {"light": ("bright", "dim")}
    known = dataclasses.replace(records, attributes=bright)
    told = AttributeReader(values, known).read(known.image_batch())
    assert (
        float(AttributeAccuracy().compare(told, AttributeOdds.one_hot(bright, values), None).mean())
        > 0.9
    )


def test_portraits_have_a_gallery_of_photographs_that_no_record_is(make_job):
    job = make_job(image_size=64)
    gallery = job.new_gallery(30)
    people = set(job.splits.victim.identities)
    assert len(gallery.names) == len(set(gallery.names)) == 30
    assert people <= set(gallery.names)
    assert not {
        i
        for part in ("auxiliary", "calibration", "evaluation")
        for i in getattr(job.splits, part).identities
    } & (set(gallery.names) - people)
    records = torch.cat(
        [
            getattr(job.splits, p).images
            for p in ("victim", "auxiliary", "calibration", "evaluation")
        ]
    )
    apart = torch.cdist(gallery.images.pixels.flatten(1), records.flatten(1).float() / 255)
    assert float(apart.min()) > 1.0
    assert gallery.names == job.new_gallery(30).names
    assert gallery.names != make_job(image_size=64, seed=1).new_gallery(30).names, (
        "a place must tell nothing"
    )
    assert len(job.new_gallery(2).names) == len(people), "the private people are always among them"


@pytest.mark.slow
def test_a_data_set_without_other_photographs_has_no_gallery(make_job, tmp_path):
    assert make_job(data="photos").new_gallery(10) is None
    result = Runner(tmp_path, Silent()).run(make_job(attack="reidentify", data="photos"))
    assert [(row["target"], row["status"]) for row in result.rows] == [
        ("identity", "not_applicable")
    ]
    assert "no further photographs of the private people" in str(result.rows[0]["reason"])


def test_controls_of_a_claim_that_is_true():
    records = make_records(12)
    records = dataclasses.replace(records, attributes=ROWS)
    truth, controls = fact_controls(
        AttributeOdds.one_hot(ROWS, VALUES), records, records, None, seed=0
    )
    accuracy = {name: AttributeAccuracy().compare(c, truth, None) for name, c in controls.items()}
    assert accuracy["nearest"].tolist() == [1.0] * 12, (
        "here the public records are the private ones"
    )
    assert float(accuracy["shuffled"].mean()) < 0.8
    assert {"majority", "random", "nearest", "shuffled", "oracle"} == set(controls)


def test_a_shuffled_claim_is_never_ones_own():
    records = make_records(6)
    gallery = Gallery(tuple(str(n) for n in records.identities), records.image_batch())
    claim = IdentityScores(torch.eye(6))
    truth, controls = fact_controls(claim, records, records, gallery, seed=3)
    assert IdentityTop1().compare(claim, truth, None).tolist() == [1.0] * 6
    assert IdentityTop1().compare(controls["shuffled"], truth, None).tolist() == [0.0] * 6
    assert controls["oracle"].likeness.argmax(1).tolist() == list(range(6)), "the same pictures"
    with pytest.raises(BenchError, match="not in the gallery"):
        fact_controls(claim, records, records, Gallery(("x",) * 6, records.image_batch()), seed=3)


def test_facts_of_one_update_are_put_in_the_order_that_fits():
    truth = IdentityScores.one_hot([4, 1, 3], 6)
    mixed = IdentityScores(truth.likeness[[2, 0, 1]] + 0.01 * torch.rand(3, 6))
    assert match_facts(mixed, truth, [[0, 1, 2]]).likeness.argmax(1).tolist() == [4, 1, 3]
    assert match_facts(mixed, truth, [[0], [1], [2]]).likeness.argmax(1).tolist() == [3, 4, 1]
    labels = AttributeOdds.one_hot(ROWS[:3], VALUES)
    assert torch.equal(
        match_facts(labels.take([1, 2, 0]), labels, [[0, 1, 2]]).odds["hair"], labels.odds["hair"]
    )


def test_meeting_loss_is_least_at_the_own_picture_and_its_person():
    pictured = torch.nn.functional.normalize(
        torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=1
    )
    people, index = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 3])
    right = meeting_loss(pictured[index], pictured, people, index)
    wrong = meeting_loss(pictured[[3, 0]], pictured, people, index)
    one = meeting_loss(pictured[index], pictured, torch.zeros(6, dtype=torch.long), index)
    assert float(right) < 0.5 < float(wrong)
    assert float(one) == pytest.approx(0.0, abs=1e-5), "no one to be told from"


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack", ["attribute:through=closed-form", "reidentify:through=closed-form"]
)
def test_facts_off_an_exact_picture_are_those_of_the_round_trip(attack, make_job, tmp_path):
    """A cell goes all the way: one row, of the fact alone."""
    result = Runner(tmp_path, Silent()).run(make_job(attack=attack, image_size=64))
    (row,) = result.rows
    target = "attribute" if attack.startswith("attribute") else "identity"
    assert (row["target"], row["status"]) == (target, "ok"), row["reason"]
    measure = {"attribute": "attribute_accuracy", "identity": "identity_top1"}[target]
    assert {measure, f"{measure}_floor", f"{measure}_ceiling", f"{measure}_shuffled"} <= row.keys()
    assert row["n"] == 6
    assert target == "attribute" or row["gallery"] == 100
    assert "ssim" not in row
    assert result.picture is None


def test_the_heads_know_every_attribute_of_portraits(make_job):
    assert learnable_attributes(make_job(image_size=64).splits.auxiliary).keys() <= CLASSES.keys()
