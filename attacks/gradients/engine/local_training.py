"""The client's local training, run on guessed inputs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from bench.interfaces import PublicTrainer


def summed_gradient(
    trainer: PublicTrainer,
    weights: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    *,
    unroll: bool,
) -> dict[str, Tensor]:
    """Return the sum of the gradients of all local SGD steps on guessed inputs, differentiable.

    Args:
        trainer: the client's public training.
        weights: the global model at the start.
        inputs: by name, ``(B, *shape)``.
        unroll: follow the weights from step to step (Geiping et al., arXiv:2003.14053, section 6).
            Otherwise every step starts from ``weights``, which costs no memory and is wrong by the
            order of the learning rate.
    """
    local = trainer.local
    total: dict[str, Tensor] | None = None
    here = dict(weights)
    for start in range(0, len(next(iter(inputs.values()))), local.batch_size):
        batch = {name: tensor[start : start + local.batch_size] for name, tensor in inputs.items()}
        slope = trainer.gradient(here, batch)
        total = slope if total is None else {name: total[name] + slope[name] for name in slope}
        if unroll:
            here = {name: weights[name] - local.learning_rate * total[name] for name in total}
    assert total is not None
    return total
