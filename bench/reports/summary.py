"""``bench summary ROWS.CSV``: rows of several seeds as one Markdown table.

Each cell is the mean over seeds with the lowest and highest seed in brackets.
"""

from __future__ import annotations

import pandas

from bench.util.errors import RequestError
from bench.util.text import suggestion

KEYS = ("victim", "protocol", "defense", "threat_model", "withheld_from_view")
_KEYS_IF_DIFFERENT = ("epochs", "n")
"""Columns that get a place of their own where kept rows differ in them: their means are not of one thing."""


def usable_rows(
    rows: pandas.DataFrame, columns: tuple[str, ...], *, where: dict[str, str], per_attack: bool
) -> tuple[pandas.DataFrame, list[str]]:
    """Return the rows that can be averaged over seeds, and the columns that tell groups apart.

    Args:
        rows: of one or several results directories.
        columns: that will be averaged.
        where: values that rows must have; a column so fixed separates no groups.
        per_attack: the columns belong to the attacks; otherwise to the trained model, of which one
            row is kept.

    Raises:
        RequestError: a column is not in the rows, or no row is left.
    """
    for column in (*columns, *where):
        if column not in rows.columns:
            raise RequestError(
                f"no column {column!r} in the rows{suggestion(column, rows.columns)}"
            )
    usable = rows[rows["status"] == "ok"] if per_attack else rows.drop_duplicates("capture_id")
    for column, value in where.items():
        usable = usable[usable[column].astype(str) == value]
    if usable.empty:
        raise RequestError("no usable row is left")
    keys = [key for key in (KEYS if per_attack else KEYS[:3]) if key not in where]
    if per_attack:
        seen = usable.dropna(subset=list(columns), how="all")
        keys += [key for key in _KEYS_IF_DIFFERENT if key in seen and seen[key].nunique() > 1]
    return usable, keys


def summarise(
    rows: pandas.DataFrame,
    columns: tuple[str, ...],
    *,
    where: dict[str, str] | None = None,
    per_attack: bool = True,
    mark: bool = False,
) -> str:
    """A Markdown table: one line per victim, protocol, defence and view; one column per attack,
    target and metric.

    Args:
        where: values that rows must have; a column so fixed is not shown.
        per_attack: otherwise the columns belong to the trained model and stand once a line.
        mark: the attack with the largest mean of a line, target and metric in bold.

    Raises:
        RequestError: a column is not in the rows, or no row is left.
    """
    usable, keys = usable_rows(rows, columns, where=where or {}, per_attack=per_attack)
    heads: list[str] = []
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    means: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, float]] = {}
    for words, group in usable.groupby(
        [*keys, *(("attack", "target") if per_attack else ())], sort=False
    ):
        names = tuple(str(part) for part in words)
        line = lines.setdefault(names[: len(keys)], {})
        for column in columns:
            values = group.groupby("seed")[column].mean().dropna()
            head = " ".join((*names[len(keys) :], column))
            heads += [head] if head not in heads else []
            if not values.empty:
                line[head] = f"{values.mean():.3f} [{values.min():.3f}, {values.max():.3f}]"
                means.setdefault((names[: len(keys)], (*names[len(keys) + 1 :], column)), {})[
                    head
                ] = values.mean()
            line["seeds"] = str(group["seed"].nunique())
    for (names, _), found in means.items() if mark else ():
        largest = max(round(mean, 3) for mean in found.values())
        for head in (h for h, mean in found.items() if round(mean, 3) == largest):
            lines[names][head] = f"**{lines[names][head]}**"
    heads.append("seeds")
    table = ["| " + " | ".join([*keys, *heads]) + " |", "|" + "---|" * (len(keys) + len(heads))]
    table += [
        "| " + " | ".join([*key, *(line.get(h, "") for h in heads)]) + " |"
        for key, line in lines.items()
        if len(line) > 1  # more than a count of seeds: a victim may have none of the columns
    ]
    return "\n".join(table)
