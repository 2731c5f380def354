"""The attributes that the embedded heads read, and the numbers that make up a portrait's person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple

import numpy as np
import torch
from torch import Tensor

from bench.data.portraits import people

CLASSES: dict[str, tuple[str, ...]] = {
    "gender": ("woman", "man"),
    "skin": tuple(people.SKINS),
    "hair_colour": ("none", *people.HAIRS),
    "hair_style": people.STYLES,
    "beard": ("none", "beard", "moustache"),
    "eyes": tuple(people.EYES),
    "expression": people.EXPRESSIONS,
    "glasses": people.GLASSES,
    "hat": people.HATS,
    "hat_colour": ("none", *people.COLOURS),
    "earrings": ("no", "yes"),
    "clothes": people.CLOTHES,
    "clothes_colour": tuple(people.COLOURS),
    "background": (
        *(scene for scene in people.SCENES if scene not in people.COLOURED_SCENES),
        *(f"{colour} {scene}" for scene in people.COLOURED_SCENES for colour in people.COLOURS),
    ),
}
"""The values of each attribute of ``portraits``, in the order of the heads' outputs."""

WIDTHS = tuple(len(values) for values in CLASSES.values())


def labels(attributes: Sequence[Mapping[str, str]]) -> Tensor:
    """Return class numbers of labelled portraits, ``(N, len(CLASSES))`` int64.

    Raises:
        ValueError: a value is not one of ``CLASSES``.
    """
    return torch.tensor(
        [[values.index(row[name]) for name, values in CLASSES.items()] for row in attributes]
    )


def traits(first: int, count: int, seed: int) -> Tensor:
    """Return colours and proportions of people, standardised, ``(count, T)`` float32.

    Args:
        first: number of the first person.
        count: number of people.
        seed: seed of the data set.
    """
    table = np.array([_numbers(astuple(people.person(first + i, seed))) for i in range(count)])
    spread = table.std(axis=0)
    return torch.from_numpy(
        (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    ).float()


def _numbers(fields: Sequence[object]) -> list[float]:
    """Return the continuous fields with colours as three numbers; names and seeds are left out."""
    found: list[float] = []
    for value in fields:
        if isinstance(value, tuple):
            found += [float(part) for part in value]
        elif isinstance(value, float):
            found.append(value)
    return found
