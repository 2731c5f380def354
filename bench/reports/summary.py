"""Summarises rows of several seeds in a Markdown table, for ``bench summary ROWS.CSV``.

Each cell is the mean over seeds with the lowest and the highest seed in brackets.
"""

from __future__ import annotations

import pandas

from bench.reports.markdown import table
from bench.util.errors import RequestError
from bench.util.text import suggestion

KEYS = ("victim", "protocol", "defense", "threat_model", "withheld_from_view")
_KEYS_IF_DIFFERENT = ("epochs", "n")
"""Columns that are keys too where the rows differ in them, since such rows have no common mean."""


def usable_rows(
    rows: pandas.DataFrame, columns: tuple[str, ...], *, where: dict[str, str], per_attack: bool
) -> tuple[pandas.DataFrame, list[str]]:
    """Return the rows that can be averaged over seeds, and the columns by which they are grouped.

    Args:
        rows: rows of one or several results directories.
        columns: the columns to average.
        where: required values by column; these columns form no groups.
        per_attack: whether the columns belong to the attacks; else they belong to the trained
            model, and one row of each model is kept.

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
    """Return a Markdown table with a line for each victim, protocol, defence and view.

    Args:
        rows: rows of a ledger; see :func:`bench.load_results`.
        columns: the columns to average, such as ``ssim``.
        where: required values by column; these columns are not shown.
        per_attack: show each column for each attack and target; else the columns belong to the
            trained model and are shown once.
        mark: set the largest mean of a line, target and metric in bold.

    Raises:
        RequestError: a column is not in the rows, or no row has the required values.
    """
    usable, keys = usable_rows(rows, columns, where=where or {}, per_attack=per_attack)
    heads: list[str] = []
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    means: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, float]] = {}
    for group_key, group in usable.groupby(
        [*keys, *(("attack", "target") if per_attack else ())], sort=False
    ):
        names = tuple(str(part) for part in group_key)
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
    for (names, _), of_line in means.items() if mark else ():
        largest = max(round(mean, 3) for mean in of_line.values())
        for head in (h for h, mean in of_line.items() if round(mean, 3) == largest):
            lines[names][head] = f"**{lines[names][head]}**"
    heads.append("seeds")
    body = [
        [*key, *(line.get(head, "") for head in heads)]
        for key, line in lines.items()
        if len(line) > 1  # a victim without the columns has a count of seeds only
    ]
    return "\n".join(table([*keys, *heads], body))
