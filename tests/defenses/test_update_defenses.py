"""Defences of updates: known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.interfaces import (
    CLIENT_UPDATE,
    TIMESTEP,
    Certificate,
    Defense,
    NoiseSchedule,
    ProtectContext,
    Representation,
    RequestError,
)
from bench.scoring.certificates import covers
from defenses.clip_noise import ClipNoise
from defenses.compose import Compose
from defenses.gradient_pruning import GradientPruning
from defenses.none import NoDefense
from defenses.sign import Sign
from defenses.soteria import Soteria
from victims.classifier.federated_classifier import FederatedClassifier

SCHEDULE = NoiseSchedule.stable_diffusion()


def context(representation: Representation | None = None) -> ProtectContext:
    rng = torch.Generator().manual_seed(0)
    none = torch.zeros(0, dtype=torch.long)
    return ProtectContext("training", none, SCHEDULE, torch.zeros(1, 1, 1), (), rng, representation)


UPDATE = {"a": torch.tensor([[3.0, -1.0], [0.5, 0.0]]), "b": torch.tensor([-4.0])}


def test_an_update_goes_through_protect_tensor_by_tensor_by_default() -> None:
    class Double(Defense):
        def protect(self, channel, tensor: Tensor, context: ProtectContext) -> Tensor:  # type: ignore[no-untyped-def]
            assert channel == CLIENT_UPDATE
            return 2 * tensor

    sent = Double().protect_update(UPDATE, context())
    assert all(torch.equal(sent[name], 2 * tensor) for name, tensor in UPDATE.items())
    assert NoDefense().protect_update(UPDATE, context()).keys() == UPDATE.keys()


def test_pruning_keeps_the_largest() -> None:
    sent = GradientPruning.build({"share": 0.5}).protect_update(UPDATE, context())
    assert sent["a"].tolist() == [[3.0, -1.0], [0.0, 0.0]]
    assert sent["b"].tolist() == [-4.0], "a tensor keeps at least one number"
    times = torch.tensor([5, 1])
    assert torch.equal(GradientPruning().protect(TIMESTEP, times, context()), times)


def test_signs_have_the_mean_size() -> None:
    sent = Sign().protect_update(UPDATE, context())
    assert sent["a"].tolist() == [[1.125, -1.125], [1.125, 0.0]]
    assert sent["b"].tolist() == [-4.0]


def test_clipping_is_of_the_whole_update() -> None:
    norm = math.sqrt(9 + 1 + 0.25 + 16)
    sent = ClipNoise.build({"clip": 1.0, "multiplier": 0.0}).protect_update(UPDATE, context())
    for name, tensor in UPDATE.items():
        torch.testing.assert_close(sent[name], tensor / norm)
    small = ClipNoise.build({"clip": 100.0, "multiplier": 0.0}).protect_update(UPDATE, context())
    assert all(torch.equal(small[name], tensor) for name, tensor in UPDATE.items())


def test_noise_has_the_stated_deviation() -> None:
    zero = {"a": torch.zeros(20_000)}
    sent = ClipNoise.build({"clip": 2.0, "multiplier": 0.5}).protect_update(zero, context())
    assert float(sent["a"].std()) == pytest.approx(1.0, rel=0.03)


def test_the_guarantee_is_that_of_the_gaussian_mechanism() -> None:
    """mu = 2 / z sqrt(k); mu = 1, delta = 1e-5 give epsilon 4.38 (arXiv:1905.02383)."""
    statement = ClipNoise.build({"clip": 1.0, "multiplier": 4.0}).guarantee(4, SCHEDULE)
    assert statement is not None
    assert statement.epsilon == pytest.approx(4.38, abs=0.01)
    weak = ClipNoise().guarantee(1, SCHEDULE)
    assert weak is not None
    assert weak.epsilon > 100
    assert ClipNoise.build({"multiplier": 0.0}).guarantee(1, SCHEDULE) is None


def test_soteria_hides_the_columns_that_tell_most() -> None:
    features, slopes = torch.tensor([[1.0, 0.1, 2.0, 4.0]]), torch.tensor([[1.0, 1.0, 8.0, 2.0]])
    update = {"head.weight": torch.ones(2, 4), "head.bias": torch.ones(2)}
    with_head = context(Representation("head.weight", lambda: (features, slopes)))
    sent = Soteria.build({"share": 0.5}).protect_update(update, with_head)
    assert sent["head.weight"].tolist() == [[1.0, 0.0, 0.0, 1.0]] * 2
    assert torch.equal(sent["head.bias"], update["head.bias"])
    assert torch.equal(update["head.weight"], torch.ones(2, 4)), (
        "the client's own update was changed"
    )
    with pytest.raises(RequestError, match="linear head"):
        Soteria().protect_update(update, context())


@pytest.mark.parametrize("network", ["linear", "lenet"])
def test_the_victim_measures_its_representation(network: str) -> None:
    """Without layers a feature moves with its pixel; with layers, as finite differences predict."""
    victim = FederatedClassifier.build({"network": network, "size": 8})
    weights = victim.classifier().initial_weights(0)
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features, slopes = victim._measure(victim.classifier(), weights, pixels)
    if network == "linear":
        assert torch.equal(features, pixels.flatten(1))
        torch.testing.assert_close(slopes, torch.ones(2, 192))
        return
    one = pixels[:1].requires_grad_()
    (slope,) = torch.autograd.grad(victim.classifier().represent(weights, one)[0, 7], one)
    assert float(slopes[0, 7]) == pytest.approx(float(slope.norm()), rel=1e-4)


def test_a_stack_protects_updates_in_order() -> None:
    stack = Compose.from_parts([GradientPruning.build({"share": 0.5}), Sign()])
    assert stack.protect_update(UPDATE, context())["a"].tolist() == [[1.0, -1.0], [0.0, 0.0]]


def test_a_certificate_speaks_of_the_victims_parameters_that_it_names(make_job) -> None:  # type: ignore[no-untyped-def]
    from attacks.gradients.dlg import DLG

    job = make_job(
        victim="federated-classifier",
        model=None,
        attack="dlg",
        iterations=300,
        attack_batch_size=32,
    )
    other = make_job(
        victim="federated-classifier:records_per_update=2,clients=2",
        model=None,
        attack="dlg",
        iterations=300,
    )
    (held,) = DLG.certificates
    assert isinstance(held, Certificate)
    assert covers(held, job.cell, DLG)
    assert not covers(held, other.cell, DLG)
    variant = make_job(
        victim="federated-classifier",
        model=None,
        attack="dlg:restarts=2",
        iterations=300,
        attack_batch_size=32,
    )
    assert not covers(held, variant.cell, DLG)  # proven for the attack as it comes
