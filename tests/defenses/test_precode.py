"""PRECODE's bottleneck: known answers, where it goes, and what attacks make of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from attacks.gradients.analytic import Analytic
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.labels import recover_labels
from attacks.gradients.engine.updates import trainer_of, updates_in
from bench.cell.job import Job
from bench.interfaces import Budget, RequestError, Silent, View
from defenses.clip_noise import ClipNoise
from defenses.compose import Compose
from defenses.precode import DECODER, ENCODER, Bottleneck, Precode
from tests.conftest import make_records
from tests.support.attacked import train_and_view
from victims.classifier.federated_classifier import FederatedClassifier

SMALL = Precode.build({"width": 8})


def test_the_bottleneck_draws_around_its_mean() -> None:
    block = Bottleneck(width=1, beta=0.5)
    encoder, bias = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([0.0, 2.0])
    weights = {f"{ENCODER}.weight": encoder, f"{ENCODER}.bias": bias}
    weights |= {
        f"{DECODER}.weight": torch.tensor([[1.0], [-1.0]]),
        f"{DECODER}.bias": torch.tensor([0.0, 1.0]),
    }
    features, loss = block.apply(weights, torch.tensor([[3.0, 9.0]]), torch.tensor([[2.0]]))
    drawn = 3 + torch.e * 2  # mean 3, log-variance 2
    torch.testing.assert_close(features, torch.tensor([[drawn, 1 - drawn]]))
    assert float(loss) == pytest.approx(0.5 * 0.5 * (9 + torch.e**2 - 1 - 2))
    assert block.apply(weights, torch.tensor([[3.0, 9.0]]), torch.zeros(1, 1))[0].tolist() == [
        [3.0, -2.0]
    ]


def test_it_goes_before_the_head_of_the_clients_network() -> None:
    victim = FederatedClassifier.build({"size": 8, "network": "mlp", "hidden": 16})
    network, plain = victim.classifier(SMALL), victim.classifier()
    weights = network.initial_weights(0)
    assert set(weights) - set(plain.initial_weights(0)) == set(
        Bottleneck(8, 0.0).initial_weights(16)
    )
    assert victim.trainer(32, SMALL).behind_noise == {
        n for n in weights if n.startswith((DECODER, "head"))
    }
    assert repr(network) == repr(plain), "the victim's fingerprint is that of its own model"
    pixels = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.represent(weights, pixels), plain.represent(weights, pixels))
    assert not torch.equal(network.logits(weights, pixels), plain.logits(weights, pixels))


def test_it_is_refused_without_a_place_and_twice(make_job: Callable[..., Job]) -> None:
    with pytest.raises(RequestError, match=r"'precode' inserts layers .* 'federated' has no place"):
        make_job(victim="federated", protocol="fedavg", defense="precode")
    with pytest.raises(RequestError, match="both replace insertion"):
        Compose.from_parts([Precode(), SMALL])
    inserted = Compose.from_parts([ClipNoise(), SMALL]).insertion()
    assert inserted is not None
    assert inserted.noise == 8


def see(tmp_path: Path, **params: object) -> tuple[View, torch.Tensor, torch.Tensor]:
    records = make_records(6)
    victim = FederatedClassifier.build({"size": 8, "clients": 1, "label": "identity", **params})
    seen = train_and_view(victim, records, tmp_path / "c", defense=SMALL, protocol="fedsgd")
    return seen.view, seen.truth["image"].images.pixels, victim.labels(seen.records)


@pytest.mark.parametrize("network", ["linear", "mlp"])
def test_a_first_layer_that_is_linear_still_gives_the_record_away(
    tmp_path: Path, network: str
) -> None:
    view, truth, _ = see(tmp_path, network=network)
    claim = Analytic().run(
        view, rng=torch.Generator().manual_seed(0), budget=Budget(0, 8), progress=Silent()
    )
    torch.testing.assert_close(claim.estimates["image"].images.pixels, truth, atol=1e-3, rtol=0)


def test_labels_are_read_through_it_and_noisy_layers_can_be_left_out(tmp_path: Path) -> None:
    view, _, labels = see(tmp_path)
    trainer = trainer_of(view)
    rng = torch.Generator().manual_seed(0)
    updates = updates_in(view, trainer)
    read = [int(recover_labels(trainer, update, rng).argmax()) for update in updates]
    assert read == labels.tolist()
    adaptation = Adaptation.from_defense(view.public.defense, 0.1, trainer.behind_noise)
    seen = adaptation.observed(updates[0].gradient)
    assert set(seen) == {n for n in updates[0].gradient if n.startswith(("conv", ENCODER))}
