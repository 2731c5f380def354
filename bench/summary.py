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

_KEYS = ["victim", "protocol", "defense", "withheld_from_view"]


def summarise(rows: pandas.DataFrame, columns: tuple[str, ...], *, per_attack: bool = True) -> str:
    """A Markdown table: one line per victim, protocol, defence and view; one column per attack, target and metric.

    Args:
        per_attack: otherwise the columns belong to the trained model and stand once a line.

    Raises:
        RequestError: a column is not in the rows.
    """
    for column in columns:
        if column not in rows.columns:
            raise RequestError(f"no column {column!r} in the rows{suggestion(column, rows.columns)}")
    usable = rows[rows["status"] == "ok"] if per_attack else rows.drop_duplicates("capture_id")
    if usable.empty:
        raise RequestError("no usable rows")
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    groups = [*_KEYS, "attack", "target"] if per_attack else _KEYS[:3]
    heads: list[str] = []
    for key, group in usable.groupby(groups, sort=False):
        words = tuple(str(part) for part in key)
        line = lines.setdefault(words[: len(_KEYS)], {})
        for column in columns:
            values = group.groupby("seed")[column].mean().dropna()
            if values.empty:
                continue
            head = f"{words[4]} {words[5]} {column}" if per_attack else column
            heads += [head] if head not in heads else []
            line[head] = f"{values.mean():.3f} [{values.min():.3f}, {values.max():.3f}]"
            line["seeds"] = str(len(values))
    keys = _KEYS if per_attack else _KEYS[:3]
    titles = [*keys, *heads, "seeds"]
    table = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    table += [
        "| " + " | ".join([*key, *(line.get(h, "") for h in [*heads, "seeds"])]) + " |" for key, line in lines.items()
    ]
    return "\n".join(table)


@click.command()
@click.argument("rows", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--metric", "metrics", multiple=True, default=("ssim",), show_default=True)
@click.option("--utility", is_flag=True, help="Columns of the trained model instead of the attacks' scores.")
def main(rows: Path, metrics: tuple[str, ...], utility: bool) -> None:
    """Summarise ROWS, a rows.csv, over seeds."""
    with one_sentence():
        try:
            frame = pandas.read_csv(rows, dtype={"withheld_from_view": str}).fillna({"withheld_from_view": ""})
        except (FileNotFoundError, pandas.errors.ParserError, UnicodeDecodeError) as error:
            raise DataError(f"{rows}: not a readable CSV file") from error
        click.echo(summarise(frame, metrics, per_attack=not utility))


if __name__ == "__main__":
    main()
