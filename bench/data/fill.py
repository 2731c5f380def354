"""The data set ``fill``: filled circles with their outline as hint and their colours as prompt.

The task is that of fill50k in the ControlNet repository (Zhang et al. 2023, arXiv:2302.05543); the
pictures are drawn here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from bench.data.conditions import extract
from bench.interfaces.dataset import AUTO, Dataset
from bench.interfaces.plugin import Card, Params
from bench.types.records import Records
from bench.util.errors import RequestError
from bench.util.progress import Progress

SMALLEST = 16
OUTLINE = "outline"
LEAST_CONTRAST = 0.25
_WORDS = """
alice almond antique aqua aquamarine azure beige bisque black blanched blue blush brick brown burly
cadet chartreuse chiffon chocolate coral corn cornflower cream crimson cyan dark deep dew dim dodger
drab fire floral forest fuchsia gainsboro ghost gold golden gray green grey honey hot indian indigo
ivory khaki lace lavender lawn lemon light lime linen magenta maroon medium midnight mint misty
moccasin navajo navy old olive orange orchid pale papaya peach peru pink plum powder puff purple
rebecca red rod rose rosy royal saddle salmon sandy sea shell sienna silk silver sky slate smoke
snow spring steel tan teal thistle tomato turquoise violet wheat whip white wood yellow
"""
_LONGEST_FIRST = tuple(sorted(_WORDS.split(), key=len, reverse=True))


@dataclass(frozen=True)
class Example:
    """One picture of the task.

    Attributes:
        image: ``(S, S, 3)`` uint8.
        hint: white outline on black, ``(S, S)`` uint8.
        prompt: such as "pale golden rod circle with old lace background".
        circle: CSS colour name of the circle, in words.
        background: CSS colour name of the background, in words.
    """

    image: NDArray[np.uint8]
    hint: NDArray[np.uint8]
    prompt: str
    circle: str
    background: str


def colour_words(name: str) -> str:
    """Return a CSS colour name in words: ``palegoldenrod`` is "pale golden rod".

    Raises:
        ValueError: the name is not made of known words.
    """
    words = []
    while name:
        word = next((w for w in _LONGEST_FIRST if name.startswith(w)), None)
        if word is None:
            raise ValueError(f"no colour words in {name!r}")
        words.append(word)
        name = name[len(word) :]
    return " ".join(words)


@lru_cache(maxsize=1)
def palette() -> tuple[tuple[str, tuple[float, float, float]], ...]:
    """Return every CSS colour once, by name in words, with red, green and blue in [0, 1]."""
    from matplotlib.colors import CSS4_COLORS, to_rgb

    found = {to_rgb(code): colour_words(name) for name, code in sorted(CSS4_COLORS.items())}
    return tuple((name, rgb) for rgb, name in sorted(found.items(), key=lambda entry: entry[1]))


def draw(index: int, size: int, seed: int) -> Example:
    """Return picture ``index``.

    Circle and background differ by at least :data:`LEAST_CONTRAST` (mean absolute difference).
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0xF111, index])))
    colours = palette()
    while True:
        one, other = (colours[int(rng.integers(len(colours)))] for _ in range(2))
        red, green, blue = (abs(a - b) for a, b in zip(one[1], other[1], strict=True))
        if (red + green + blue) / 3 >= LEAST_CONTRAST:
            break
    radius = rng.uniform(0.12, 0.40)
    x, y = rng.uniform(radius + 0.02, 0.98 - radius, 2)
    axis = (np.arange(size) + 0.5) / size
    # Signed distance to the outline in pixels; half a pixel each way is the anti-aliased rim.
    right, down = axis[None, :] - x, axis[:, None] - y
    distance = (np.sqrt(right * right + down * down) - radius) * size
    inside = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
    image = inside * np.asarray(one[1]) + (1.0 - inside) * np.asarray(other[1])
    width = max(1.0, size / 64)
    hint = np.clip(width / 2 + 0.5 - np.abs(distance), 0.0, 1.0)
    return Example(
        image=(image * 255 + 0.5).astype(np.uint8),
        hint=(hint * 255 + 0.5).astype(np.uint8),
        prompt=f"{one[0]} circle with {other[0]} background",
        circle=one[0],
        background=other[0],
    )


class FillParams(Params):
    """Parameters of :class:`Fill`.

    Attributes:
        seed: another seed gives other circles.
        start: number of the first record.
    """

    seed: int = Field(0, ge=0)
    start: int = Field(0, ge=0)


class Fill(Dataset):
    """Filled circles; record i is circle ``start + i``, and no two records form a group."""

    name: ClassVar[str] = "fill"
    card: ClassVar[Card] = Card(
        summary=(
            "Filled circles: the outline is the hint, the colours of circle and background are the "
            "prompt."
        ),
        source="task of fill50k, Zhang et al. 2023, arXiv:2302.05543; drawn by this project",
        cost="about 0.2 ms a 64x64 picture on one core",
        notes=(
            "The easiest task there is. The hint holds the whole layout and the prompt the whole "
            "colour, so any channel that carries both gives the picture away. The pocket model was "
            "pre-trained on circles from 1,000,000 up (seed 0), so keep below that for private "
            "records."
        ),
    )
    Params = FillParams

    def resolve(self, condition: str) -> str:
        """Return the data set's outlines for ``auto``."""
        return OUTLINE if condition == AUTO else condition

    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        """Return the first ``limit`` records; see :meth:`Dataset.load`.

        Raises:
            RequestError: ``image_size`` is below 16, or the condition is unknown.
        """
        if image_size < SMALLEST:
            raise RequestError(
                f"fill: image size {image_size} is too small; the smallest is {SMALLEST}"
            )
        p: FillParams = self.params
        drawn = []
        with progress.stage("circles", limit) as advance:
            for i in range(limit):
                drawn.append(draw(p.start + i, image_size, p.seed))
                advance(1)
        images = _tensor([d.image for d in drawn])
        if condition == OUTLINE:
            hints = _tensor([np.repeat(d.hint[..., None], 3, axis=2) for d in drawn])
        else:
            hints = extract(condition, images, seed=p.seed, first=p.start)
        ids = tuple(f"fill/{p.start + i:06d}" for i in range(limit))
        return Records(
            ids=ids,
            images=images,
            conditions=hints,
            prompts=tuple(d.prompt for d in drawn),
            identities=(None,) * limit,
            attributes=tuple({"circle": d.circle, "background": d.background} for d in drawn),
            origins=ids,
        )


def _tensor(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """Return pictures ``(H, W, 3)`` as one tensor ``(N, 3, H, W)``."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
