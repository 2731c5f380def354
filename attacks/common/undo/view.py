"""Undoes what known defences did to smashed data, once for every attack: a view as it were without
them.

What is undone here keeps each release by itself; a record that is spread over releases is another
matter (``attacks.wire.parts.mixture``).
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from attacks.common.activation_inverse import inverse_activation
from attacks.common.timestep_estimation import projected_timesteps
from attacks.common.undo.keyed_mixing import apart, key_of_features, key_of_latents
from attacks.common.undo.patch_shuffle import by_borders, by_overlap, by_target, cut, put
from attacks.common.wire_algebra import noise_target, noisy_latents
from bench.interfaces import (
    CONTROL_FEATURES,
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    TIMESTEP,
    UNET_FEATURES,
    Defense,
    NotApplicableError,
    View,
)

KEYED, SHUFFLED = "keyed-mixing", "patch-shuffle"
UNDONE = (KEYED, SHUFFLED)
"""The defences that ``undone`` takes out of a view."""


def undone(view: View) -> View:
    """The view with every channel as it would be without the known ones of ``UNDONE``; itself where
    there is none.

    A key acts on channels and an order on places, so the two can be taken off in any order,
    whichever is outside: first the key of h_sd, by the squares where they are shuffled; then the
    order; then the key of h_ctrl.

    Raises:
        NotApplicableError: the view does not show the key, or the order.
    """
    parts = (
        {}
        if view.public.defense is None
        else {part.name: part for part in view.public.defense.flat()}
    )
    if not set(UNDONE) & set(parts) or not view.has(UNET_FEATURES) or view.public.stem is None:
        return view
    keyed, shuffled = parts.get(KEYED), parts.get(SHUFFLED)
    if keyed is not None and UNET_FEATURES in keyed.params.channels:
        view = _unkeyed_features(view, keyed, shuffled)
    if shuffled is not None:
        view = _in_order(view, shuffled)
    if keyed is not None and CONTROL_FEATURES in keyed.params.channels:
        view = _unkeyed_control(view, keyed)
    return view


def _side(maps: Tensor, shuffled: Defense) -> int:
    """Side of the squares that a map is cut into."""
    return math.gcd(math.gcd(maps.shape[-2], maps.shape[-1]), int(shuffled.params.patch))


def _unkeyed_features(view: View, keyed: Defense, shuffled: Defense | None) -> View:
    features, group = view.read(UNET_FEATURES, every=True).float(), int(keyed.params.group)
    stem = view.public.stem
    assert stem is not None
    shown, maps = stem, features
    if shuffled is not None:
        maps = cut(features, _side(features, shuffled)).flatten(0, 1)
        shown = copy.deepcopy(stem)
        if isinstance(shown, nn.Conv2d):
            shown.padding = (0, 0)
    try:
        key, told = key_of_features(shown, maps, group)
    except NotApplicableError:
        target = noise_target(view, every=True)
        if (
            target is None
            or target.shape != features.shape
            or (shuffled is not None and not shuffled.params.target)
        ):
            raise
        key, told = key_of_latents(features, target, group), True
    view = view.with_channels({UNET_FEATURES: apart(features, key)})
    if told:
        return view
    target = noise_target(view, every=True)
    if target is None:
        raise NotApplicableError(
            "conv_in has no bias, and without a noise target the key's sign is not told"
        )
    likeness = float((noisy_latents(view, every=True).inputs * target).sum())
    return view if likeness > 0 else view.with_channels({UNET_FEATURES: -apart(features, key)})


def _in_order(view: View, shuffled: Defense) -> View:
    moved = [UNET_FEATURES, CONTROL_FEATURES]
    if shuffled.params.target:
        moved += [NOISE_TARGET, PREDICTION_DOWN, LOSS_GRADIENT]
    rows = {channel: view.read(channel, every=True) for channel in moved if view.has(channel)}
    features = rows[UNET_FEATURES]
    side = _side(features, shuffled)
    places = _places(view, features, side, aligned=not shuffled.params.target)
    alike = {
        channel: maps for channel, maps in rows.items() if maps.shape[-2:] == features.shape[-2:]
    }
    # A map of another size has an order of its own, which nothing tells.
    lost = [channel for channel in rows if channel not in alike]
    return view.with_channels(
        {channel: put(maps, places, side) for channel, maps in alike.items()}, lost
    )


def _places(view: View, features: Tensor, side: int, *, aligned: bool) -> Tensor:
    """By the overlap of the squares' answers; where there is none, by a target in order, or by
    borders of the clean z0.

    Raises:
        NotApplicableError: nothing overlaps, and no noise target is there to compare with or to
            clean the latent by.
    """
    stem, schedule = view.public.stem, view.public.schedule
    assert stem is not None
    try:
        return by_overlap(stem, features, side)
    except NotApplicableError:
        target = noise_target(view, every=True)
        if target is None or not (aligned or target.shape == features.shape):
            raise
    if aligned:
        with torch.no_grad():
            return by_target(
                features.float(), copy.deepcopy(stem).cpu().float()(target.cpu()), side
            )
    t = (
        view.read(TIMESTEP, every=True)
        if view.has(TIMESTEP)
        else projected_timesteps(features, target, schedule)
    )
    auxiliary = view.public.auxiliary
    if len(auxiliary) < 2:
        raise NotApplicableError(
            "needs at least 2 auxiliary records to learn how pictures go on across a border"
        )
    known = view.public.codec.encode(
        auxiliary.select(range(min(256, len(auxiliary)))).image_batch()
    )
    return by_borders(schedule.clean(features.float(), target, t.cpu()), known.float().cpu(), side)


def _unkeyed_control(view: View, keyed: Defense) -> View:
    """h_ctrl of ``no-gradient``, which is x_t and the condition; elsewhere nothing is read off it
    number by number.

    An activation outside the key is taken off and put on again, since it belongs to what is seen
    without the key.
    """
    if not view.has(CONTROL_FEATURES) or view.public.protocol != "no-gradient":
        return view
    names = (
        [] if view.public.defense is None else [part.name for part in view.public.defense.flat()]
    )
    if "decoupled-noise" in names:
        return view.with_channels(
            {}, [CONTROL_FEATURES]
        )  # its noise is known to nobody, and so is the key
    control, noisy = (
        view.read(CONTROL_FEATURES, every=True).float(),
        noisy_latents(view, every=True).inputs,
    )
    if control.shape != noisy.shape:
        return view.with_channels({}, [CONTROL_FEATURES])
    outside = "activation" in names[names.index(KEYED) :]
    mixed = inverse_activation(control).float() if outside else control
    clean = apart(mixed, key_of_latents(mixed, noisy, int(keyed.params.group)))
    if outside:
        clean = clean.abs() * torch.tanh(clean / 2)
    return view.with_channels({CONTROL_FEATURES: clean})
