"""Contact sheet of a data set, to look at what a run would train on.

``bench sheet portraits --count 100 --condition scribble --out sheet.png`` shows each record's
picture over its hint; ``--data`` of ``bench run`` takes the same names.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from bench.types.records import Records

GAP = 2
WHITE = 255


def contact_sheet(records: Records, columns: int) -> NDArray[np.uint8]:
    """Return every picture over its hint, row by row with white gaps, ``(H, W, 3)`` uint8."""
    pairs = torch.cat([records.images, records.conditions], dim=2).permute(0, 2, 3, 1).numpy()
    count, height, width = pairs.shape[:3]
    rows = math.ceil(count / columns)
    page = np.full(
        (rows * (height + GAP) - GAP, min(columns, count) * (width + GAP) - GAP, 3), WHITE, np.uint8
    )
    for i, pair in enumerate(pairs):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        page[top : top + height, left : left + width] = pair
    return page
