"""Takes what a known defence did to a channel off again, each release by itself, by its hooks."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.undo.numerical_inverse import made_context, numerical_inverse
from bench.interfaces import TIMESTEP, Channel, Defense, NoiseSchedule, Public, View
from bench.interfaces.consulted_defense import unrecorded

_TRUSTED = 0.05
"""Largest relative error of made-up features that a stated inverse may leave."""


def known_parts(view: View) -> tuple[Defense, ...]:
    """Return the single defences of the known defence, the innermost first; none if unknown."""
    return () if view.public.defense is None else view.public.defense.flat()


def read_inverted(view: View, channel: Channel, *, every: bool = False) -> Tensor:
    """Read a channel as it was before the known defences, as far as they can be inverted, float32.

    Defences with a secret, a mask or noise leave the channel as it is; a view of
    ``attacks.common.undo.view`` is free of secrets already.
    """
    tensor = view.read(channel, every=every)
    if channel in view.worked_out_channels:
        return tensor.float()
    parts = tuple(p for p in known_parts(view) if type(p).protect is not Defense.protect)
    times = timesteps_of(view, every=every) if parts else None
    return inverted(parts, channel, tensor, times, view.public.schedule)


def simulated_before(public: Public, channel: Channel, tensor: Tensor) -> Tensor:
    """Return rows of an attacker's simulation before the known defences, as ``read_inverted``."""
    parts = () if public.defense is None else public.defense.flat()
    return inverted(parts, channel, tensor, None, public.schedule)


def first_timestep(view: View) -> int:
    """Return the smallest t that the client is known to draw; 0 where the defence is not known."""
    defense = view.public.defense
    return 0 if defense is None else defense.first_timestep(view.public.schedule)


def timesteps_of(view: View, *, every: bool = False) -> Tensor | None:
    """Return t of each release where it has been sent and is in view, else None."""
    return view.read(TIMESTEP, every=every).cpu() if view.has(TIMESTEP) else None


def inverted(
    parts: tuple[Defense, ...],
    channel: Channel,
    tensor: Tensor,
    timesteps: Tensor | None,
    schedule: NoiseSchedule,
) -> Tensor:
    """Return a channel's rows before ``parts``, the outermost of which comes last, float32.

    Args:
        timesteps: of each row; None where they are not known, which defences seldom depend on.
    """
    if timesteps is None:
        timesteps = torch.zeros(len(tensor), dtype=torch.long)
    for part in reversed(parts):
        tensor = _before(part, channel, tensor, timesteps, schedule)
    return tensor.float()


def _before(
    part: Defense, channel: Channel, tensor: Tensor, timesteps: Tensor, schedule: NoiseSchedule
) -> Tensor:
    if type(part).protect is Defense.protect:
        return tensor
    size = tensor[0].numel()
    kept_as_is = (
        part.added_noise(channel, size) > 0,
        part.mixed_channels(channel) > 0,
        part.shuffled_squares(channel) > 0,
        part.noise_collection(channel) > 0,
        part.prunes_channels(channel),
    )
    if any(kept_as_is):
        return tensor
    context = made_context(timesteps, schedule)
    with unrecorded():
        stated = part.invert(channel, tensor.clone(), context)
        correct = stated is not None and _gives_back(part, channel, tensor, schedule)
    if not correct:
        inverse = numerical_inverse(part, channel, tensor, schedule)
        if inverse is not None:
            part.protect(
                channel, torch.zeros(1, *tensor.shape[1:]), made_context(timesteps[:1], schedule)
            )
            return inverse(tensor, timesteps)
    answer = None if stated is None else part.invert(channel, tensor, context)
    return tensor if answer is None else answer


@torch.no_grad()
def _gives_back(part: Defense, channel: Channel, tensor: Tensor, schedule: NoiseSchedule) -> bool:
    """Whether the stated inverse finds made-up features, as large as those in view, again."""
    rng = torch.Generator().manual_seed(0)
    spread = float(tensor.float().std()) if tensor.numel() > 1 else 1.0
    features = max(spread, 1e-3) * torch.randn(2, *tensor.shape[1:], generator=rng)
    times = torch.zeros(2, dtype=torch.long)
    try:
        sent = part.protect(channel, features, made_context(times, schedule))
        back = part.invert(channel, sent, made_context(times, schedule))
    except Exception:  # a defence of any package may raise anything
        return False
    if back is None or back.shape != features.shape:
        return False
    error = (back.float() - features).square().mean().sqrt()
    return bool(error <= _TRUSTED * features.square().mean().sqrt())
