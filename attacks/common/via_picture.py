"""A picture of the record by way of another attack, for attacks that judge pictures."""

from __future__ import annotations

import torch

from bench.interfaces import (
    Attack,
    Budget,
    Estimate,
    ImageBatch,
    NotApplicableError,
    Params,
    Progress,
    RequestError,
    View,
)
from bench.interfaces.registry import Registry


def attack_named(name: str) -> Attack:
    """An attack with its default parameters.

    Raises:
        RequestError: there is none of that name, or it makes no pictures.
    """
    attacks: Registry[Attack] = Registry("attacks", Attack)  # type: ignore[type-abstract]
    found = attacks.load(name)
    if "image" not in found.claimed_targets:
        raise RequestError(f"through={name}: this attack makes no picture")
    attack: Attack = found.build({})
    return attack


class ViaPicture(Attack):
    """An attack that can judge another attack's picture in place of the smashed data.

    Its parameters have ``through``: the other's name, or nothing.
    """

    def __init__(self, params: Params | None = None) -> None:
        super().__init__(params)
        self.through = attack_named(self.params.through) if self.params.through else None
        self.uses_history = self.through is not None and self.through.uses_history


def picture(
    attack: Attack, view: View, rng: torch.Generator, budget: Budget, progress: Progress
) -> ImageBatch:
    """What an attack claims the images are.

    Raises:
        NotApplicableError: as the attack does, or it claims no image of this view.
    """
    missing = sorted(attack.requires - view.channels)
    if missing:
        raise NotApplicableError(
            f"{attack.name} requires {', '.join(missing)}, which is not in view"
        )
    seen = attack.run(view, rng=rng, budget=budget, progress=progress).estimates.get("image")
    if not isinstance(seen, Estimate):
        raise NotApplicableError(f"{attack.name} claims no image here")
    return seen.images
