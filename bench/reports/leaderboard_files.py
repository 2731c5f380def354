"""Writes a leaderboard as CSV, with every number, and as Markdown, for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.ledger.reader import open_ledger
from bench.reports.comparability import SETTING, UNDEFENDED, ComparisonSetting, ledger_scores
from bench.reports.leaderboard import MEASURE, Standing, leaderboard
from bench.util.errors import RequestError
from bench.util.files import write_reports
from bench.util.stats import Interval

_FIGURES = (
    *("utility_fid", "utility_lpips", "utility_ssim", "utility_kid", "utility_condition_edge_f1"),
    *("utility_condition_ssim", "utility_prompt_score", "bytes_up", "bytes_down", "bytes_once"),
    *(
        "client_seconds",
        "server_seconds",
        "attack_seconds",
        "peak_memory_mib",
        "ssim",
        "lpips",
        "identified",
    ),
)
_SHOWN = {
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
    """Read the ledger under ``results`` and write ``leaderboard.csv`` and ``leaderboard.md`` beside
    it.

    Args:
        show: takes the Markdown where ``results`` cannot be written.

    Raises:
        RequestError: there is no ledger, or nothing in it that could be shown.
        NotWritableError: ``results`` cannot be written, and there is no ``show``.
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
    """One line an entry; numbers to six decimals, empty where there is none."""
    lines = [_record(entry) for entry in entries]
    extra = sorted({name for entry in entries for name in entry.figures} - set(_FIGURES))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*lines[0], *_FIGURES, *extra], restval="", lineterminator="\n")
    writer.writeheader()
    for entry, line in zip(entries, lines, strict=True):
        writer.writerow(line | {name: _number(value) for name, value in entry.figures.items()})
    return stream.getvalue()


def _record(entry: Standing) -> dict[str, str]:
    setting = {name: entry.setting[name] for name in SETTING}
    last = {name: setting.pop(name) for name in SETTING[SETTING.index("scale") + 1 :]}
    return {
        "rank": "" if entry.rank is None else str(entry.rank),
        "defense": entry.defense,
        **setting,
        "model": entry.model,
        "partial": entry.partial,
        "attack": entry.attack,
        "attacks": entry.attacks,
        "metric": entry.measure,
        **_bounds("score", entry.score),
        **_bounds("normalized", entry.normalized),
        "of_reference": _number(entry.of_reference),
        **_bounds("difference", entry.difference),
        "p_below": _number(entry.p_below),
        "n": str(entry.n),
        "seeds": str(entry.seeds),
        "guarantee": entry.guarantee,
        "flags": " ".join(entry.flags),
        "origin": entry.origin,
        **last,
    }


def _bounds(name: str, interval: Interval) -> dict[str, str]:
    return {
        name: _number(interval.mean),
        f"{name}_low": _number(interval.low),
        f"{name}_high": _number(interval.high),
    }


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def as_markdown(entries: Sequence[Standing], reference: str) -> str:
    """One table a setting; what all settings share stands once at the top."""
    settings = list(dict.fromkeys(entry.setting for entry in entries))
    lines = [
        "# Leaderboard",
        "",
        "Each defence by its worst attack; rank 1 leaks least. Tables are never ranked against each other, and rows",
        "without a rank are partial. `normalized`: 0 an attacker who saw nothing, 1 the model's own round trip;",
        f"`share`: of the worst case under `{reference}`; `p`: of its not being below that one, Holm over the table.",
        "Brackets are 95 % intervals over seeds, of the highest true mean over all attacks. See docs/leaderboard.md.",
        "",
        *_shared(settings),
    ]
    for setting in settings:
        lines += ["", f"## {_escaped(setting.title())}", "", *_differing(setting, settings)]
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


def _shared(settings: Sequence[ComparisonSetting]) -> list[str]:
    """The fields that all settings have in common."""
    same = [
        n
        for n in SETTING
        if n not in _IN_TITLE and len({s[n] for s in settings}) == 1 and settings[0][n]
    ]
    return (
        ["All tables: " + ", ".join(f"{n} {_escaped(settings[0][n])}" for n in same) + "."]
        if same
        else []
    )


def _differing(setting: ComparisonSetting, settings: Sequence[ComparisonSetting]) -> list[str]:
    """The fields outside the title in which this setting differs from some other."""
    names = [n for n in SETTING if n not in _IN_TITLE and len({s[n] for s in settings}) > 1]
    return [", ".join(f"{n} {_escaped(setting[n]) or '-'}" for n in names), ""] if names else []


def _table(entries: Sequence[Standing]) -> list[str]:
    figures = {
        name: head
        for name, head in _SHOWN.items()
        if any(name in entry.figures for entry in entries)
    }
    origins = any(entry.origin for entry in entries)
    heads = [
        "rank",
        "defence",
        "worst attack",
        entries[0].measure,
        "normalized",
        "share",
        "p",
        *figures.values(),
    ]
    heads += ["guarantee", "n", "seeds", "flags", *(["origin"] if origins else [])]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for entry in entries:
        rank = str(entry.rank) if entry.rank is not None else f"partial: {entry.partial}"
        cells = [
            rank,
            entry.defense,
            f"{entry.attack} ({entry.attacks})",
            _shown(entry.score),
            _shown(entry.normalized),
        ]
        cells += [_short(entry.of_reference, 2), _short(entry.p_below, 4)]
        cells += [_figure(entry.figures, name) for name in figures]
        cells += [entry.guarantee, str(entry.n), str(entry.seeds), ", ".join(entry.flags)]
        cells += [entry.origin] if origins else []
        lines.append("| " + " | ".join(_escaped(cell) for cell in cells) + " |")
    return lines


def _shown(interval: Interval) -> str:
    if math.isnan(interval.mean):
        return ""
    low, high = (_short(end, 3) or "-" for end in (interval.low, interval.high))
    return f"{interval.mean:.3f} [{low}, {high}]"


def _figure(figures: Mapping[str, float], name: str) -> str:
    value = figures.get(name, math.nan)
    return _short(value, 0 if name.startswith("bytes") else 1 if name == "utility_fid" else 3)


def _short(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _escaped(cell: str) -> str:
    """Text that can start neither a cell, a tag nor a link."""
    for sign, safe in (("|", "\\|"), ("<", "&lt;"), ("\n", " "), ("\r", " ")):
        cell = cell.replace(sign, safe)
    return cell
