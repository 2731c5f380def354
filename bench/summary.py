"""``python -m bench.summary ROWS.CSV``: rows of several seeds as one Markdown table.

Each cell is the mean over seeds with the lowest and highest seed in brackets.
"""

from __future__ import annotations

from pathlib import Path

import click
import pandas

from bench.cli import one_sentence
from bench.errors import DataError, RequestError
from bench.registry import suggestion

_KEYS = ("victim", "protocol", "defense", "threat_model", "withheld_from_view")


def summarise(
    rows: pandas.DataFrame, columns: tuple[str, ...], *, where: dict[str, str] | None = None, per_attack: bool = True
) -> str:
    """A Markdown table: one line per victim, protocol, defence and view; one column per attack, target and metric.

    Args:
        where: values that rows must have; a column so fixed is not shown.
        per_attack: otherwise the columns belong to the trained model and stand once a line.

    Raises:
        RequestError: a column is not in the rows, or no row is left.
    """
    where = where or {}
    for column in (*columns, *where):
        if column not in rows.columns:
            raise RequestError(f"no column {column!r} in the rows{suggestion(column, rows.columns)}")
    usable = rows[rows["status"] == "ok"] if per_attack else rows.drop_duplicates("capture_id")
    for column, value in where.items():
        usable = usable[usable[column].astype(str) == value]
    if usable.empty:
        raise RequestError("no usable row is left")
    keys = [key for key in (_KEYS if per_attack else _KEYS[:3]) if key not in where]
    heads: list[str] = []
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for words, group in usable.groupby([*keys, *(("attack", "target") if per_attack else ())], sort=False):
        names = tuple(str(part) for part in words)
        line = lines.setdefault(names[: len(keys)], {})
        for column in columns:
            values = group.groupby("seed")[column].mean().dropna()
            head = " ".join((*names[len(keys) :], column))
            heads += [head] if head not in heads else []
            if not values.empty:
                line[head] = f"{values.mean():.3f} [{values.min():.3f}, {values.max():.3f}]"
            line["seeds"] = str(group["seed"].nunique())
    heads.append("seeds")
    table = ["| " + " | ".join([*keys, *heads]) + " |", "|" + "---|" * (len(keys) + len(heads))]
    table += [
        "| " + " | ".join([*key, *(line.get(h, "") for h in heads)]) + " |"
        for key, line in lines.items()
        if len(line) > 1  # more than a count of seeds: a victim may have none of the columns
    ]
    return "\n".join(table)


@click.command()
@click.argument("rows", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--metric", "metrics", multiple=True, default=("ssim",), show_default=True)
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Keep these rows, and leave the column out.")
@click.option("--utility", is_flag=True, help="Columns of the trained model instead of the attacks' scores.")
def main(rows: Path, metrics: tuple[str, ...], where: tuple[str, ...], utility: bool) -> None:
    """Summarise ROWS, a rows.csv, over seeds."""
    with one_sentence():
        pairs = [part.partition("=") for part in where]
        if any(not equals for _, equals, _ in pairs):
            raise RequestError("--where takes COLUMN=VALUE")
        try:
            frame = pandas.read_csv(rows, dtype={"withheld_from_view": str}).fillna({"withheld_from_view": ""})
        except (FileNotFoundError, pandas.errors.ParserError, UnicodeDecodeError) as error:
            raise DataError(f"{rows}: not a readable CSV file") from error
        chosen = {column: value for column, _, value in pairs}
        click.echo(summarise(frame, metrics, where=chosen, per_attack=not utility))


if __name__ == "__main__":
    main()
