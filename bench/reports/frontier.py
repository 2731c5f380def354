"""What each defence leaves to its worst attack, beside what it costs in quality: the privacy-utility frontier."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

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
from bench.reports.leaderboard import MEASURE, Standing, leaderboard
from bench.types.targets import TARGETS
from bench.util.stats import Interval, mean_interval


@dataclass(frozen=True)
class Quality:
    """What a defended model is worth, as a share of the reference's.

    Attributes:
        column: of a row.
        goal: the share within which a defence is cheap.
        less_is_better: the share is to be at most the goal, not at least.
    """

    column: str
    title: str
    goal: float
    less_is_better: bool = False

    def met(self, share: float) -> bool:
        """Whether the share is within the goal."""
        return share <= self.goal if self.less_is_better else share >= self.goal

    def loss(self, share: float) -> float:
        """For comparison: the smaller, the better."""
        return share if self.less_is_better else -share


QUALITIES = (
    Quality("utility_fid", "FID", 1.10, less_is_better=True),
    Quality("utility_condition_edge_f1", "edge F1", 0.95),
    Quality("utility_accuracy", "accuracy", 0.95),
)
"""Of a generator its distribution and its fidelity to the condition; of a classifier its accuracy."""

LEARNED_QUALITY = QUALITIES[1]
"""The quality of which it is told how much of it was learnt. FID moves too little in short trainings."""
UNTRAINED_RATE = 1e-8
"""A run with a smaller learning rate shows what the model is worth before it learns."""
AT_CEILING = 0.995
"""So large a leak leaves nothing for attacks that were not run."""
UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Leak:
    """What the worst attack on one target gets.

    Attributes:
        normalized: 0 an attacker who saw nothing, 1 the round trip.
        partial: why more may leak than the number says; empty where nothing does so, as at the
            ceiling.
    """

    attack: str
    normalized: Interval
    partial: str

    @property
    def at_floor(self) -> bool:
        """Not told apart from an attacker who saw nothing."""
        return not self.partial and self.normalized.low <= 0.0


@dataclass(frozen=True)
class FrontierPoint:
    """One defence under one view.

    Attributes:
        view: the threat model, and what is withheld from it; then what else differs between tables
            of that view, such as how many records were attacked or how long training took.
        leaks: by target.
        costs: each quality that the victim has, of the reference's, seed by seed; NaN without a
            reference.
        learnt: how far from the untrained model (0) to the reference (1) condition fidelity has
            come; NaN unless the ledger has a run of the reference at a learning rate of at most
            ``UNTRAINED_RATE``.
        best: no other defence of the view leaks no more at no more cost.
        unproven: targets that the attacks do not get off the reference either, or that it was not
            attacked for: a floor there says nothing for a defence.
    """

    victim: str
    protocol: str
    view: str
    defense: str
    leaks: Mapping[str, Leak]
    costs: Mapping[Quality, Interval]
    seeds: int
    learned: Interval = UNKNOWN
    best: bool = False
    unproven: tuple[str, ...] = ()

    @property
    def table(self) -> tuple[str, str, str]:
        """What it shares with the defences that it is compared with: victim, protocol, view."""
        return self.victim, self.protocol, self.view

    @property
    def worst(self) -> float:
        """The highest leak over targets; at the floor is 0."""
        return max(
            (0.0 if leak.at_floor else leak.normalized.mean for leak in self.leaks.values()),
            default=math.nan,
        )

    @property
    def complete(self) -> bool:
        """Whether every leak is one to rely on."""
        return all(not leak.partial for leak in self.leaks.values())

    @property
    def cheap(self) -> bool:
        """Whether the means are within the goals."""
        return all(quality.met(share.mean) for quality, share in self.costs.items())

    @property
    def reaches_goal(self) -> bool:
        """Nothing above the floor that the attacks get off the reference, at no more cost than the goals allow."""
        return self.complete and self.cheap and self.worst == 0.0 and not self.unproven


def frontier(
    rows: Iterable[Row], read: ScoreReader, *, measure: str = MEASURE, reference: str = UNDEFENDED
) -> list[FrontierPoint]:
    """Every defence that has a picture attacked and its quality measured, by view, the least
    leaking first.

    Args:
        rows: of a ledger.
        read: scores by record.
        measure: as of a leaderboard.
        reference: the defence whose quality others are held against; it must be in the ledger at
            the same seeds.
    """
    everything = list(rows)
    start = _by_seed(
        filter(_is_untrained, everything), LEARNED_QUALITY.column, (*_VIEW, *_TRAINING)
    )
    listed = [row for row in everything if not _is_untrained(row)]
    measured = {quality: _by_seed(listed, quality.column) for quality in QUALITIES}
    groups: dict[tuple[tuple[str, ...], str], list[Standing]] = {}
    for entry in leaderboard(listed, read, measure=measure, reference=reference):
        if entry.setting["target"] in TARGETS:
            groups.setdefault((entry.setting.without("target"), entry.defense), []).append(entry)
    suffixes = _suffixes([entries[0].setting for entries in groups.values()])
    points = []
    for (_, defense), entries in groups.items():
        setting, known = entries[0].setting, [e for e in entries if e.attack]
        key = setting.without(*_VIEW)
        costs = {
            quality: _share(values[key, defense], values.get((key, reference), {}))
            for quality, values in measured.items()
            if (key, defense) in values
        }
        if not known or not costs:
            continue
        points.append(
            FrontierPoint(
                victim=setting["victim"],
                protocol=setting["protocol"],
                view=setting.view + suffixes[setting.without("target")],
                defense=defense,
                leaks={e.setting["target"]: _leak(e) for e in known},
                costs=costs,
                seeds=min(e.seeds for e in known),
                learned=_share(
                    measured[LEARNED_QUALITY].get((key, defense), {}),
                    measured[LEARNED_QUALITY].get((key, reference), {}),
                    start.get((setting.without(*_VIEW, *_TRAINING), reference), {}),
                ),
            )
        )
    return sorted(_marked(points, reference), key=lambda p: (*p.table, p.worst, *_losses(p)))


def _losses(point: FrontierPoint) -> tuple[float, ...]:
    return tuple(quality.loss(share.mean) for quality, share in point.costs.items())


_NAMED = {
    "targets": "{} targets",
    "epochs": "{} epochs",
    "records_victim": "{} records",
    "dataset": "{}",
}
"""What tables of one view may differ in, and how it is put; the rest as ``name value``."""


def _suffixes(settings: Sequence[ComparisonSetting]) -> dict[tuple[str, ...], str]:
    """By setting, what tells it from others of the same victim, protocol and view."""
    groups: dict[tuple[str, ...], list[ComparisonSetting]] = {}
    for setting in settings:
        groups.setdefault((setting["victim"], setting["protocol"], setting.view), []).append(
            setting
        )
    found = {}
    for members in groups.values():
        differing = [n for n in SETTING if n not in _UNNAMED and len({m[n] for m in members}) > 1]
        for member in members:
            words = [
                _NAMED.get(n, n.replace("_", " ") + " {}").format(member[n]) for n in differing
            ]
            found[member.without("target")] = "".join(f", {word}" for word in words)
    return found


_UNNAMED = ("target", "victim", "protocol", "threat_model", "withheld_from_view", "threat")


def _leak(entry: Standing) -> Leak:
    return Leak(
        entry.attack, entry.normalized, "" if entry.normalized.mean >= AT_CEILING else entry.partial
    )


_VIEW = ("target", "threat_model", "withheld_from_view", "threat", "targets", "epoch")
"""Who looks, and at what: all else of a setting is what the quality of a model depends on."""


def _is_untrained(row: Row) -> bool:
    return number(row.get("learning_rate")) <= UNTRAINED_RATE


_TRAINING = ("epochs", "learning_rate")
"""How long and how fast: what an untrained model may differ in from those it is held against."""


def _by_seed(
    rows: Iterable[Row], name: str, apart_from: Sequence[str] = _VIEW
) -> dict[tuple[tuple[str, ...], str], dict[int, float]]:
    """A model's quality by its setting, ``apart_from`` some of it, defence and seed; of several runs the newest."""
    found: dict[tuple[tuple[str, ...], str], dict[int, float]] = {}
    for row in sorted(rows, key=lambda r: text(r.get("created"))):
        value = number(row.get(name))
        if not math.isnan(value):
            found.setdefault((setting_from_row(row).without(*apart_from), str(row["defense"])), {})[
                int(row["seed"])
            ] = value
    return found


