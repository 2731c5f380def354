"""Fits a hint picture to its picture, or explains why the two do not fit."""

from __future__ import annotations

from enum import Enum

from PIL import Image

from bench.util.errors import DataError

TOLERANCE = 0.02
"""Largest relative difference of aspect ratios that counts as one shape: sizes are rounded."""


class Fit(Enum):
    """How a hint lies over its picture."""

    SAME = "the same shape"
    OTHER = "another shape"


def fit(picture: Image.Image, hint: Image.Image, *, where: str, turned: bool, crops: int) -> Fit:
    """Return whether a hint has its picture's shape.

    A hint of another shape is used as trainers of ControlNet use it: the centre square of each is
    taken.

    Args:
        picture: the upright picture.
        hint: the hint.
        where: the place that a message names.
        turned: whether EXIF turned the picture and not the hint.
        crops: number of random crops; above 1 a hint of another shape cannot follow their places.

    Raises:
        DataError: one of the two is upright and the other is wide; or another shape with crops.
    """
    ratio = (hint.width * picture.height) / (hint.height * picture.width)
    if 1 - TOLERANCE <= ratio <= 1 + TOLERANCE:
        return Fit.SAME
    sizes = f"{hint.width} x {hint.height}, its picture {picture.width} x {picture.height}"
    if _stands(picture) * _stands(hint) < 0:
        cause = " after EXIF turned it, which the hint lacks" if turned else ""
        raise DataError(
            f"{where}: the hint is {sizes}{cause}; turn the hint, or make it anew from the upright "
            "picture"
        )
    if crops > 1:
        raise DataError(
            f"{where}: the hint is {sizes}; with crops={crops} both need the same shape"
        )
    return Fit.OTHER


def _stands(image: Image.Image) -> int:
    """Return 1 for a picture that is higher than wide, -1 for a wide one, 0 for a square."""
    ratio = image.height / image.width
    return (ratio > 1 + TOLERANCE) - (ratio < 1 - TOLERANCE)
