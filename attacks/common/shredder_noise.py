"""Finds the few noise tensors that a client adds, by averaging over releases that share one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from attacks.common.least_squares import invert_convolution
from attacks.common.undo.inverse import known_parts
from bench.interfaces import (
    CONTROL_FEATURES,
    UNET_FEATURES,
    NotApplicableError,
    PublicClient,
    PublicForward,
    View,
)
from bench.interfaces.public_forward import CONDITION, NOISY, PIXELS

MOST_OWN = 128
"""Auxiliary records whose features are looked at."""
CONTENT = 32
"""Directions of features that records differ in, which are left out when releases are grouped."""


@dataclass(frozen=True, eq=False)
class CollectionEstimate:
    """The fixed noise tensors of a client, as estimated from its releases.

    Attributes:
    collection: the tensors, ``(K, C, h, w)``; of an empty group 0.
    groups: which of them each release of the view has, ``(R,)``.
    targets: that of each target release, ``(T, C, h, w)``.
    """

    collection: Tensor
    groups: Tensor
    targets: Tensor


def estimate_collection(view: View, client: PublicClient) -> CollectionEstimate | None:
    """Return an estimate of the fixed tensors that the known defence adds, or None.

    A release is f(record) + n_k. What the public client makes of the attacker's own records, x_t as
    it is where it can be read, stands for f(record); the rest is grouped by k-means, outside of the
    directions that records differ in, and a group's mean is its tensor. The
    error left in it is that of a mean over the group.

    Args:
        client: with the trained weights, where they are in view.
    """
    count = collection_size(view)
    if count == 0 or not view.has(CONTROL_FEATURES) or not len(view.public.auxiliary):
        return None
    try:
        forward = client.forward(view.public.auxiliary.images.shape[-1])
    except NotApplicableError:
        return None
    released = view.read(CONTROL_FEATURES, every=True).float()
    made = _own_features(view, forward)
    if made is None:
        return None
    own, with_noisy = made
    rest = released - own.mean(0) - (0.0 if with_noisy is None else with_noisy)
    groups = grouped(_outside(rest.flatten(1), (own - own.mean(0)).flatten(1)), count)
    collection = torch.zeros(count, *rest.shape[1:])
    for k in torch.unique(groups):
        collection[k] = rest[groups == k].mean(0)
    return CollectionEstimate(collection, groups, collection[groups[list(view.targets)]])


def collection_size(view: View) -> int:
    """Return how many fixed tensors the known defence adds to h_ctrl, one a release.

    0 where it adds none.
    """
    stated = (part.noise_collection(CONTROL_FEATURES) for part in known_parts(view))
    return next((count for count in stated if count), 0)


def assume_no_noise(view: View, estimate: CollectionEstimate) -> None:
    """Make the attacker's copy of the defence add nothing, for releases without their noise."""
    nothing = torch.zeros_like(estimate.collection).to(view.public.device)
    for part in known_parts(view):
        if part.noise_collection(CONTROL_FEATURES):
            part.assume_collection(CONTROL_FEATURES, nothing)


@torch.no_grad()
def _own_features(view: View, forward: PublicForward) -> tuple[Tensor, Tensor | None] | None:
    """Features of auxiliary records ``(A, C, h, w)``, and what x_t adds to each release.

    None where the client takes neither; the second is None where it does not take x_t.
    """
    auxiliary, wanted = view.public.auxiliary, forward.inputs()
    own: dict[str, Tensor] = {}
    for name, pictures in ((PIXELS, auxiliary.images), (CONDITION, auxiliary.conditions)):
        if name in wanted:
            height, width = wanted[name].shape[1:]
            small = functional.adaptive_avg_pool2d(
                pictures[:MOST_OWN].float() / 255, (height, width)
            )
            own[name] = small.to(view.public.device)
    if not own:
        return None
    rng = torch.Generator().manual_seed(0)
    if NOISY not in wanted:
        return _sent(forward, own, rng), None
    if not view.has(UNET_FEATURES) or view.public.stem is None:
        return None
    noisy = invert_convolution(view.public.stem, view.read(UNET_FEATURES, every=True)).to(
        view.public.device
    )
    still = torch.zeros_like(noisy[:1])
    features = _sent(
        forward, {**own, NOISY: still.expand(len(next(iter(own.values()))), -1, -1, -1)}, rng
    )
    one = {name: pictures[:1].expand(len(noisy), -1, -1, -1) for name, pictures in own.items()}
    moved = _sent(forward, {**one, NOISY: noisy}, rng) - _sent(
        forward, {**one, NOISY: torch.zeros_like(noisy)}, rng
    )
    return features, moved


def _sent(forward: PublicForward, inputs: Mapping[str, Tensor], rng: torch.Generator) -> Tensor:
    return forward.send(inputs, rng)[CONTROL_FEATURES].float().cpu()


def _outside(rows: Tensor, content: Tensor) -> Tensor:
    """The part of ``(R, D)`` that is orthogonal to the main directions of ``(A, D)``."""
    size, vectors = torch.linalg.eigh(content.double() @ content.double().T)
    leading = slice(-min(CONTENT, len(content) // 2), None) if len(content) > 1 else slice(0, 0)
    kept = size[leading] > 1e-9 * size[-1].clamp_min(1e-30)
    if not bool(kept.any()):
        return rows
    basis = (content.double().T @ vectors[:, leading][:, kept]) / size[leading][kept].sqrt()
    projected: Tensor = (rows.double() @ basis) @ basis.T
    return rows - projected.float()


def grouped(rows: Tensor, count: int, rounds: int = 25) -> Tensor:
    """Return k-means groups of ``(R, D)`` from centres far from each other, ``(R,)`` int64."""
    centres = rows[:1]
    for _ in range(min(count, len(rows)) - 1):
        far = torch.cdist(rows, centres).amin(1).argmax()
        centres = torch.cat([centres, rows[far : far + 1]])
    groups = torch.cdist(rows, centres).argmin(1)
    for _ in range(rounds):
        means = [
            rows[groups == k].mean(0) if bool((groups == k).any()) else centres[k]
            for k in range(len(centres))
        ]
        centres = torch.stack(means)
        groups, before = torch.cdist(rows, centres).argmin(1), groups
        if torch.equal(groups, before):
            break
    return groups
