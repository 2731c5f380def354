"""Opens a user's picture, whatever its format and mode, as 8-bit RGB."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from bench.data.folder.files import refuse_pointer
from bench.util.errors import DataError

MOST_PIXELS = 80_000_000
_DAMAGE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
)
"""The exceptions that Pillow raises for damaged files of different formats."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as people see it.

    Attributes:
        image: 8-bit RGB, upright, transparency on white.
        digest: sha256 of the file.
        turned: whether EXIF gives another position than the stored one.
    """

    image: Image.Image
    digest: str
    turned: bool


def decode(content: bytes, name: str, where: str) -> Picture:
    """Return the picture in a file's bytes; of several frames the first.

    Args:
        content: the bytes.
        name: name of the file.
        where: the place that a message names.

    Raises:
        DataError: the bytes are not a picture, or it is damaged, truncated, empty or too large.
    """
    refuse_pointer(content[:64], f"{where}: {name}")
    try:
        with warnings.catch_warnings():
            # Its size is judged below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                _check_size(picture.size, name, where)
                turned = picture.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
                return Picture(_upright(picture), hashlib.sha256(content).hexdigest(), turned)
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{where}: {name} has more than {MOST_PIXELS:,} pixels; make it smaller"
        ) from error
    except _DAMAGE as error:
        raise DataError(f"{where}: {name} cannot be read as a picture") from error


def _check_size(size: tuple[int, int], name: str, where: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise DataError(f"{where}: {name} is {width} x {height} pixels, an empty picture")
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{where}: {name} is {width} x {height} pixels, more than {MOST_PIXELS:,}; make it "
            "smaller"
        )


def _upright(picture: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith("I") or turned.mode == "F":
        turned = Image.fromarray(_to_byte(np.asarray(turned)))
    if turned.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in turned.info:
        if turned.mode in ("La", "RGBa"):
            turned = turned.convert(turned.mode.upper())
        white = Image.new("RGBA", turned.size, "white")
        turned = Image.alpha_composite(white, turned.convert("RGBA"))
    return turned.convert("RGB")


def _to_byte(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return deep grey values stretched over 0..255; NaN becomes black."""
    wide = values.astype(np.float64)
    finite = np.isfinite(wide)
    low, high = (
        (float(wide[finite].min()), float(wide[finite].max())) if finite.any() else (0.0, 0.0)
    )
    stretched = (wide - low) / max(high - low, 1e-12) * 255
    return np.where(finite, stretched, 0.0).round().clip(0, 255).astype(np.uint8)
