"""Reports as DataFrames: the leaderboard, the frontier, and means over seeds."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import pandas

from bench.api.rows import LEDGER, RESULTS, PathText, load_results
from bench.ledger.reader import open_ledger
from bench.reports import frontier_files, leaderboard_files
from bench.reports.comparability import UNDEFENDED, Row, ScoreReader, ledger_scores
from bench.reports.frontier import frontier as frontier_points
from bench.reports.leaderboard import MEASURE
from bench.reports.leaderboard import leaderboard as standings
from bench.reports.markdown import table
from bench.reports.summary import usable_rows
from bench.util.errors import RequestError


class HasRows(Protocol):
    """What :func:`bench.run` returns, as far as tables need it."""

    @property
    def rows(self) -> pandas.DataFrame:
        """The rows of its cells."""


class ReportTable(pandas.DataFrame):
    """A DataFrame that also writes itself as a Markdown table, without further packages."""

    @property
    def _constructor(self) -> type[ReportTable]:
        return ReportTable

    def to_markdown(self, digits: int = 3) -> str:  # type: ignore[override]
        """Return the table in Markdown.

        Args:
            digits: decimal places of numbers that are not whole.

        Example:
            >>> print(ReportTable({"defence": ["none"], "ssim": [0.90485]}).to_markdown())
            | defence | ssim |
            |---|---|
            | none | 0.905 |
        """
        lines = [[_text(value, digits) for value in line] for line in self.itertuples(index=False)]
        heads = [str(name) for name in self.columns]
        return "\n".join(table(heads, lines))


def leaderboard(
    source: pandas.DataFrame | HasRows | PathText,
    *,
    metric: str = MEASURE,
    against: str = UNDEFENDED,
) -> ReportTable:
    """Return each defence with its worst attack, ranked within settings that may be compared.

    Args:
        source: rows of :func:`bench.load_results`, what :func:`bench.run` returned, or a path that
            ``load_results`` reads. Intervals and tests use scores record by record where a ledger
            has them, and the means of seeds elsewhere.
        metric: ranks the defences; settings without it use the first metric that they have.
        against: the defence that others are compared with.

    Returns:
        The columns of ``leaderboard.csv``; ``rank`` 1 leaks least, and is NaN where rows of the
        defence are missing.

    Raises:
        RequestError: there is no row to which an attack applies.
        DataError: a row lacks a field.

    Example:
        >>> bench.leaderboard("results")[["rank", "defense", "attack"]]  # doctest: +SKIP
    """
    rows, read = _rows_and_scores(source)
    entries = standings(rows, read, measure=metric, reference=against)
    if not entries:
        raise RequestError("the leaderboard is empty: no row has an attack that applies")
    return _from_csv(leaderboard_files.as_csv(entries))


def frontier(
    source: pandas.DataFrame | HasRows | PathText,
    *,
    metric: str = MEASURE,
    against: str = UNDEFENDED,
) -> ReportTable:
    """Return the leak of each defence's worst attack beside the quality that its victim keeps.

    Args:
        source: as for :func:`leaderboard`.
        metric: measures the leak.
        against: the defence whose quality counts as 1.

    Returns:
        The columns of ``frontier.csv``.

    Raises:
        RequestError: there is no row to which an attack applies.
        DataError: a row lacks a field.

    Example:
        >>> bench.frontier("results")  # doctest: +SKIP
    """
    rows, read = _rows_and_scores(source)
    points = frontier_points(rows, read, measure=metric, reference=against)
    if not points:
        raise RequestError("the frontier is empty: no row has an attack that applies")
    return _from_csv(frontier_files.as_csv(points))


def summary(
    source: pandas.DataFrame | HasRows | PathText,
    metric: str | Sequence[str] = MEASURE,
    *,
    where: Mapping[str, str] | None = None,
    utility: bool = False,
) -> ReportTable:
    """Return means over seeds, with the lowest and the highest seed.

    Args:
        source: as for :func:`leaderboard`.
        metric: one column of numbers or several, such as ``ssim`` or ``utility_fid``.
        where: values that rows must have, by column.
        utility: the columns belong to the trained model and not to its attacks.

    Returns:
        One row for each victim, protocol, defence, view, attack and target: ``<metric>``,
        ``<metric>_low``, ``<metric>_high`` and ``seeds``.

    Raises:
        RequestError: a column is unknown, or no row is left.
        DataError: the source is damaged.

    Example:
        >>> bench.summary("results", "ssim", where={"target": "image"})  # doctest: +SKIP
    """
    metrics = (metric,) if isinstance(metric, str) else tuple(metric)
    rows, keys = usable_rows(
        rows_of(source), metrics, where=dict(where or {}), per_attack=not utility
    )
    keys = [*keys, *([] if utility else ["attack", "target"])]
    lines = []
    for names, group in rows.groupby(keys, sort=False):
        line: dict[str, Any] = dict(zip(keys, names, strict=True))
        for column in metrics:
            seeds = group.groupby("seed")[column].mean().dropna()
            line |= {
                column: seeds.mean(),
                f"{column}_low": seeds.min(),
                f"{column}_high": seeds.max(),
            }
        lines.append({**line, "seeds": group["seed"].nunique()})
    return ReportTable(lines).dropna(subset=list(metrics), how="all").reset_index(drop=True)


def rows_of(source: pandas.DataFrame | HasRows | PathText) -> pandas.DataFrame:
    """Return the rows of a DataFrame (itself), of results, or of a path."""
    if isinstance(source, pandas.DataFrame):
        return source
    return load_results(source) if isinstance(source, str | PathLike) else source.rows


def _rows_and_scores(
    source: pandas.DataFrame | HasRows | PathText,
) -> tuple[list[Row], ScoreReader]:
    """Return rows with their fields, and what reads their scores record by record."""
    frame = rows_of(source)
    rows: list[Row] = [
        {str(name): value for name, value in row.items() if value == value and value != ""}
        for row in frame.to_dict("records")
    ]
    results = frame.attrs.get(RESULTS)
    if results is not None and (Path(results) / LEDGER).exists():
        return rows, ledger_scores(open_ledger(Path(results)))
    return rows, lambda cell_id, target, metric: {}


def _from_csv(text: str) -> ReportTable:
    return ReportTable(pandas.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""]))


def _text(value: object, digits: int) -> str:
    """Return a cell of a Markdown table; a missing value is empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.{digits}f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
