"""Smashed data as inputs of a network, from the wire and from simulated releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.common.disco_mask import assume_kept, kept_channels
from attacks.common.shredder_noise import assume_no_noise, estimate_collection
from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    NOISE_TARGET,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
    Emission,
    NotApplicableError,
    Records,
    Simulator,
    View,
)

MAPS = (
    CONTROL_FEATURES,
    UNET_FEATURES,
    NOISE_TARGET,
)
"""Channels that a network can read: maps of the latents' size."""
Which = Literal["granted", "features"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Maps side by side ``(B, C, h, w)`` float32, and t ``(B,)`` or None."""

    maps: Tensor
    time: Tensor | None

    @classmethod
    def from_channels(cls, sent: Mapping[Channel, Tensor], time: Tensor | None) -> Inputs:
        """Return the maps of several channels side by side."""
        return cls(torch.cat([tensor.detach().float() for tensor in sent.values()], 1), time)

    def to(self, device: str) -> Inputs:
        """Return the inputs on a device."""
        return Inputs(self.maps.to(device), None if self.time is None else self.time.to(device))


@dataclass(frozen=True, eq=False)
class SimulatedReleases:
    """Releases of known records with the channels of those in view, including the defence.

    Attributes:
        simulator: runs the client on the attacker's records.
        wanted: the maps that both have.
        knows_time: whether t is in view.
        noise: what a defence was found to have added to each target's ``control_features``, ``(T,
            C, h, w)``.
    """

    simulator: Simulator
    wanted: tuple[Channel, ...]
    knows_time: bool
    noise: Tensor | None = None

    def draw(self, index: Sequence[int], rng: torch.Generator) -> tuple[Inputs, Emission]:
        """Return a fresh release of the records at ``index``, and the truth behind it."""
        release = self.simulator.emit(index, rng)
        sent = {c: release.sent[c] for c in self.wanted}
        return Inputs.from_channels(
            sent, release.sent[TIMESTEP] if self.knows_time else None
        ), release

    def inputs_of(self, view: View) -> Inputs:
        """Return the targets of the view as inputs, on the view's device."""
        time = view.read(TIMESTEP) if self.knows_time else None
        sent = {c: view.read(c) for c in self.wanted}
        if self.noise is not None and CONTROL_FEATURES in sent:
            sent[CONTROL_FEATURES] = sent[CONTROL_FEATURES].float() - self.noise
        return Inputs.from_channels(sent, time).to(view.public.device)


def simulated_releases(
    view: View, records: Records, which: Which, *, adapt: bool = True
) -> SimulatedReleases:
    """Return simulated releases to train on, with the client's final weights if they are in view.

    Args:
        view: what the attacker sees.
        records: the attacker's records.
        which: ``granted`` is every map in view; ``features`` leaves out the noise target, as the
            literature does.
        adapt: estimate what the known defence has learned, and put it into the attacker's copy of
            the defence.

    Raises:
        NotApplicableError: there is no smashed data in view, no client to simulate, or fewer than 2
            records.
    """
    if not (view.has(CONTROL_FEATURES) or view.has(UNET_FEATURES)):
        raise NotApplicableError("needs control_features or unet_features in view")
    client = view.public.client
    if client is None:
        raise NotApplicableError("the client half cannot be simulated under this threat model")
    if len(records) < 2:
        raise NotApplicableError("needs at least 2 auxiliary records to learn from")
    if view.has(CLIENT_WEIGHTS):
        client = client.with_weights(view.parts(CLIENT_WEIGHTS)[-1].tensors)
    wanted = tuple(c for c in MAPS if view.has(c) and (which == "granted" or c != NOISE_TARGET))
    noise, kept = (
        (estimate_collection(view, client), kept_channels(view)) if adapt else (None, None)
    )
    if noise is not None:
        assume_no_noise(view, noise)
    if kept is not None:
        assume_kept(view, kept)
    return SimulatedReleases(
        client.simulator(records),
        wanted,
        view.has(TIMESTEP),
        None if noise is None else noise.targets,
    )
