"""One optimiser step, and the losses of a training as diagnostics of a claim."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.util.stats import loss_ends


def gradient_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, largest_norm: float | None = None
) -> None:
    """Take one step of ``optimizer`` down the slope of ``loss``.

    Args:
        optimizer: of the weights that are trained; its gradients are cleared first.
        loss: a scalar.
        largest_norm: the gradient of all weights together is clipped to this l2 norm; None does not
            clip.
    """
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if largest_norm is not None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, largest_norm)
    optimizer.step()


def first_and_last(name: str, losses: Sequence[float]) -> dict[str, float]:
    """Return the mean of the first and of the last tenth of ``losses``.

    Returns:
        The two means under ``{name}_first`` and ``{name}_last``.
    """
    first, last = loss_ends(losses)
    return {f"{name}_first": first, f"{name}_last": last}
