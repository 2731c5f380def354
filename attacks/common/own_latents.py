"""Latents of the attacker's records, drawn as a client draws them."""

from __future__ import annotations

import torch

from bench.interfaces import Emission, NotApplicableError, Public
from bench.interfaces.consulted_defense import unrecorded


def own_latents(public: Public, count: int, rng: torch.Generator) -> Emission:
    """Return a simulated release of the first ``count`` auxiliary records, for its latents alone.

    What the defence makes of them is not used, so its hooks are not recorded.

    Raises:
        NotApplicableError: the client cannot be simulated under this threat model.
    """
    if public.client is None:
        raise NotApplicableError("the client half cannot be simulated under this threat model")
    with unrecorded():
        return public.client.simulator(public.auxiliary.select(range(count))).emit(
            range(count), rng
        )


def draw_variance(public: Public, name: str, rng: torch.Generator) -> float:
    """Return the mean squared difference between two draws of one picture's latent.

    0 where it cannot be measured on auxiliary records: it only keeps a sum over very many releases
    from looking more exact than it is.

    Args:
        name: ``image_latents`` or ``condition_latents``.
    """
    count = min(16, len(public.auxiliary))
    if public.client is None or count == 0:
        return 0.0
    with unrecorded():
        simulator = public.client.simulator(public.auxiliary.select(range(count)))
        first, second = (getattr(simulator.emit(range(count), rng), name) for _ in range(2))
    return float((first - second).square().mean())
