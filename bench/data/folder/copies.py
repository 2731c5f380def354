"""Finds pictures that are exact or near copies of one another.

An exact copy is an equal file or has equal pixels. A near copy meets three conditions on the centre
squares, from which records are made, as they are or mirrored:

1. in grey at 8 x 8, their correlation is at least ``COARSE``; 2. in colour at 8 x 8, they differ by
no more than ``COLOUR`` grey levels in the mean; 3. in grey at 32 x 32, the correlation of their
detail (each pixel less the mean of the 9 x 9 around it) is at least ``DETAIL`` at the best of
``PLACES``, which cut up to 4 % off one of the two.

All sums are of whole numbers, so the answer is equal on every machine. Pictures without detail,
such as a plain surface, have exact copies only.

The thresholds were measured on the seventeen photographs of ``bench.data.photos.photographs`` and
on portraits, see ``tests/bench/data/test_folder_copies.py``: JPEG of quality 30, resizing by 0.5 to
1.1 and cuts of 1 and 2 % at one or all sides reach 0.886 and more in condition 3 (0.64 in condition
1, 7.8 in condition 2). Of 1500 portraits no two that meet conditions 1 and 2 reach 0.70 in
condition 3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COARSE = 0.6
COLOUR = 10
DETAIL = 0.85
LEAST_DETAIL = 1.0
"""Least root mean square of the detail, in grey levels, for a search for near copies."""
_LARGE, _FINE, _SMALL = 64, 32, 8
_WINDOW = 9
_BLOCK = 256
"""Number of pictures that are compared with all others at once."""

Array = NDArray[Any]


def _places() -> Iterator[tuple[float, float, float, float]]:
    """Return boxes in shares of the side, of one or both axes.

    They are the whole square, 98 % and 96 % at nine places each, and 99 % of one axis.
    """
    yield 0.0, 0.0, 1.0, 1.0
    for side in (0.98, 0.96):
        for left in (0.0, (1 - side) / 2, 1 - side):
            for top in (0.0, (1 - side) / 2, 1 - side):
                yield left, top, left + side, top + side
    yield from (
        (0.01, 0.0, 1.0, 1.0),
        (0.0, 0.0, 0.99, 1.0),
        (0.0, 0.01, 1.0, 1.0),
        (0.0, 0.0, 1.0, 0.99),
    )


PLACES = tuple(_places())


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a picture to find its copies.

    Attributes:
        file: sha256 of the file.
        pixels: sha256 of the upright pixels.
        grey: centre square, ``(64, 64)`` uint8.
        colour: centre square, ``(8, 8, 3)`` uint8.
    """

    file: str
    pixels: str
    grey: Array
    colour: Array


def fingerprint(
    picture: Image.Image, digest: str, box: tuple[float, float, float, float]
) -> Fingerprint:
    """Return the fingerprint of an upright RGB picture.

    Args:
        picture: the picture.
        digest: sha256 of its file.
        box: its centre square.
    """
    pixels = hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
    means = Image.Resampling.BOX
    grey = picture.convert("L").resize((_LARGE, _LARGE), means, box=box)
    colour = picture.resize((_SMALL, _SMALL), means, box=box)
    return Fingerprint(digest, pixels, np.asarray(grey), np.asarray(colour))


def copies(pictures: Sequence[Fingerprint], *, near: bool) -> list[int]:
    """Return for each picture the number of the first picture in its group of copies.

    A group also joins copies of copies.
    """
    groups = Groups(len(pictures))
    for digests in ([p.file for p in pictures], [p.pixels for p in pictures]):
        groups.join_equal(digests)
    if near:
        _join_near(pictures, groups)
    return groups.firsts()


class Groups:
    """Numbers joined into groups."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def first(self, number: int) -> int:
        """Return the smallest number in the group of ``number``."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, first: int, second: int) -> None:
        """Join the groups of two numbers."""
        low, high = sorted((self.first(first), self.first(second)))
        self._parent[high] = low

    def join_equal(self, labels: Sequence[object]) -> None:
        """Join the numbers of equal labels; None equals nothing."""
        seen: dict[object, int] = {}
        for number, label in enumerate(labels):
            if label is not None:
                self.join(seen.setdefault(label, number), number)

    def firsts(self) -> list[int]:
        """Return the smallest number in each number's group."""
        return [self.first(number) for number in range(len(self._parent))]


