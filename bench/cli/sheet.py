"""``bench sheet``: draw the first records of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.errors import one_sentence
from bench.cli.options import FILE, setting_decorator
from bench.util.errors import RequestError
from bench.util.files import disk_errors

if TYPE_CHECKING:
    from bench.types.records import Records


def load(data: str, count: int, image_size: int, condition: str) -> Records:
    """Return the first ``count`` records of a data set.

    Raises:
        RequestError: there is no such data set, or a parameter is impossible.
        DataError: the data cannot be used.
    """
    from bench.interfaces.dataset import Dataset
    from bench.interfaces.registry import Registry
    from bench.settings.names import parse_dataset
    from bench.util.progress import terminal_progress

    name, values = parse_dataset(data)
    registry: Registry[Dataset] = Registry("datasets", Dataset)  # type: ignore[type-abstract]
    dataset: Dataset = registry.load(name).build(values)
    return dataset.load(
        count,
        image_size=image_size,
        condition=dataset.resolve(condition),
        progress=terminal_progress(),
    )


@click.command()
@click.argument("data")
@click.option(
    "--out",
    type=FILE,
    default=Path("sheet.png"),
    show_default=True,
    help="The PNG is written to this file.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="The sheet shows this many records.",
)
@click.option(
    "--columns",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Each line of the sheet shows this many records.",
)
@setting_decorator("image_size")
@setting_decorator("condition")
@click.option(
    "--colours",
    type=click.IntRange(2, 256),
    show_default="all",
    help="The PNG keeps only this many colours, for a smaller file.",
)
def sheet(
    data: str,
    out: Path,
    count: int,
    columns: int,
    image_size: int,
    condition: str,
    colours: int | None,
) -> None:
    """Draw the first records of a data set.

    The PNG shows each picture of the data set DATA above its hint.
    """
    from PIL import Image

    from bench.data.contact_sheet import contact_sheet

    with one_sentence():
        records = load(data, count, image_size, condition)
        if not len(records):
            raise RequestError(f"{data}: no records")
        page = Image.fromarray(contact_sheet(records, columns))
        if colours is not None:
            page = page.quantize(colours, dither=Image.Dither.NONE)
        with disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            page.save(out, format="PNG", optimize=True)
        click.echo(f"{len(records)} records in {out}")
