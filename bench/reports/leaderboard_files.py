"""Writes a leaderboard as CSV with every number, as Markdown, and as a table for notebooks."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.ledger.reader import open_ledger
from bench.reports.comparability import SETTING, UNDEFENDED, ComparisonSetting, ledger_scores
from bench.reports.leaderboard import MEASURE, leaderboard
from bench.reports.markdown import escaped, table
from bench.reports.standing import Standing
from bench.util.errors import RequestError
from bench.util.files import write_reports
from bench.util.stats import Interval

if TYPE_CHECKING:
    import pandas

# fmt: off
_FIGURES = (
    "utility_fid", "utility_lpips", "utility_ssim", "utility_kid", "utility_condition_edge_f1",
    "utility_condition_ssim", "utility_prompt_score", "bytes_up", "bytes_down", "bytes_once",
    "client_seconds", "server_seconds", "attack_seconds", "peak_memory_mib", "ssim", "lpips",
    "identified",
)
# fmt: on
_MARKDOWN_FIGURES = {
    "utility_fid": "FID",
    "utility_lpips": "LPIPS",
    "utility_ssim": "SSIM",
    "utility_condition_edge_f1": "edge F1",
    "utility_prompt_score": "prompt",
    "bytes_up": "bytes up",
    "bytes_down": "bytes down",
    "leak_snr_mean": "SNR",
}


def write_leaderboard(
    results: Path,
    *,
    measure: str = MEASURE,
    reference: str = UNDEFENDED,
    show: Callable[[str], None] | None = None,
) -> list[Standing]:
    """Read the ledger under ``results`` and write ``leaderboard.csv`` and ``leaderboard.md`` there.

    Args:
        results: the results directory.
        measure: the preferred metric.
        reference: the defence to which others are compared.
        show: receives the Markdown where ``results`` is read-only.

    Returns:
        The standings by setting.

    Raises:
        RequestError: there is no ledger, or no attack applies to any row of it.
        NotWritableError: ``results`` is read-only, and ``show`` is None.
    """
    ledger = open_ledger(results)
    entries = leaderboard(
        ledger.rows(), ledger_scores(ledger), measure=measure, reference=reference
    )
    if not entries:
        raise RequestError(f"{results}: the ledger has no row to which an attack applies")
    markdown = as_markdown(entries, reference)
    write_reports(results, {"leaderboard.csv": as_csv(entries), "leaderboard.md": markdown}, show)
    return entries


def as_csv(entries: Sequence[Standing]) -> str:
    """Return a CSV file with one line for each entry; numbers have six significant digits."""
    frame = to_frame(entries)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows([_field(value) for value in line] for line in frame.to_numpy(dtype=object))
    return stream.getvalue()


def to_frame(entries: Sequence[Standing]) -> pandas.DataFrame:
    """Return a table with one line for each entry and the columns of ``leaderboard.csv``."""
    import pandas

    records = [_record(entry) | dict(entry.figures) for entry in entries]
    extra = sorted({name for entry in entries for name in entry.figures} - set(_FIGURES))
    first = [name for name in records[0] if name not in entries[0].figures] if records else []
    return pandas.DataFrame(records, columns=[*first, *_FIGURES, *extra])


def _record(entry: Standing) -> dict[str, str | float | None]:
    setting = {name: entry.setting[name] for name in SETTING}
    last = {name: setting.pop(name) for name in SETTING[SETTING.index("scale") + 1 :]}
    return {
        "rank": entry.rank,
        "defense": entry.defense,
        **setting,
        "model": entry.model,
        "partial": entry.partial,
        "attack": entry.attack,
        "attacks": entry.attacks,
        "metric": entry.measure,
        **_bounds("score", entry.score),
        **_bounds("normalized", entry.normalized),
        "of_reference": entry.of_reference,
        **_bounds("difference", entry.difference),
        "p_below": entry.p_below,
        "n": entry.n,
        "seeds": entry.seeds,
        "guarantee": entry.guarantee,
        "flags": " ".join(entry.flags),
        "origin": entry.origin,
        **last,
    }


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _field(value: str | float | None) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def as_markdown(entries: Sequence[Standing], reference: str) -> str:
    """Return a Markdown table for each setting, after the fields that all settings share."""
    settings = list(dict.fromkeys(entry.setting for entry in entries))
    lines = [
        "# Leaderboard",
        "",
        "Defences by their worst attack; rank 1 leaks least. Different tables are not comparable,",
        "and rows without a rank are partial. `normalized` is 0 for an attacker without a view and",
        "1 for the round trip of the model. `share` is relative to the worst case under",
        f"`{reference}`; `p` tests that the worst case is not below that one (Holm over the",
        "table). Brackets are 95 % intervals over seeds of the highest true mean over all attacks.",
        "See docs/leaderboard.md.",
        "",
        *_common_fields(settings),
    ]
    for setting in settings:
        lines += ["", f"## {escaped(setting.title())}", "", *_fields_of_setting(setting, settings)]
        lines += _table([entry for entry in entries if entry.setting == setting])
    return "\n".join(lines) + "\n"


_IN_TITLE = (
    "victim",
    "protocol",
    "threat_model",
    "withheld_from_view",
    "dataset",
    "target",
    "threat",
)


def _common_fields(settings: Sequence[ComparisonSetting]) -> list[str]:
    """Return a line with the fields that all settings have in common."""
    same = [
        n
        for n in SETTING
        if n not in _IN_TITLE and len({s[n] for s in settings}) == 1 and settings[0][n]
    ]
    return (
        ["All tables: " + ", ".join(f"{n} {escaped(settings[0][n])}" for n in same) + "."]
        if same
        else []
    )


def _fields_of_setting(
    setting: ComparisonSetting, settings: Sequence[ComparisonSetting]
) -> list[str]:
    """Return a line with the fields in which settings differ, except those of the title."""
    names = [n for n in SETTING if n not in _IN_TITLE and len({s[n] for s in settings}) > 1]
    return [", ".join(f"{n} {escaped(setting[n]) or '-'}" for n in names), ""] if names else []


def _table(entries: Sequence[Standing]) -> list[str]:
    figures = {
        name: head
        for name, head in _MARKDOWN_FIGURES.items()
        if any(name in entry.figures for entry in entries)
    }
    origins = any(entry.origin for entry in entries)
    heads = ["rank", "defence", "worst attack", entries[0].measure, "normalized", "share", "p"]
    heads += [*figures.values(), "guarantee", "n", "seeds", "flags"]
    rows = []
    for entry in entries:
        cells = [
            str(entry.rank) if entry.rank is not None else f"partial: {entry.partial}",
            entry.defense,
            f"{entry.attack} ({entry.attacks})",
            _interval(entry.score),
            _interval(entry.normalized),
            _rounded(entry.of_reference, 2),
            _rounded(entry.p_below, 4),
            *(_figure(entry.figures, name) for name in figures),
            entry.guarantee,
            str(entry.n),
            str(entry.seeds),
            ", ".join(entry.flags),
            *([entry.origin] if origins else []),
        ]
        rows.append([escaped(cell) for cell in cells])
    return table([*heads, *(["origin"] if origins else [])], rows)


def _interval(interval: Interval) -> str:
    if math.isnan(interval.mean):
        return ""
    low, high = (_rounded(end, 3) or "-" for end in (interval.low, interval.high))
    return f"{interval.mean:.3f} [{low}, {high}]"


def _figure(figures: Mapping[str, float], name: str) -> str:
    value = figures.get(name, math.nan)
    return _rounded(value, 0 if name.startswith("bytes") else 1 if name == "utility_fid" else 3)


def _rounded(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
