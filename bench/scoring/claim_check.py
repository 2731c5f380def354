"""Checks a claim before it is scored; a mistake of the attack becomes the cell's reason."""

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
"""What is claimed of each target that is not a picture."""


def check_claim(
    attack: str, claim: object, *, targets: int, releases: int, image_size: int
) -> Claim:
    """Return the claim if it fits what was attacked.

    Args:
        attack: name, for the sentence.
        targets: how many releases were to be claimed.
        releases: how many were in view.
        image_size: height and width of the records' pictures.

    Raises:
        BenchError: wrong type, number, shape or device, a tensor that needs a gradient, or a value
            that is not finite.
    """
    try:
        return _checked(claim, targets, releases, image_size)
    except BenchError as error:
        raise BenchError(f"attack {attack!r} {error}") from error


def _checked(claim: object, targets: int, releases: int, image_size: int) -> Claim:
    if not isinstance(claim, Claim):
        raise BenchError(f"returned {_a(claim)}; run() must return a Claim")
    if not isinstance(claim.estimates, Mapping):
        raise BenchError(
            f"claims {_a(claim.estimates)} as its estimates; they must be a dict by target"
        )
    for target, estimate in claim.estimates.items():
        if target not in ALL_TARGETS:
            raise BenchError(
                f"claims an unknown target {target!r}; known: {', '.join(ALL_TARGETS)}"
            )
        wanted = CLAIMED.get(target, Estimate)
        if not isinstance(estimate, wanted):
            raise BenchError(
                f"claims {_a(estimate)} as the {target}; it must be an instance of {wanted.__name__}"
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
                f"claims {_a(claim.links)} as its links; it must be an instance of Links"
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
            f"claims {_a(images)} as the pictures of the {target}; it must be an ImageBatch"
        )
    if len(images) != count:
        raise BenchError(f"claims {len(images)} {target}s for {count} releases")
    if broken := images.not_finite():
        raise BenchError(f"claims {broken} of {count} {target}s from pixels that are not finite")
    _check_tensor(f"the {target}'s pixels", images.pixels)
    if images.size != (size, size):
        raise BenchError(
            f"claims {target}s of {images.size[0]}x{images.size[1]} pixels; the records have {size}x{size}"
        )
    if estimate.latents is not None:
        _check_finite(
            f"the {target}'s latents", estimate.latents
        )  # scored without a gradient, on the CPU
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
        raise BenchError(f"claims {_a(tensor)} as {name}; it must be a tensor")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise BenchError(f"claims {name} with values that are not finite")


def _a(thing: object) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"
