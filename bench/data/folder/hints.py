"""Lays a hint picture over its picture, or says why the two do not fit."""

from __future__ import annotations

from enum import Enum

from PIL import Image

from bench.util.errors import DataError

TOLERANCE = 0.02
"""Two pictures whose ratios of width to height differ by this share are of one shape: rounding of sizes."""


class Fit(Enum):
    """How a hint lies over its picture."""

    SAME = "the same shape"
    OTHER = "another shape"


def fit(picture: Image.Image, hint: Image.Image, *, where: str, turned: bool, crops: int) -> Fit:
    """Whether a hint has its picture's shape.

    A hint of another shape is taken as trainers of ControlNet take it: the centre square of each is
    used.

    Args:
        turned: the picture was turned by its EXIF and the hint was not.
        crops: with random crops, whose places are those of the picture, another shape has no
            meaning.

    Raises:
        DataError: the hint lies and the picture stands, or the other way round; or another shape
            with crops.
    """
    ratio = (hint.width * picture.height) / (hint.height * picture.width)
    if 1 - TOLERANCE <= ratio <= 1 + TOLERANCE:
        return Fit.SAME
    sizes = f"{hint.width} x {hint.height}, its picture {picture.width} x {picture.height}"
    if _stands(picture) * _stands(hint) < 0:
        cause = " after EXIF turned it, which the hint lacks" if turned else ""
        raise DataError(
            f"{where}: the hint is {sizes}{cause}; turn the hint, or make it anew from the upright picture"
        )
    if crops > 1:
        raise DataError(
            f"{where}: the hint is {sizes}; with crops={crops} both need the same shape"
        )
    return Fit.OTHER


def _stands(image: Image.Image) -> int:
    """1 for a picture that is higher than wide, -1 for one that is wider than high, 0 for a square."""
    ratio = image.height / image.width
    return (ratio > 1 + TOLERANCE) - (ratio < 1 - TOLERANCE)
