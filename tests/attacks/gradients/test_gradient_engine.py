"""The parts of gradient inversion: objectives, optimisers, unrolling, restarts, labels."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.func import grad

from attacks.common.attack_run import AttackRun
from attacks.common.optimisation.adam import Adam
from attacks.common.optimisation.priors import TotalVariation
from attacks.common.optimisation.schedules import factor
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.inversion import GradientInversion
from attacks.gradients.engine.labels import recover_labels
from attacks.gradients.engine.lbfgs import LBFGS
from attacks.gradients.engine.local_training import summed_gradient
from attacks.gradients.engine.objectives import L1, Cosine, SquaredL2
from attacks.gradients.engine.problem import GradientProblem, Terms
from attacks.gradients.engine.updates import Update
from bench.interfaces import (
    Budget,
    Estimate,
    LocalTraining,
    NotApplicableError,
    PublicTrainer,
    Silent,
    Unknown,
)


class Regression(PublicTrainer):
    """A two-layer tanh network from a 1x2x2 map to a class, and an integer that scales the map."""

    def __init__(self, records: int = 1, batch_size: int = 1, whole: bool = False) -> None:
        self.local = LocalTraining("sgd", 0.5, records, batch_size)
        self._whole = whole

    def unknowns(self) -> Mapping[str, Unknown]:
        found = {"x": Unknown((1, 2, 2), 0.0, 1.0), "y": Unknown((3,), 0.0, 1.0, simplex=True)}
        return found | ({"t": Unknown((), 1, 3, integer=True)} if self._whole else {})

    def loss(self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        x = inputs["x"].flatten(1) * (inputs["t"].unsqueeze(1) if self._whole else 1)
        hidden = torch.tanh(x @ weights["in.weight"].T + weights["in.bias"])
        logits = hidden @ weights["out.weight"].T + weights["out.bias"]
        return -(inputs["y"] * logits.log_softmax(1)).sum(1).mean()

    def gradient(
        self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return dict(grad(self.loss)(dict(weights), dict(inputs)))

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        raise NotImplementedError


def weights(seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = {"in.weight": (8, 4), "in.bias": (8,), "out.weight": (3, 8), "out.bias": (3,)}
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def batch(count: int, seed: int = 1) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=rng)
    return {
        "x": torch.rand(count, 1, 2, 2, generator=rng),
        "y": torch.nn.functional.one_hot(labels, 3).float(),
    }


def update(trainer: Regression, inputs: Mapping[str, Tensor], seed: int = 0) -> Update:
    start, count = weights(seed), len(inputs["x"])
    return Update(
        tuple(range(count)), count, start, summed_gradient(trainer, start, inputs, unroll=True)
    )


def problem(
    trainer: Regression, updates: list[Update], restarts: int = 2, **known: Tensor
) -> GradientProblem:
    return GradientProblem(
        trainer,
        updates,
        Terms(Cosine(), (TotalVariation(0.1),), Adaptation(), True),
        known=known,
        restarts=restarts,
        rng=torch.Generator().manual_seed(0),
        like=torch.empty(0, dtype=torch.float64),
    )


def run_of(iterations: int, batch_size: int) -> AttackRun:
    """Return a run on the CPU with a fresh generator of seed 0."""
    return AttackRun(
        torch.Generator().manual_seed(0), Budget(iterations, batch_size), "cpu", Silent()
    )


def test_objectives_have_known_values_and_are_zero_at_the_truth() -> None:
    one = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([0.0])}
    other = {"a": torch.tensor([0.0, 4.0]), "b": torch.tensor([0.0])}
    assert float(SquaredL2()(one, other)) == pytest.approx((9 + 16) / 16)
    assert float(L1()(one, other)) == pytest.approx(7 / 4)
    assert float(Cosine()(one, other)) == pytest.approx(1.0)
    twice = {name: 2 * tensor for name, tensor in one.items()}
    assert float(Cosine()(twice, one)) == pytest.approx(0.0, abs=1e-6)
    two = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([100.0])}
    off = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([100.0])}
    assert float(Cosine(layerwise=True)(two, off)) == pytest.approx(0.5)
    assert float(Cosine()(two, off)) == pytest.approx(1e-4, rel=0.01)
    assert all(float(o(one, one)) == pytest.approx(0, abs=1e-6) for o in (SquaredL2(), L1()))


def test_total_variation_and_schedules_have_known_values() -> None:
    step = torch.tensor([[[[0.0, 3.0], [0.0, 3.0]]]])
    assert float(TotalVariation(2.0)({"x": step})) == pytest.approx(6.0)
    assert float(TotalVariation(2.0, power=2)({"x": step})) == pytest.approx(18.0)
    assert TotalVariation(2.0)({"y": torch.ones(2, 3)}) == 0
    assert [factor("step", i, 8) for i in (0, 3, 5, 7)] == pytest.approx([1, 0.1, 0.01, 0.001])
    assert [factor("cosine", i, 8) for i in (0, 4)] == pytest.approx([1, 0.5])
    assert factor("constant", 7, 8) == 1


@pytest.mark.parametrize("same", [True, False], ids=["one global model", "a global model each"])
def test_the_batched_slope_is_that_of_a_plain_loop(same: bool) -> None:
    trainer = Regression(records=2, batch_size=2)
    updates = [update(trainer, batch(2, seed), 0 if same else seed) for seed in range(3)]
    both = problem(trainer, updates)
    point = both.start("uniform", torch.Generator().manual_seed(5))
    value = both.evaluate(point)
    for t, one in enumerate(updates):
        for r in range(2):
            x = point[t, r].clone().requires_grad_()
            inputs = {"x": x[:8].view(2, 1, 2, 2), "y": x[8:].view(2, 3).softmax(1)}
            start = {name: tensor.double().requires_grad_() for name, tensor in one.weights.items()}
            found = torch.autograd.grad(
                trainer.loss(start, inputs), list(start.values()), create_graph=True
            )
            observed = {name: tensor.double() for name, tensor in one.gradient.items()}
            loss = Cosine()(dict(zip(start, found, strict=True)), observed) + TotalVariation(0.1)(
                {"x": inputs["x"]}
            )
            (slope,) = torch.autograd.grad(loss, x)
            torch.testing.assert_close(value.slope[t, r], slope)
            assert float(value.total[t, r]) == pytest.approx(float(loss.detach()))
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(both.evaluate(point[rows], rows).slope, value.slope[rows])


def test_unrolled_steps_are_real_training() -> None:
    trainer, inputs, start = Regression(records=5, batch_size=2), batch(5), weights()
    parameters = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    optimizer = torch.optim.SGD(parameters.values(), lr=0.5)
    for rows in (slice(0, 2), slice(2, 4), slice(4, 5)):
        optimizer.zero_grad()
        trainer.loss(parameters, {name: tensor[rows] for name, tensor in inputs.items()}).backward()
        optimizer.step()
    total = summed_gradient(trainer, start, inputs, unroll=True)
    for name, tensor in parameters.items():
        torch.testing.assert_close(start[name] - 0.5 * total[name], tensor.detach())
    flat = summed_gradient(trainer, start, inputs, unroll=False)
    assert not torch.allclose(flat["in.weight"], total["in.weight"], rtol=1e-3)


@pytest.mark.slow
def test_lbfgs_inverts_each_of_a_batch_and_never_rises() -> None:
    trainer, truth = Regression(), [batch(1, seed) for seed in range(4)]
    updates = [update(trainer, one, seed) for seed, one in enumerate(truth)]
    inversion = GradientInversion(SquaredL2(), LBFGS(), restarts=3, dtype=torch.float64)
    found = inversion.invert(trainer, updates, run_of(200, 3))
    assert bool((found.match <= found.first).all())
    for x, one in zip(found.inputs["x"], truth, strict=True):
        torch.testing.assert_close(x, one["x"], atol=1e-3, rtol=0)
    assert [int(y.argmax()) for y in found.inputs["y"]] == [int(one["y"].argmax()) for one in truth]


def test_the_restart_of_least_objective_wins() -> None:
    trainer = Regression()
    updates = [update(trainer, batch(1, seed)) for seed in range(3)]
    several = problem(trainer, updates, restarts=4)
    point = several.start("uniform", torch.Generator().manual_seed(0))
    match = several.evaluate(point).match
    found = GradientInversion(
        Cosine(), Adam(), (TotalVariation(0.1),), restarts=4, dtype=torch.float64
    ).invert(trainer, updates, run_of(0, 3))
    torch.testing.assert_close(found.match, match.min(1).values.float())
    best = match.argmin(1)
    torch.testing.assert_close(
        torch.stack(list(found.inputs["x"])), several.inputs(point, best)["x"].float()
    )
    assert len(set(best.tolist())) > 1


def test_inputs_keep_to_their_range_and_known_ones_to_their_value() -> None:
    trainer = Regression()
    truth = batch(1)
    found = GradientInversion(Cosine(), Adam(rate=5.0, signed=True), start="normal").invert(
        trainer,
        [update(trainer, truth)],
        run_of(3, 1),
        known=[{"y": truth["y"]}],
    )
    assert 0 <= float(found.inputs["x"][0].min()) <= float(found.inputs["x"][0].max()) <= 1
    assert torch.equal(found.inputs["y"][0], truth["y"])


def test_whole_numbers_are_searched_by_restarts() -> None:
    trainer = Regression(whole=True)
    inputs = batch(1) | {"t": torch.tensor([2])}
    found = GradientInversion(SquaredL2(), Adam(), restarts=12).invert(
        trainer,
        [update(trainer, inputs)],
        run_of(150, 1),
        known=[{name: inputs[name] for name in ("y",)}],
    )
    x, t = found.inputs["x"][0], found.inputs["t"][0]
    torch.testing.assert_close(x * t, inputs["x"] * 2, atol=0.05, rtol=0)
    with pytest.raises(NotApplicableError, match="nothing is left"):
        problem(
            Regression(),
            [update(Regression(), batch(1))],
            **{n: t[None] for n, t in batch(1).items()},
        )


@pytest.mark.parametrize("label", range(3))
def test_the_label_of_one_record_is_read_exactly(label: int) -> None:
    trainer, inputs = Regression(), batch(1)
    inputs["y"] = torch.nn.functional.one_hot(torch.tensor([label]), 3).float()
    found = recover_labels(trainer, update(trainer, inputs), torch.Generator().manual_seed(0))
    assert torch.equal(found, inputs["y"])


def test_the_labels_of_several_records_are_counted() -> None:
    trainer, inputs = Regression(records=4, batch_size=4), batch(4)
    start = {name: 0.1 * tensor for name, tensor in weights().items()}
    seen = Update((0, 1, 2, 3), 4, start, trainer.gradient(start, inputs))
    found = recover_labels(trainer, seen, torch.Generator().manual_seed(0))
    assert found.sum(0).tolist() == inputs["y"].sum(0).tolist()


def test_a_step_size_that_overshoots_does_not_lose_the_best_point() -> None:
    trainer = Regression()
    found = GradientInversion(SquaredL2(), Adam(rate=100.0, boxed=False)).invert(
        trainer,
        [update(trainer, batch(1))],
        run_of(5, 1),
    )
    assert math.isfinite(float(found.match))
    assert float(found.match) <= float(found.first)
