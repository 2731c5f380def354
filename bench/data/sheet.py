"""Contact sheet of a data set, to look at what a run would train on.

``python -m bench.data.sheet portraits --count 100 --condition scribble --out sheet.png`` shows each record's
picture over its hint; ``--data`` of ``bench run`` takes the same names.
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.cli import one_sentence
from bench.data.conditions import AUTO
from bench.errors import RequestError
from bench.files import disk_errors
from bench.interfaces import Dataset
from bench.progress import shown_progress
from bench.records import Records
from bench.registry import Registry
from bench.spec import parse_dataset

GAP = 2
WHITE = 255


def sheet(records: Records, columns: int) -> NDArray[np.uint8]:
    """Every picture over its hint, row by row with white gaps, ``(H, W, 3)`` uint8."""
    pairs = torch.cat([records.images, records.conditions], dim=2).permute(0, 2, 3, 1).numpy()
    count, height, width = pairs.shape[:3]
    rows = math.ceil(count / columns)
    page = np.full((rows * (height + GAP) - GAP, min(columns, count) * (width + GAP) - GAP, 3), WHITE, np.uint8)
    for i, pair in enumerate(pairs):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        page[top : top + height, left : left + width] = pair
    return page


def load(data: str, count: int, image_size: int, condition: str) -> Records:
    """The first ``count`` records of a data set, asked for as for ``bench run``.

    Raises:
        RequestError, DataError: as the data set.
    """
    name, values = parse_dataset(data)
    registry: Registry[Dataset] = Registry("datasets", Dataset)  # type: ignore[type-abstract]
    dataset: Dataset = registry.load(name).build(values)
    return dataset.load(count, image_size=image_size, condition=dataset.resolve(condition), progress=shown_progress())


@click.command()
@click.argument("data")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("sheet.png"), show_default=True)
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--columns", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--image-size", type=click.IntRange(min=16), default=64, show_default=True)
@click.option("--condition", default=AUTO, show_default=True, help="As for bench run.")
@click.option("--colours", type=click.IntRange(2, 256), help="Keep only so many colours: a smaller file.")
def main(data: str, out: Path, count: int, columns: int, image_size: int, condition: str, colours: int | None) -> None:
    """Write a PNG of the first records of DATA, each picture over its hint."""
    with one_sentence():
        records = load(data, count, image_size, condition)
        if not len(records):
            raise RequestError(f"{data}: no records")
        page = Image.fromarray(sheet(records, columns))
        if colours is not None:
            page = page.quantize(colours, dither=Image.Dither.NONE)
        with disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            page.save(out, format="PNG", optimize=True)
        click.echo(f"{len(records)} records in {out}")


if __name__ == "__main__":
    main()
