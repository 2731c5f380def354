"""Checks a claim before it is scored; the error message becomes the reason in the cell's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.types.claim import Claim
from bench.types.estimate import Estimate
from bench.types.facts import AttributeOdds, IdentityScores
from bench.types.images import ImageBatch
from bench.types.links import Links
from bench.types.targets import ALL_TARGETS, ATTRIBUTE, IDENTITY, PROMPT
from bench.types.texts import Texts
from bench.util.errors import BenchError

CLAIMED: Mapping[str, type] = {PROMPT: Texts, ATTRIBUTE: AttributeOdds, IDENTITY: IdentityScores}
"""The type that a claim must have, by target; all other targets are pictures (``Estimate``)."""


def check_claim(
    attack: str, claim: object, *, targets: int, releases: int, image_size: int
) -> Claim:
    """Return the claim if its types, sizes and values fit what was attacked.

    Args:
        attack: name of the attack, for the message.
        claim: what ``Attack.run`` returned.
        targets: number of attacked releases.
        releases: number of releases in the view.
        image_size: height and width of the records' pictures in pixels.

    Raises:
        BenchError: a part of the claim has the wrong type, number, shape or device, needs a
            gradient, or holds a value that is not finite.
    """
    try:
        return _validated(claim, targets, releases, image_size)
    except BenchError as error:
        raise BenchError(f"attack {attack!r} {error}") from error


def _validated(claim: object, targets: int, releases: int, image_size: int) -> Claim:
    if not isinstance(claim, Claim):
        raise BenchError(f"returned {_type_name(claim)}; run() must return a Claim")
    if not isinstance(claim.estimates, Mapping):
        raise BenchError(
            f"claims {_type_name(claim.estimates)} as its estimates; they must be a dict by target"
        )
    for target, estimate in claim.estimates.items():
        if target not in ALL_TARGETS:
            raise BenchError(
                f"claims an unknown target {target!r}; known: {', '.join(ALL_TARGETS)}"
            )
        expected = CLAIMED.get(target, Estimate)
        if not isinstance(estimate, expected):
            raise BenchError(
                f"claims {_type_name(estimate)} as the {target}; "
                f"it must be an instance of {expected.__name__}"
            )
        if isinstance(estimate, Estimate):
            _check_pictures(target, estimate, targets, image_size)
            continue
        if len(estimate) != targets:
            raise BenchError(f"claims {len(estimate)} {target}s for {targets} releases")
        tensors = estimate.odds if isinstance(estimate, AttributeOdds) else {}
        if isinstance(estimate, IdentityScores):
            tensors = {"likeness": estimate.likeness}
        for name, tensor in tensors.items():
            _check_tensor(f"the {target}'s {name}", tensor)
    if claim.labels is not None:
        _check_tensor("its labels", claim.labels)
        if claim.labels.ndim != 2 or len(claim.labels) != targets:
            raise BenchError(
                f"claims labels of shape {tuple(claim.labels.shape)} for {targets} releases"
            )
    if claim.links is not None:
        if not isinstance(claim.links, Links):
            raise BenchError(
                f"claims {_type_name(claim.links)} as its links; it must be an instance of Links"
            )
        if len(claim.links.labels) != releases:
            raise BenchError(
                f"claims {len(claim.links.labels)} link labels for {releases} releases"
            )
    return claim


def _check_pictures(target: str, estimate: Estimate, count: int, size: int) -> None:
    images: Any = estimate.images
    if not isinstance(images, ImageBatch):
        raise BenchError(
            f"claims {_type_name(images)} as the pictures of the {target}; it must be an ImageBatch"
        )
    if len(images) != count:
        raise BenchError(f"claims {len(images)} {target}s for {count} releases")
    if broken := images.not_finite():
        raise BenchError(f"claims {broken} of {count} {target}s from pixels that are not finite")
    _check_tensor(f"the {target}'s pixels", images.pixels)
    if images.size != (size, size):
        raise BenchError(
            f"claims {target}s of {images.size[0]}x{images.size[1]} pixels; "
            f"the records have {size}x{size}"
        )
    if estimate.latents is not None:
        # Latents may need a gradient or lie on another device: metrics detach and move them.
        _check_finite(f"the {target}'s latents", estimate.latents)
        if len(estimate.latents) != count:
            raise BenchError(
                f"claims latents of {len(estimate.latents)} {target}s for {count} releases"
            )


def _check_tensor(name: str, tensor: Tensor) -> None:
    _check_finite(name, tensor)
    if tensor.requires_grad:
        raise BenchError(f"claims {name} that still need a gradient; detach() them")
    if tensor.device.type != "cpu":
        raise BenchError(f"claims {name} on {tensor.device}; move them to the CPU")


def _check_finite(name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor):
        raise BenchError(f"claims {_type_name(tensor)} as {name}; it must be a tensor")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise BenchError(f"claims {name} with values that are not finite")


def _type_name(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