def _join_near(pictures: Sequence[Fingerprint], groups: Groups) -> None:
    """Join pictures that are near copies, with one picture for each group of exact copies."""
    chosen = [i for i in range(len(pictures)) if groups.first(i) == i]
    if len(chosen) < 2:
        return
    grey = np.stack([pictures[i].grey for i in chosen])
    colour = np.stack([pictures[i].colour for i in chosen]).astype(np.int64)
    detail = np.stack([_detail(_resized(one, _FINE, None)) for one in grey])
    with_detail = _squares(detail) >= (_WINDOW**2 * LEAST_DETAIL) ** 2 * _FINE**2
    coarse = np.stack([_centred(_resized(one, _SMALL, None)) for one in grey])
    length = np.sqrt(_squares(coarse))
    # Pictures with equal numbers are known to be copies.
    roots = np.arange(len(chosen))
    for mirrored in (False, True):
        # Rows of pixels run along the second axis from the end of a flat one.
        other_coarse = _mirrored(coarse, _SMALL) if mirrored else coarse
        other_detail = _mirrored(detail, _FINE) if mirrored else detail
        other_colour = colour[:, :, ::-1] if mirrored else colour
        for number, close in _candidates(coarse, other_coarse, length, with_detail):
            apart = np.abs(other_colour[close] - colour[number]).sum(axis=(1, 2, 3))
            close = close[(apart <= COLOUR * colour[number].size) & (roots[close] != roots[number])]
            if not len(close):
                continue
            cuts = np.stack([_detail(_resized(grey[number], _FINE, place)) for place in PLACES])
            along = cuts @ other_detail[close].T
            needed = DETAIL * np.sqrt(
                _squares(cuts)[:, None] * _squares(other_detail[close])[None, :]
            )
            found = close[(along >= np.maximum(needed, 1)).any(axis=0)]
            for other in found:
                groups.join(chosen[number], chosen[int(other)])
            if len(found):
                roots = np.array([groups.first(one) for one in chosen])


def _candidates(
    coarse: Array, others: Array, length: Array, usable: Array
) -> Iterator[tuple[int, Array]]:
    """Yield each picture with the others with which condition 1 holds."""
    for start in range(0, len(coarse), _BLOCK):
        rows = slice(start, start + _BLOCK)
        enough = coarse[rows] @ others.T >= COARSE * length[rows, None] * length[None, :]
        enough &= usable[rows, None] & usable[None, :]
        for number in np.flatnonzero(enough.any(axis=1)):
            close = np.flatnonzero(enough[number])
            yield start + int(number), close[close != start + number]


def _resized(grey: Array, side: int, place: tuple[float, float, float, float] | None) -> Array:
    """Return a picture, or a part of it, as ``(side, side)`` int64."""
    image = Image.fromarray(grey)
    if place is None:
        small = image.resize((side, side), Image.Resampling.BOX)
    else:
        box = (place[0] * _LARGE, place[1] * _LARGE, place[2] * _LARGE, place[3] * _LARGE)
        small = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(small).astype(np.int64)


def _centred(values: Array) -> Array:
    """Return whole numbers proportional to the difference from the mean, flat float64.

    float64 holds them exactly.
    """
    flat = values.reshape(-1)
    centred: Array = (flat * flat.size - flat.sum()).astype(np.float64)
    return centred


def _detail(values: Array) -> Array:
    """Return whole numbers proportional to the difference from the mean around each pixel, flat."""
    around = np.pad(values, _WINDOW // 2, mode="symmetric")
    for axis in (0, 1):
        sums = np.cumsum(around, axis=axis)
        ahead = np.take(sums, range(_WINDOW, sums.shape[axis]), axis=axis)
        behind = np.take(sums, range(sums.shape[axis] - _WINDOW), axis=axis)
        first = np.take(sums, [_WINDOW - 1], axis=axis)
        around = np.concatenate([first, ahead - behind], axis=axis)
    detail: Array = (values * _WINDOW**2 - around).reshape(-1).astype(np.float64)
    return detail


def _squares(rows: Array) -> Array:
    total: Array = (rows * rows).sum(axis=-1)
    return total


def _mirrored(rows: Array, side: int) -> Array:
    """Return flat pictures ``(N, side * side)`` with left and right exchanged."""
    return np.ascontiguousarray(
        rows.reshape(len(rows), side, side)[:, :, ::-1].reshape(len(rows), -1)
    )
