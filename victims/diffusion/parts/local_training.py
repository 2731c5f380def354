"""A client's local training: the gradient of a step, and what a run of steps changes."""

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

    Where the defence wants it, the gradient is what the defence makes of each record's own, taken
    one by one: two gradients are in memory at a time, whatever the batch.

    Args:
        rng: the client's, for the defence.
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
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            losses.append(float(loss.detach()))
            yield {
                n: torch.zeros_like(p) if g is None else g
                for (n, p), g in zip(parameters.items(), found, strict=True)
            }

    for name, gradient in client.defense.local_gradient(one_by_one(), rng).items():
        parameters[name].grad = gradient
    return sum(losses) / len(losses)


@dataclass(frozen=True)
class LocalPlan:
    """Attributes:
    optimizer: ``adamw`` or ``sgd`` (no momentum, no decay), made anew for every update.
    batch_size: records a step.
    """

    optimizer: Literal["adamw", "sgd"]
    learning_rate: float
    batch_size: int

    def batches(self, index: Sequence[int]) -> list[list[int]]:
        """``index`` in steps."""
        return [list(index[i : i + self.batch_size]) for i in range(0, len(index), self.batch_size)]


class LocalRun:
    """Steps from the weights that ``network`` has now; ``update`` says what they changed.

    Args:
        network: trained in place.
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
        """One step on the records at ``index``: its draws and its loss.

        Args:
            shared: t and eps, where the client does not draw them itself.
        """
        draws = draw(self._client, records, index, rng, shared)
        loss = backward(self._client, self._network, draws, rng.protection)
        self._optimizer.step()
        for name, parameter in self._network.named_parameters():
            if parameter.grad is not None:
                self._sum[name] -= self._plan.learning_rate * parameter.grad
        return draws, loss

    def update(self) -> dict[str, Tensor]:
        """What the steps changed.

        Of SGD as the sum of the steps themselves: a difference of weights would round a small step
        away, and a client that sends gradients (FedSGD) sends this.
        """
        if self._plan.optimizer == "sgd":
            return dict(self._sum)
        return {
            name: p.detach() - self._start[name] for name, p in self._network.named_parameters()
        }
