"""Claims of class labels: what they are worth, and the attacks that make them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attacks.gradients.engine.labels import distinct_labels
from attacks.gradients.engine.updates import Update
from attacks.gradients.label_counts import LabelCounts
from attacks.gradients.label_norms import LabelNorms, class_weights
from bench.cell.job import Job
from bench.cell.runner import Runner
from bench.interfaces import (
    BenchError,
    Budget,
    Claim,
    NotApplicableError,
    Silent,
    View,
)
from bench.scoring.labels import label_scores
from tests.conftest import make_records
from tests.support.attacked import train_and_view
from victims.classifier.federated_classifier import FederatedClassifier


def one_hot(*labels: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(labels), 3).float()


def test_labels_of_one_update_count_as_a_multiset() -> None:
    truth, auxiliary = torch.tensor([0, 1, 2, 2]), torch.tensor([2, 2, 0])
    apart = label_scores(one_hot(1, 0, 2, 2), truth, auxiliary, [])
    assert apart["label_accuracy"] == 0.5
    assert apart["label_accuracy_blind"] == 0.5
    together = label_scores(one_hot(1, 0, 2, 2), truth, auxiliary, [[0, 1], [2, 3]])
    assert together == {"label_accuracy": 1.0, "label_accuracy_blind": 0.5}


def test_auc_is_the_mean_over_classes_that_tell_targets_apart() -> None:
    truth = torch.tensor([0, 0, 1])
    weights = torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.4, 0.6, 0.0]])
    scores = label_scores(weights, truth, torch.empty(0, dtype=torch.long), [])
    assert scores["label_auc"] == pytest.approx(0.75)  # one tie in two pairs, for either class
    assert "label_accuracy_blind" not in scores
    assert "label_auc" not in label_scores(weights[:2], truth[:2], torch.tensor([0]), [])


def test_the_lowest_rows_name_distinct_labels() -> None:
    victim = FederatedClassifier.build({"size": 8, "network": "mlp", "records_per_update": 2})
    trainer = victim.trainer(32)
    weights = victim.classifier().initial_weights(0)
    label = torch.nn.functional.one_hot(torch.tensor([7, 3]), 10).float()
    inputs = {
        "pixels": torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
        "label": label,
    }
    gradient = trainer.gradient(weights, inputs)
    assert distinct_labels(trainer, Update((0, 1), 2, weights, gradient)).argmax(1).tolist() == [
        3,
        7,
    ]
    with pytest.raises(NotApplicableError, match="distinct"):
        distinct_labels(trainer, Update((0,), 11, weights, gradient))


def test_norms_near_a_class_speak_for_it() -> None:
    norms, labels = torch.tensor([1.0, 1.1, 5.0, 5.5]), one_hot(0, 0, 2, 2)
    assert class_weights(torch.tensor(1.05), norms, labels).argmax() == 0
    far = class_weights(torch.tensor(1e6), norms, labels)
    assert far.argmax() == 2
    assert float(far.sum()) == pytest.approx(1.0)


def see(tmp_path, **params: object) -> tuple[View, Tensor]:  # type: ignore[no-untyped-def]
    records = make_records(12)
    victim = FederatedClassifier.build({"size": 8, "clients": 2, "label": "identity", **params})
    seen = train_and_view(victim, records, tmp_path / "c", protocol="fedsgd")
    return seen.view, victim.labels(seen.records)


def claim(attack: LabelCounts | LabelNorms, view: View) -> Claim:
    return attack.run(
        view, rng=torch.Generator().manual_seed(0), budget=Budget(0, 64), progress=Silent()
    )


def test_the_label_of_a_single_record_is_exact(tmp_path) -> None:  # type: ignore[no-untyped-def]
    view, truth = see(tmp_path)
    found = claim(LabelCounts.build({}), view).labels
    assert found is not None
    assert torch.equal(found.argmax(1), truth)


def test_norms_of_the_records_themselves_name_their_labels(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """With the private records as auxiliary ones every norm is known, so the true class leads."""
    view, truth = see(tmp_path, network="mlp")
    found = claim(LabelNorms(), view).labels
    assert found is not None
    assert label_scores(found, truth, truth, [])["label_auc"] > 0.6
    with pytest.raises(NotApplicableError, match="several records"):
        claim(LabelNorms(), see(tmp_path / "two", records_per_update=2)[0])


def test_a_row_says_what_claimed_labels_are_worth(make_job: Callable[..., Job], tmp_path) -> None:  # type: ignore[no-untyped-def]
    job = make_job(
        victim="federated-classifier:clients=2",
        protocol="fedsgd",
        attack="label-counts",
        model=None,
    )
    rows = Runner(tmp_path, Silent()).run(job).rows
    assert {row["status"] for row in rows} == {"not_claimed"}
    assert {row["label_accuracy"] for row in rows} == {1.0}
    assert 0 <= rows[0]["label_accuracy_blind"] < 1  # type: ignore[operator]


def test_labels_of_a_victim_without_classes_are_refused(
    make_job: Callable[..., Job], tmp_path
) -> None:  # type: ignore[no-untyped-def]
    from bench.cell.judge import Judge
    from bench.cell.scores import label_columns

    job = make_job()
    records = job.splits.victim.select([0])
    with pytest.raises(BenchError, match="no classes"):
        label_columns(job, Claim({}, labels=one_hot(0)), Judge.from_job(job), records, [])
