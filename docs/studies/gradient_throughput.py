"""Print images x iterations a second of ``inverting-gradients``, batched and one at a time.

The batched way goes through torch.func.

Both run the paper's signed Adam on the same network and updates from the same first guesses, by
turns, on this machine; that they come to the same objectives is checked.

Usage: ``python docs/studies/gradient_throughput.py [--images 32] [--iterations 10] [--turns 3]``
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from attacks.common.optimisation.adam import Adam
from attacks.common.optimisation.priors import TotalVariation
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.objectives import Cosine
from attacks.gradients.engine.problem import GradientProblem, Terms
from attacks.gradients.engine.updates import Update
from bench.data.portraits.dataset import Portraits
from bench.interfaces import Silent
from victims.classifier.federated_classifier import PUBLIC_SEED, FederatedClassifier
from victims.classifier.parts.public_trainer import LABEL, PIXELS, ClassifierTrainer
from victims.classifier.parts.small_networks import Classifier

TV, RATE = 1e-3, 0.1


def main() -> None:
    """Time both, by turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    victim = FederatedClassifier.build({})
    records = Portraits().load(asked.images, image_size=64, condition="canny", progress=Silent())
    trainer = victim.trainer(64)
    inputs, weights = trainer.inputs(records), victim.classifier().initial_weights(PUBLIC_SEED)
    updates = [
        Update(
            (i,),
            1,
            weights,
            trainer.gradient(weights, {n: t[i : i + 1] for n, t in inputs.items()}),
        )
        for i in range(asked.images)
    ]
    start = torch.rand(
        asked.images, 1, inputs[PIXELS][0].numel(), generator=torch.Generator().manual_seed(0)
    )
    spent: dict[str, list[tuple[float, float]]] = {"batched": [], "one at a time": []}
    ends = {}
    batched(trainer, updates, inputs, start, 1)  # the first call of either makes its kernels ready
    loop(victim.classifier(), updates[:1], inputs, start[:1], 1)
    ways = {
        "batched": lambda: batched(trainer, updates, inputs, start, asked.iterations),
        "one at a time": lambda: loop(
            victim.classifier(), updates, inputs, start, asked.iterations
        ),
    }
    for _ in range(asked.turns):
        for name, way in ways.items():
            ends[name], seconds = timed(way)
            spent[name].append(seconds)
    # Signs of slopes near zero may differ by rounding, so the two need not agree to the last digit.
    torch.testing.assert_close(ends["batched"], ends["one at a time"], rtol=0.05, atol=1e-5)
    work = asked.images * asked.iterations
    rates = {
        name: [work / statistics.median(column) for column in zip(*found, strict=True)]
        for name, found in spent.items()
    }
    sizes = f"{asked.images} images, {asked.iterations} iterations"
    print(f"{sizes}, median of {asked.turns} turns, one thread")
    for name, (wall, cpu) in rates.items():
        print(f"{name:14} {wall:8.0f} images x iterations a second, {cpu:8.0f} a CPU second")
    ratios = [a / b for a, b in zip(rates["batched"], rates["one at a time"], strict=True)]
    print(f"ratio          {ratios[0]:8.1f} by the clock, {ratios[1]:.1f} by CPU time")


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, tuple[float, float]]:
    """The outcome, and its seconds by the clock and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = work()
    return outcome, (time.perf_counter() - wall, time.process_time() - cpu)


def batched(
    trainer: ClassifierTrainer,
    updates: list[Update],
    inputs: dict[str, Tensor],
    start: Tensor,
    iterations: int,
) -> Tensor:
    """The engine's way; the last objective of each image without the prior."""
    problem = GradientProblem(
        trainer,
        updates,
        Terms(Cosine(layerwise=True), (TotalVariation(TV),), Adaptation(), unroll=True),
        known={LABEL: inputs[LABEL].unsqueeze(1)},
        restarts=1,
        rng=torch.Generator(),
        like=torch.empty(0),
    )
    return (
        Adam(RATE, signed=True)
        .minimise(problem, start, iterations, lambda _: None)
        .match.squeeze(1)
    )


def loop(
    network: Classifier,
    updates: list[Update],
    inputs: dict[str, Tensor],
    start: Tensor,
    iterations: int,
) -> Tensor:
    """The straightforward way: autograd and torch's own Adam, image by image."""
    ends = []
    for i, update in enumerate(updates):
        weights = {name: tensor.clone().requires_grad_() for name, tensor in update.weights.items()}
        label = inputs[LABEL][i : i + 1]
        guess = start[i, 0].view(1, *inputs[PIXELS].shape[1:]).clone().requires_grad_()
        optimizer = torch.optim.Adam([guess], lr=RATE)
        best = (float("inf"), float("inf"))
        for k in range(iterations + 1):
            loss = network.loss(weights, guess, label)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            cosines = [
                torch.nn.functional.cosine_similarity(slope.flatten(), sent.flatten(), dim=0)
                for slope, sent in zip(slopes, update.gradient.values(), strict=True)
            ]
            match = 1 - torch.stack(cosines).mean()
            across = (guess[..., 1:] - guess[..., :-1]).abs().mean()
            down = (guess[..., 1:, :] - guess[..., :-1, :]).abs().mean()
            total = match + TV * (across + down)
            best = min(best, (float(total.detach()), float(match.detach())))
            if k == iterations:
                break
            optimizer.zero_grad()
            (slope,) = torch.autograd.grad(total, guess)
            guess.grad = slope.sign()
            optimizer.step()
            with torch.no_grad():
                guess.clamp_(0, 1)
        ends.append(best[1])
    return torch.tensor(ends)


if __name__ == "__main__":
    main()
