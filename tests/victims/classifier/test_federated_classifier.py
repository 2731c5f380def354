"""The federated classifier: what crosses its wire, what it trains on, and what the truth is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    Capture,
    RequestError,
    Silent,
    TrainingPlan,
)
from bench.scoring.controls.images import ORACLE
from defenses.none import NoDefense
from tests.conftest import make_records
from victims.classifier.federated_classifier import FederatedClassifier
from victims.classifier.parts.labelled_records import labels, pool

RECORDS = make_records(9)
SMALL = {"size": 8, "clients": 2, "label": "identity", "records_per_update": 2}


def train(out: Path, **params: object) -> tuple[FederatedClassifier, Capture]:
    victim = FederatedClassifier.build({**SMALL, **params})
    plan = TrainingPlan(
        epochs=2, batch_size=3, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32"
    )
    return victim, victim.train(
        RECORDS, NoDefense(), plan, protocol="fedsgd", out=out, progress=Silent()
    )


def plain_loss(
    weights: dict[str, torch.Tensor], x: torch.Tensor, label: torch.Tensor
) -> torch.Tensor:
    """The network of the paper, written out."""
    for i, stride in enumerate((2, 1, 1, 1)):
        x = functional.conv2d(
            x, weights[f"conv{i}.weight"], weights[f"conv{i}.bias"], stride, 2
        ).sigmoid()
    return functional.cross_entropy(
        functional.linear(x.flatten(1), weights["head.weight"], weights["head.bias"]), label
    )


def test_an_update_is_sgd_on_its_records_and_the_server_adds_the_mean(tmp_path: Path) -> None:
    _, capture = train(tmp_path / "c")
    sent, models = capture.transcript.parts(CLIENT_UPDATE), capture.transcript.parts(GLOBAL_MODEL)
    assert (
        [p.step for p in sent] == [p.step for p in models] == list(range(8))
    )  # 2 epochs x 2 turns x 2 clients
    classes = labels(RECORDS, "identity", 10)
    for update, model in zip(sent, models, strict=True):
        rows = [i for r, i in capture.secrets.position.items() if r.step == update.step]
        index = capture.secrets.record_index[rows]
        weights = {name: tensor.requires_grad_() for name, tensor in model.tensors.items()}
        loss = plain_loss(weights, pool(RECORDS.images, 8)[index], classes[index])
        for name, slope in zip(
            weights, torch.autograd.grad(loss, list(weights.values())), strict=True
        ):
            torch.testing.assert_close(update.tensors[name], -0.1 * slope, atol=1e-7, rtol=1e-4)
    for name, tensor in models[2].tensors.items():
        expected = models[0].tensors[name] + (sent[0].tensors[name] + sent[1].tensors[name]) / 2
        torch.testing.assert_close(tensor, expected)
        assert torch.equal(models[1].tensors[name], models[0].tensors[name])


def test_the_truth_is_the_pooled_picture_and_the_oracle_gives_it_back(tmp_path: Path) -> None:
    victim, capture = train(tmp_path / "c")
    releases = capture.transcript.releases(1)
    _, truth = capture.secrets.truth(releases)
    index = capture.secrets.record_index[[capture.secrets.position[r] for r in releases]]
    small = functional.avg_pool2d(RECORDS.images[index].float(), 4).round() / 255
    pixels = truth["image"].images.pixels
    torch.testing.assert_close(pixels, small.repeat_interleave(4, 2).repeat_interleave(4, 3))
    public = victim.public(None, RECORDS, protocol="fedsgd", device="cpu")
    oracle = image_controls("image", truth["image"], RECORDS, public.codec, seed=0)[ORACLE]
    assert torch.equal(oracle.images.pixels, pixels)
    assert public.trainer is not None
    inputs = {"pixels": small, "label": torch.zeros(len(small), 10)}
    assert torch.equal(public.trainer.estimates(inputs)["image"].images.pixels, pixels)


def test_several_local_steps_are_their_sum(tmp_path: Path) -> None:
    _, capture = train(tmp_path / "c", records_per_update=3, batch_size=2, clients=1)
    step = capture.transcript.parts(CLIENT_UPDATE)[0]
    start = capture.transcript.parts(GLOBAL_MODEL)[0].tensors
    rows = [i for r, i in sorted(capture.secrets.position.items()) if r.step == 0]
    index, classes = capture.secrets.record_index[rows], labels(RECORDS, "identity", 10)
    weights = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    optimizer = torch.optim.SGD(weights.values(), lr=0.1)
    for part in (index[:2], index[2:]):
        optimizer.zero_grad()
        plain_loss(weights, pool(RECORDS.images, 8)[part], classes[part]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, tensor in weights.items():
        torch.testing.assert_close(start[name] + step.tensors[name], tensor.detach())


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(RequestError, match="no multiple"):
        FederatedClassifier.build({"size": 24}).check(64)
    with pytest.raises(
        RequestError, match="no attribute 'hair_colour' for its label; it has identity"
    ):
        FederatedClassifier.build({}).check_records(RECORDS, Silent())


def test_utility_is_the_accuracy_on_held_out_records(tmp_path: Path) -> None:
    victim, capture = train(tmp_path / "c")
    utility = victim.utility(capture, RECORDS, NoDefense(), None, protocol="fedsgd")  # type: ignore[arg-type]
    assert set(utility) == {"accuracy", "accuracy_blind"}
    assert all(0 <= value <= 1 for value in utility.values())
    assert utility["accuracy"] * len(RECORDS) == pytest.approx(
        round(utility["accuracy"] * len(RECORDS))
    )