def _share(
    values: Mapping[int, float],
    against: Mapping[int, float],
    start: Mapping[int, float] | None = None,
) -> Interval:
    """(value - start) / (reference - start), the mean over seeds that have all of them; NaN where
    none has.

    Args:
        start: 0 at every seed unless told.
    """
    zero = dict.fromkeys(against, 0.0) if start is None else start
    shared = [s for s in sorted(values) if s in against and s in zero and against[s] != zero[s]]
    if not shared:
        return UNKNOWN
    return mean_interval([(values[s] - zero[s]) / (against[s] - zero[s]) for s in shared], seed=0)


def _marked(points: Sequence[FrontierPoint], reference: str) -> list[FrontierPoint]:
    shown = {
        (*p.table, target)
        for p in points
        if p.defense == reference
        for target, leak in p.leaks.items()
        if not leak.at_floor
    }
    return [
        replace(
            p,
            best=p.complete and not any(_beats(q, p) for q in points),
            unproven=tuple(t for t in p.leaks if (*p.table, t) not in shown),
        )
        for p in points
    ]


def _beats(one: FrontierPoint, other: FrontierPoint) -> bool:
    """At least as good in leak and in every quality, and better in one of them, under the same view."""
    if one.table != other.table or not one.complete:
        return False
    if set(one.leaks) != set(other.leaks) or set(one.costs) != set(other.costs):
        return False
    mine, others = (one.worst, *_losses(one)), (other.worst, *_losses(other))
    return all(a <= b for a, b in zip(mine, others, strict=True)) and mine != others
