"""A client's local training: the gradient of a step, and the update of a run of steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bench.interfaces import Records
from victims.diffusion.parts.client import ClientHalf, ClientRandomness
from victims.diffusion.parts.undivided_step import Draws, draw, undivided_loss


def backward(client: ClientHalf, controlnet: Any, draws: Draws, rng: torch.Generator) -> float:
    """Leave the gradient of one step in the network's parameters, and return the loss.

    A defence with ``record_gradients`` combines the gradients of the records, which are computed
    one by one: two gradients are in memory at a time, whatever the batch size.

    Args:
        client: supplies the frozen parts and the defence.
        controlnet: the whole trainable network.
        draws: the batch with its randomness.
        rng: the client's randomness for the defence.
    """
    controlnet.zero_grad(set_to_none=True)
    if not client.defense.record_gradients:
        loss = undivided_loss(client, controlnet, draws)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())
    parameters = dict(controlnet.named_parameters())
    losses: list[float] = []

    def one_by_one() -> Iterator[dict[str, Tensor]]:
        for i in range(len(draws.timesteps)):
            loss = undivided_loss(client, controlnet, draws.only(i))
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            losses.append(float(loss.detach()))
            yield {
                n: torch.zeros_like(p) if g is None else g
                for (n, p), g in zip(parameters.items(), gradients, strict=True)
            }

    for name, gradient in client.defense.local_gradient(one_by_one(), rng).items():
        parameters[name].grad = gradient
    return sum(losses) / len(losses)


@dataclass(frozen=True)
class LocalPlan:
    """Sets how a client trains between two messages.

    Attributes:
        optimizer: ``adamw`` or ``sgd`` (no momentum, no decay), created anew for every update.
        learning_rate: learning rate of the optimizer.
        batch_size: records in one step.
    """

    optimizer: Literal["adamw", "sgd"]
    learning_rate: float
    batch_size: int

    def batches(self, index: Sequence[int]) -> list[list[int]]:
        """Return ``index`` divided into steps."""
        return [list(index[i : i + self.batch_size]) for i in range(0, len(index), self.batch_size)]


class LocalRun:
    """Trains a network for some steps and keeps the change of its weights.

    Args:
        client: supplies the frozen parts and the defence.
        network: the network, which is trained in place.
        plan: how to train.
    """

    def __init__(self, client: ClientHalf, network: Any, plan: LocalPlan) -> None:
        self._client, self._network, self._plan = client, network, plan
        parameters = dict(network.named_parameters())
        kind = torch.optim.AdamW if plan.optimizer == "adamw" else torch.optim.SGD
        self._optimizer = kind(parameters.values(), lr=plan.learning_rate)
        self._start = {name: p.detach().clone() for name, p in parameters.items()}
        self._sum = {name: torch.zeros_like(p) for name, p in parameters.items()}

    def step(
        self,
        records: Records,
        index: Sequence[int],
        rng: ClientRandomness,
        shared: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Draws, float]:
        """Train one step on the records at ``index``, and return its draws and its loss.

        Args:
            records: all records.
            index: the records of the step.
            rng: the client's randomness.
            shared: t and eps where the server draws them.
        """
        draws = draw(self._client, records, index, rng, shared)
        loss = backward(self._client, self._network, draws, rng.protection)
        self._optimizer.step()
        for name, parameter in self._network.named_parameters():
            if parameter.grad is not None:
                self._sum[name] -= self._plan.learning_rate * parameter.grad
        return draws, loss

    def update(self) -> dict[str, Tensor]:
        """Return the change of the weights by the steps.

        For SGD it is the sum of the steps themselves: a difference of weights would round small
        steps away, and clients that send gradients (FedSGD) send this sum.
        """
        if self._plan.optimizer == "sgd":
            return dict(self._sum)
        return {
            name: p.detach() - self._start[name] for name, p in self._network.named_parameters()
        }
