"""Gradient attacks end to end on a small federated classifier, and what they know of defences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attacks.gradients.analytic import Analytic
from attacks.gradients.dlg import DLG
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.objectives import Cosine, SquaredL2
from attacks.gradients.engine.updates import trainer_of, updates_in
from attacks.gradients.idlg import IDLG
from attacks.gradients.inverting_gradients import InvertingGradients
from bench.cell.targets import update_groups
from bench.interfaces import (
    Attack,
    Budget,
    Claim,
    Defense,
    LocalTraining,
    NotApplicableError,
    Silent,
    View,
)
from bench.scoring.matching import match_images
from defenses.clip_noise import ClipNoise
from defenses.gradient_pruning import GradientPruning
from defenses.none import NoDefense
from defenses.sign import Sign
from defenses.soteria import Soteria
from tests.conftest import make_records
from tests.support.attacked import train_and_view
from victims.classifier.federated_classifier import FederatedClassifier

RECORDS = make_records(16)
See = Callable[..., tuple[View, Tensor, list[list[int]]]]


@pytest.fixture(scope="module")
def see(tmp_path_factory: pytest.TempPathFactory) -> See:
    """A view of the first updates, the true pictures, and which of them share an update."""

    def make(
        targets: int, defense: Defense | None = None, **params: object
    ) -> tuple[View, Tensor, list[list[int]]]:
        victim = FederatedClassifier.build({"size": 8, "clients": 2, "label": "identity", **params})
        seen = train_and_view(
            victim,
            RECORDS,
            tmp_path_factory.mktemp("classifier") / "c",
            defense=defense or NoDefense(),
            protocol="fedsgd",
            count=targets,
        )
        groups = update_groups(seen.capture.transcript, seen.targets)
        return seen.view, seen.truth["image"].images.pixels, groups

    return make


def run(attack: Attack, view: View, iterations: int | None = None) -> Claim:
    budget = attack.default_budget if iterations is None else Budget(iterations, 32)
    return attack.run(view, rng=torch.Generator().manual_seed(0), budget=budget, progress=Silent())


def errors(claim: Claim, truth: Tensor, groups: list[list[int]]) -> Tensor:
    """Mean squared error of each record, put in the order that fits best."""
    from bench.interfaces import ImageBatch

    fitted = match_images(claim.estimates["image"], ImageBatch(truth), groups)
    return (fitted.images.pixels - truth).square().mean((1, 2, 3))


@pytest.mark.slow
def test_dlg_reconstructs_single_records(see: See) -> None:
    error = errors(run(DLG.build({"restarts": 1}), (seen := see(6))[0], 200), *seen[1:])
    assert float((error < 1e-4).float().mean()) >= 0.9, error


@pytest.mark.slow
def test_idlg_reconstructs_single_records_and_refuses_several(see: See) -> None:
    error = errors(run(IDLG.build({"restarts": 1}), (seen := see(3))[0], 200), *seen[1:])
    assert float(error.max()) < 1e-4, error
    with pytest.raises(NotApplicableError, match="single record only"):
        run(IDLG.build({}), see(2, records_per_update=2)[0], 1)


def test_inverting_gradients_gets_nearer(see: See) -> None:
    view, truth, groups = see(3)
    attack = InvertingGradients.build({})
    assert float(errors(run(attack, view, 120), truth, groups).mean()) < 0.3 * float(
        errors(run(attack, view, 0), truth, groups).mean()
    )


@pytest.mark.parametrize("network", ["linear", "mlp"])
def test_the_analytic_attack_is_exact_to_float_error(see: See, network: str) -> None:
    view, truth, _ = see(4, network=network)
    claim = run(Analytic(), view)
    torch.testing.assert_close(claim.estimates["image"].images.pixels, truth, atol=1e-4, rtol=0)
    assert claim.diagnostics == {"records_isolated": 1.0}


def test_the_analytic_attack_finds_the_records_that_a_neuron_saw_alone(see: See) -> None:
    view, truth, groups = see(8, network="mlp", records_per_update=4, hidden=2048)
    claim = run(Analytic(), view)
    exact = int((errors(claim, truth, groups) < 1e-6).sum())
    assert exact >= 8 * claim.diagnostics["records_isolated"] > 0


def test_the_analytic_attack_needs_a_linear_first_layer_and_one_step(see: See) -> None:
    with pytest.raises(NotApplicableError, match="convolutions"):
        run(Analytic(), see(2)[0])
    with pytest.raises(NotApplicableError, match="several local steps"):
        run(Analytic(), see(4, network="mlp", records_per_update=4, batch_size=2)[0])


@pytest.mark.parametrize("attack", [DLG, IDLG, InvertingGradients, Analytic])
def test_updates_that_hold_no_gradient_do_not_apply(see: See, attack: type[Attack]) -> None:
    view = see(1)[0]
    assert view.public.trainer is not None
    view.public.trainer.local = LocalTraining("adamw", 1e-3, 1, 1)
    with pytest.raises(NotApplicableError, match="signs"):
        run(attack(), view, 1)
    view.public = replace(view.public, trainer=None)
    with pytest.raises(NotApplicableError, match="public local training"):
        run(attack(), view, 1)


DEFENDED = [
    (GradientPruning.build({"share": 0.8}), SquaredL2(), 1e-6),
    (Soteria.build({"share": 0.3}), SquaredL2(), 1e-6),
    (ClipNoise.build({"clip": 0.01, "multiplier": 0.0}), SquaredL2(), 1e-6),
    (Sign(), Cosine(), 0.25),  # soft signs differ from signs for the smallest numbers
]


@pytest.mark.parametrize(
    ("defense", "objective", "most"), DEFENDED, ids=[d.name for d, _, _ in DEFENDED]
)
def test_knowing_the_defence_makes_the_truth_fit(
    see: See, defense: Defense, objective, most: float
) -> None:  # type: ignore[no-untyped-def]
    """At the true record the adapted objective is almost 0, far below that without adaptation."""
    view, _, _ = see(1, defense)
    trainer = trainer_of(view)
    (update,) = updates_in(view, trainer)
    clean, _, _ = see(1)
    gradient = updates_in(clean, trainer_of(clean))[0].gradient
    lr = trainer.local.learning_rate
    values = []
    for known in (defense, None):
        adaptation = Adaptation.from_defense(known, lr)
        observed = adaptation.observed(update.gradient)
        values.append(float(objective(adaptation.simulated(gradient, observed), observed)))
    assert values[0] < most
    assert values[0] < 0.6 * values[1]
