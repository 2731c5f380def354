"""Computes the privacy-utility frontier: the leak of each defence beside its cost in quality."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bench.reports.comparability import (
    SETTING,
    UNDEFENDED,
    ComparisonSetting,
    Row,
    ScoreReader,
    number,
    setting_from_row,
    text,
)
from bench.reports.frontier_point import (
    AT_CEILING,
    LEARNED_QUALITY,
    QUALITIES,
    UNKNOWN,
    UNTRAINED_RATE,
    FrontierPoint,
    Leak,
)
from bench.reports.leaderboard import MEASURE, leaderboard
from bench.reports.standing import Standing
from bench.types.targets import TARGETS
from bench.util.stats import Interval, mean_interval


def frontier(
    rows: Iterable[Row], read: ScoreReader, *, measure: str = MEASURE, reference: str = UNDEFENDED
) -> list[FrontierPoint]:
    """Return a point for every defence with an attacked picture and a measured quality.

    Points are sorted by table and rising leak.

    Args:
        rows: rows of a ledger.
        read: reads scores by record.
        measure: the preferred metric, as in :func:`bench.reports.leaderboard.leaderboard`.
        reference: the defence to whose quality others are compared; the ledger must have it at
            equal seeds.
    """
    all_rows = list(rows)
    untrained = _by_seed(
        filter(_is_untrained, all_rows), LEARNED_QUALITY.column, (*_VIEW, *_TRAINING)
    )
    trained = [row for row in all_rows if not _is_untrained(row)]
    measured = {quality: _by_seed(trained, quality.column) for quality in QUALITIES}
    groups: dict[tuple[tuple[str, ...], str], list[Standing]] = {}
    for entry in leaderboard(trained, read, measure=measure, reference=reference):
        if entry.setting["target"] in TARGETS:
            groups.setdefault((entry.setting.without("target"), entry.defense), []).append(entry)
    suffixes = _suffixes([entries[0].setting for entries in groups.values()])
    points = []
    for (_, defense), entries in groups.items():
        setting, attacked = entries[0].setting, [e for e in entries if e.attack]
        key = setting.without(*_VIEW)
        costs = {
            quality: _share(values[key, defense], values.get((key, reference), {}))
            for quality, values in measured.items()
            if (key, defense) in values
        }
        if not attacked or not costs:
            continue
        points.append(
            FrontierPoint(
                victim=setting["victim"],
                protocol=setting["protocol"],
                view=setting.view + suffixes[setting.without("target")],
                defense=defense,
                leaks={e.setting["target"]: _leak(e) for e in attacked},
                costs=costs,
                seeds=min(e.seeds for e in attacked),
                learned=_share(
                    measured[LEARNED_QUALITY].get((key, defense), {}),
                    measured[LEARNED_QUALITY].get((key, reference), {}),
                    untrained.get((setting.without(*_VIEW, *_TRAINING), reference), {}),
                ),
            )
        )
    return sorted(_mark_best(points, reference), key=lambda p: (*p.table, p.worst, *_losses(p)))


def _losses(point: FrontierPoint) -> tuple[float, ...]:
    return tuple(quality.loss(share.mean) for quality, share in point.costs.items())


_SUFFIX_FORMATS = {
    "targets": "{} targets",
    "epochs": "{} epochs",
    "records_victim": "{} records",
    "dataset": "{}",
}
"""Formats of fields in which tables of one view differ; other fields read ``name value``."""


def _suffixes(settings: Sequence[ComparisonSetting]) -> dict[tuple[str, ...], str]:
    """Return for each setting the fields in which the tables of its view differ, as text."""
    groups: dict[tuple[str, ...], list[ComparisonSetting]] = {}
    for setting in settings:
        groups.setdefault((setting["victim"], setting["protocol"], setting.view), []).append(
            setting
        )
    suffixes = {}
    for members in groups.values():
        differing = [n for n in SETTING if n not in _UNNAMED and len({m[n] for m in members}) > 1]
        for member in members:
            parts = [
                _SUFFIX_FORMATS.get(n, n.replace("_", " ") + " {}").format(member[n])
                for n in differing
            ]
            suffixes[member.without("target")] = "".join(f", {word}" for word in parts)
    return suffixes


_UNNAMED = ("target", "victim", "protocol", "threat_model", "withheld_from_view", "threat")


def _leak(entry: Standing) -> Leak:
    return Leak(
        entry.attack, entry.normalized, "" if entry.normalized.mean >= AT_CEILING else entry.partial
    )


_VIEW = ("target", "threat_model", "withheld_from_view", "threat", "targets", "epoch")
"""Fields on the attacker; the quality of a model depends on the other fields of a setting."""


def _is_untrained(row: Row) -> bool:
    return number(row.get("learning_rate")) <= UNTRAINED_RATE


_TRAINING = ("epochs", "learning_rate")
"""Fields in which the untrained model may differ from the models that it is compared with."""


def _by_seed(
    rows: Iterable[Row], name: str, ignoring: Sequence[str] = _VIEW
) -> dict[tuple[tuple[str, ...], str], dict[int, float]]:
    """Return a quality by setting (``ignoring`` some of its fields), defence and seed.

    The newest of several runs counts.
    """
    by_seed: dict[tuple[tuple[str, ...], str], dict[int, float]] = {}
    for row in sorted(rows, key=lambda r: text(r.get("created"))):
        value = number(row.get(name))
        if not math.isnan(value):
            by_seed.setdefault((setting_from_row(row).without(*ignoring), str(row["defense"])), {})[
                int(row["seed"])
            ] = value
    return by_seed


def _share(
    values: Mapping[int, float],
    reference: Mapping[int, float],
    zero_points: Mapping[int, float] | None = None,
) -> Interval:
    """Return the mean of ``(value - zero) / (reference - zero)`` over seeds that have all three.

    Args:
        values: the quality by seed.
        reference: the quality of the reference by seed.
        zero_points: the quality that counts as 0 by seed; None is 0 at every seed.

    Returns:
        The mean with its interval; NaN where no seed has all values.
    """
    origin = dict.fromkeys(reference, 0.0) if zero_points is None else zero_points
    shared = [
        s for s in sorted(values) if s in reference and s in origin and reference[s] != origin[s]
    ]
    if not shared:
        return UNKNOWN
    return mean_interval(
        [(values[s] - origin[s]) / (reference[s] - origin[s]) for s in shared], seed=0
    )


def _mark_best(points: Sequence[FrontierPoint], reference: str) -> list[FrontierPoint]:
    recoverable = {
        (*p.table, target)
        for p in points
        if p.defense == reference
        for target, leak in p.leaks.items()
        if not leak.at_floor
    }
    return [
        replace(
            p,
            best=p.complete and not any(_dominates(q, p) for q in points),
            unproven=tuple(t for t in p.leaks if (*p.table, t) not in recoverable),
        )
        for p in points
    ]


def _dominates(first: FrontierPoint, second: FrontierPoint) -> bool:
    """Return whether ``first`` is no worse in leak and every quality, and better in one of them."""
    if first.table != second.table or not first.complete:
        return False
    if set(first.leaks) != set(second.leaks) or set(first.costs) != set(second.costs):
        return False
    losses, other_losses = (first.worst, *_losses(first)), (second.worst, *_losses(second))
    return all(a <= b for a, b in zip(losses, other_losses, strict=True)) and losses != other_losses
