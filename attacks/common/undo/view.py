"""Undoes what known defences did to smashed data, once for every attack.

Each release is treated by itself; a record that is spread over releases is separated in
``attacks.wire.parts.mixture``.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.common.timestep_estimation import projected_timesteps
from attacks.common.undo.inverse import inverted, known_parts, timesteps_of
from attacks.common.undo.keyed_mixing import key_of_features, key_of_latents, unmix_channels
from attacks.common.undo.patch_shuffle import by_borders, by_overlap, by_target, cut, put
from attacks.common.wire_algebra import carrier_of, noise_target, noisy_latents
from bench.interfaces import (
    CONTROL_FEATURES,
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
    Defense,
    NotApplicableError,
    View,
)


def without_known_defenses(view: View) -> View:
    """Return the view as it would be without the known defences that have a secret.

    Secrets are a key that mixes channels and an order of squares. A key acts on channels and an
    order on places, so the two can be taken off in any order: first the key of h_sd, by the squares
    where they are shuffled; then the order; then the key of h_ctrl. What else the known defences do
    to these channels is inverted too, what is outside the secrets before them and the rest after
    them. Channels without a secret stay as they were sent, and are inverted where they are read.

    Raises:
        NotApplicableError: the view does not show the key, or the order.
    """
    secrets = _KeyedParts.from_view(view)
    if secrets is None or not view.has(UNET_FEATURES) or view.public.stem is None:
        return view
    view = _inverted(view, secrets.outside, secrets.channels)
    if group := secrets.mixed(UNET_FEATURES):
        view = _unmixed_features(view, group, secrets)
    if secrets.shuffled is not None:
        view = _in_order(view, secrets)
    if group := secrets.mixed(CONTROL_FEATURES):
        view = _unmixed_control(view, group)
    return _inverted(view, secrets.inside, secrets.channels)


@dataclass(frozen=True, eq=False)
class _KeyedParts:
    """The single defences of a stack that have a secret, and those around them.

    Attributes:
        keyed: mixes channels, or None.
        shuffled: shuffles squares, or None.
        inside: defences before the last secret, without those that have one.
        outside: defences after the last secret.
        channels: smashed data on which a secret acts, in view.
    """

    keyed: Defense | None
    shuffled: Defense | None
    inside: tuple[Defense, ...]
    outside: tuple[Defense, ...]
    channels: tuple[Channel, ...]

    @classmethod
    def from_view(cls, view: View) -> _KeyedParts | None:
        """Return what the known defence states; None where it has no secret."""
        parts, smashed = known_parts(view), (UNET_FEATURES, CONTROL_FEATURES)
        keyed = [part for part in parts if any(part.mixed_channels(c) for c in smashed)]
        shuffled = [part for part in parts if any(part.shuffled_squares(c) for c in smashed)]
        secret = [*keyed, *shuffled]
        if not secret:
            return None
        last = max(parts.index(part) for part in secret)
        inside = tuple(part for part in parts[:last] if part not in secret)
        channels = tuple(
            c
            for c in smashed
            if view.has(c)
            and (c == UNET_FEATURES or shuffled or view.public.protocol == "no-gradient")
            and any(part.mixed_channels(c) or part.shuffled_squares(c) for part in secret)
        )
        return cls(
            keyed[-1] if keyed else None,
            shuffled[-1] if shuffled else None,
            inside,
            parts[last + 1 :],
            channels,
        )

    def mixed(self, channel: Channel) -> int:
        """Return how many channels the key of ``channel`` mixes with each other; 0 without key."""
        return 0 if self.keyed is None else self.keyed.mixed_channels(channel)

    @property
    def target_shuffled(self) -> bool:
        """Whether the noise target is in the order of the features."""
        return self.shuffled is not None and self.shuffled.shuffled_squares(NOISE_TARGET) > 0

    def side(self, maps: Tensor) -> int:
        """Side of the squares that a map is cut into."""
        assert self.shuffled is not None
        stated = self.shuffled.shuffled_squares(UNET_FEATURES)
        return math.gcd(math.gcd(maps.shape[-2], maps.shape[-1]), stated)


def _inverted(view: View, parts: tuple[Defense, ...], channels: tuple[Channel, ...]) -> View:
    """The view with ``parts`` taken off some of its channels, which then count as worked out."""
    times = timesteps_of(view, every=True) if parts else None
    rows = {
        channel: inverted(
            parts, channel, view.read(channel, every=True), times, view.public.schedule
        )
        for channel in channels
        if view.has(channel)
    }
    return view.with_channels(rows)


def _unmixed_features(view: View, group: int, secrets: _KeyedParts) -> View:
    features = view.read(UNET_FEATURES, every=True).float()
    stem = view.public.stem
    assert stem is not None
    layer, maps = stem, features
    if secrets.shuffled is not None:
        maps = cut(features, secrets.side(features)).flatten(0, 1)
        layer = copy.deepcopy(stem)
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
    try:
        key, sign_known = key_of_features(layer, maps, group)
    except NotApplicableError:
        target = noise_target(view, every=True)
        in_other_order = secrets.shuffled is not None and not secrets.target_shuffled
        if target is None or target.shape != features.shape or in_other_order:
            raise
        key, sign_known = key_of_latents(features, target, group), True
    unmixed = unmix_channels(features, key)
    view = view.with_channels({UNET_FEATURES: unmixed})
    if sign_known:
        return view
    target = noise_target(view, every=True)
    if target is None:
        raise NotApplicableError(
            "conv_in has no bias, and without a noise target the sign of the key is not known"
        )
    likeness = float((noisy_latents(view, every=True).inputs * target).sum())
    return view if likeness > 0 else view.with_channels({UNET_FEATURES: -unmixed})


def _in_order(view: View, secrets: _KeyedParts) -> View:
    moved = [UNET_FEATURES, CONTROL_FEATURES]
    if secrets.target_shuffled:
        moved += [NOISE_TARGET, PREDICTION_DOWN, LOSS_GRADIENT]
    rows = {channel: view.read(channel, every=True) for channel in moved if view.has(channel)}
    features = rows[UNET_FEATURES]
    side = secrets.side(features)
    places = _places(view, features, side, aligned=not secrets.target_shuffled)
    alike = {
        channel: maps for channel, maps in rows.items() if maps.shape[-2:] == features.shape[-2:]
    }
    # A map of another size has another order, which nothing in view shows.
    lost = [channel for channel in rows if channel not in alike]
    return view.with_channels(
        {channel: put(maps, places, side) for channel, maps in alike.items()}, lost
    )


def _places(view: View, features: Tensor, side: int, *, aligned: bool) -> Tensor:
    """Places by the overlap of outputs; else by a target in order, or by borders of z0.

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


def _unmixed_control(view: View, group: int) -> View:
    """h_ctrl of ``no-gradient``, which is x_t and the condition, without the key.

    Elsewhere nothing is read off h_ctrl number by number.
    """
    if not view.has(CONTROL_FEATURES) or view.public.protocol != "no-gradient":
        return view
    noisy = noisy_latents(view, every=True).inputs
    carrier, noise = carrier_of(view, noisy, every=True)
    mixed = view.read(CONTROL_FEATURES, every=True).float()
    if noise or mixed.shape != noisy.shape:
        # Neither the noise of the control branch nor the key is known.
        return view.with_channels({}, [CONTROL_FEATURES])
    return view.with_channels(
        {CONTROL_FEATURES: unmix_channels(mixed, key_of_latents(mixed, carrier, group))}
    )
