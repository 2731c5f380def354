"""Each defence by its worst attack, within settings whose numbers may be compared."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.interfaces.certificate import MISSED
from bench.interfaces.consulted_defense import PREFIX
from bench.reports.comparability import (
    NOT_A_FAILURE,
    UNDEFENDED,
    AttackBudget,
    Row,
    ScoreReader,
    Setting,
    Trial,
    choose_measure,
    number,
    seed_scores,
    short_model,
    text,
    trials,
)
from bench.reports.seed_statistics import SEEDS, SeedScores, p_worst_below, worst_case
from bench.util.stats import Interval, holm

MEASURE = "ssim"

_NOTHING = Interval(math.nan, math.nan, math.nan)
_PER_CAPTURE = ("utility_", "bytes_", "leak_")
_COSTS = ("client_seconds", "server_seconds", "peak_memory_mib")


@dataclass(frozen=True)
class Standing:
    """One defence in one setting.

    Attributes:
        rank: 1 leaks least; equal to three decimals is equal rank; None where the row is partial.
        partial: why it is not ranked, empty where it is.
        measure: the metric of ``score``.
        attack: the worst one.
        score: of the worst attack, as the metric gives it; bounds of the highest over all attacks.
        normalized: the same between the controls: 0 an attacker who saw nothing, 1 the round trip.
        of_reference: ``normalized`` as a share of the reference defence's (by default the
            undefended victim's).
        difference: ``normalized`` minus the reference's, each at its worst attack, paired by seed
            and record.
        p_below: Holm-adjusted, that the worst case is not below the reference's.
        attacks: how many attacks of the setting's family have scores here, as ``2/2``.
        figures: means over seeds of utility, bytes, costs, and the worst attack's other metrics.
    """

    setting: Setting
    defense: str
    model: str
    rank: int | None
    partial: str
    measure: str
    attack: str
    score: Interval
    normalized: Interval
    of_reference: float
    difference: Interval
    p_below: float
    attacks: str
    n: int
    seeds: int
    guarantee: str
    flags: tuple[str, ...]
    origin: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A defence's evidence before it is compared with others."""

    trials: Sequence[Trial]
    normal: Mapping[AttackBudget, SeedScores]
    raw: Mapping[AttackBudget, SeedScores]
    partial: Sequence[str]
    expected: int


def leaderboard(
    rows: Iterable[Row], read: ScoreReader, *, measure: str = MEASURE, reference: str = UNDEFENDED
) -> list[Standing]:
    """Standings by setting, ranked ones first.

    Args:
        rows: of a ledger.
        read: scores by record.
        measure: preferred metric; settings without it use the first metric they have.
        reference: the defence that others are compared with.
    """
    settings: dict[Setting, list[Trial]] = {}
    newest = trials(rows)
    missed = {_vouched(t) for t in newest if MISSED in text(t.row.get("flags")).split()}
    for trial in newest:
        settings.setdefault(trial.setting, []).append(trial)
    entries: list[Standing] = []
    worst: dict[tuple[Setting, str], Mapping[AttackBudget, SeedScores]] = {}
    for setting, group in settings.items():
        chosen = choose_measure((t.row for t in group if t.status == "ok"), measure)
        if chosen is None and all(t.status in NOT_A_FAILURE for t in group):
            continue  # no attack applies to this victim and target at all
        candidates = _candidates(group, chosen or measure, read, missed)
        entries += _entries(setting, candidates, chosen or measure, reference)
        worst |= {(setting, defense): candidate.normal for defense, candidate in candidates.items()}
    return _flag_views(entries, worst)


def _vouched(trial: Trial) -> tuple[str, str, str, AttackBudget]:
    """What a certificate vouches for: this attack at this budget, against this target on this victim's model."""
    return (
        trial.setting["victim"],
        trial.setting["model_hash"],
        trial.setting["target"],
        trial.attack,
    )


def _candidates(
    group: Sequence[Trial],
    measure: str,
    read: ScoreReader,
    missed: Collection[tuple[str, str, str, AttackBudget]],
) -> dict[str, _Candidate]:
    family = {t.attack for t in group if t.status not in NOT_A_FAILURE}
    found: dict[str, _Candidate] = {}
    for defense in dict.fromkeys(t.defense for t in group):
        mine = [t for t in group if t.defense == defense]
        normal: dict[AttackBudget, SeedScores] = {}
        raw: dict[AttackBudget, SeedScores] = {}
        partial: list[str] = []
        expected = len(family)
        for attack in sorted(family, key=lambda a: (a.label, a.iterations)):
            of_attack = [t for t in mine if t.attack == attack]
            applicable = [t for t in of_attack if t.status not in NOT_A_FAILURE]
            if not of_attack:
                partial.append(f"{attack.label} missing")
            if not applicable:
                expected -= bool(of_attack)
                continue
            scores, left_out = seed_scores(applicable, measure, read, normalize=True)
            partial += [f"{attack.label} {why}" for why in left_out]
            if any(_vouched(t) in missed for t in applicable):
                partial.append(f"{attack.label} missed its certificate")
            if scores.by_seed:
                normal[attack] = scores
                raw[attack], _ = seed_scores(applicable, measure, read, normalize=False)
                if len(scores.by_seed) < SEEDS:
                    seeds = len(scores.by_seed)
                    partial.append(f"{attack.label} {seeds} seed{'s' * (seeds > 1)}")
        if not normal and not partial:
            partial.append("no attack applies")
        if normal and not any(_adapts(t) for t in mine if t.status == "ok"):
            partial.append("no attack adapts")
        found[defense] = _Candidate(mine, normal, raw, partial, expected)
    return found


def _adapts(trial: Trial) -> bool:
    """Whether the attack consulted every part of the defence that changed what it read."""
    flags = text(trial.row.get("flags")).split()
    return not any(flag.startswith(f"{PREFIX}:") for flag in flags)


def _entries(
    setting: Setting, candidates: Mapping[str, _Candidate], measure: str, reference: str
) -> list[Standing]:
    against = candidates[reference].normal if reference in candidates else {}
    entries = [
        _entry(setting, defense, candidate, measure, {} if defense == reference else against)
        for defense, candidate in candidates.items()
    ]
    tested = [i for i, entry in enumerate(entries) if not math.isnan(entry.p_below)]
    for i, adjusted in zip(tested, holm([entries[i].p_below for i in tested]), strict=True):
        entries[i] = replace(entries[i], p_below=adjusted)
    ranked = sorted((e for e in entries if not e.partial), key=lambda e: e.normalized.mean)
    heights = [round(e.normalized.mean, 3) for e in ranked]
    ranked = [
        replace(e, rank=heights.index(height) + 1)
        for e, height in zip(ranked, heights, strict=True)
    ]
    return ranked + [e for e in entries if e.partial]


def _entry(
    setting: Setting,
    defense: str,
    candidate: _Candidate,
    measure: str,
    against: Mapping[AttackBudget, SeedScores],
) -> Standing:
    rows = [t.row for t in candidate.trials]
    captures = list(
        {text(row.get("capture_id")) or str(i): row for i, row in enumerate(rows)}.values()
    )
    entry = Standing(
        setting=setting,
        defense=defense,
        model=short_model(rows[0]),
        rank=None,
        partial="; ".join(dict.fromkeys(candidate.partial)),
        measure=measure,
        attack="",
        score=_NOTHING,
        normalized=_NOTHING,
        of_reference=math.nan,
        difference=_NOTHING,
        p_below=math.nan,
        attacks=f"{len(candidate.normal)}/{candidate.expected}",
        n=0,
        seeds=0,
        guarantee=_common(rows, "guarantee"),
        flags=(),
        origin=" ".join(sorted({text(row.get("origin")) for row in rows} - {""})),
        figures=_means(captures, _PER_CAPTURE, _COSTS),
    )
    if not candidate.normal:
        return entry
    names = {_name(attack, candidate.normal): attack for attack in candidate.normal}
    worst = worst_case({name: candidate.normal[attack] for name, attack in names.items()})
    attack = names[worst.attack]
    chosen = [t.row for t in candidate.trials if t.attack == attack and t.status == "ok"]
    shown = replace(
        entry,
        attack=worst.attack,
        score=_raw_score(candidate, attack, chosen[0], measure),
        normalized=worst.interval,
        n=max(int(number(row.get("n", 0))) for row in chosen),
        seeds=len(candidate.normal[attack].by_seed),
        flags=_flags(chosen, candidate),
        figures={
            **entry.figures,
            **_means(chosen, (), ("attack_seconds", "ssim", "lpips", "identified")),
        },
    )
    return _compared(shown, candidate, candidate.normal[attack], against) if against else shown


def _name(attack: AttackBudget, family: Iterable[AttackBudget]) -> str:
    """The label, with the budget where the label alone would not tell two attacks apart."""
    if sum(other.label == attack.label for other in family) == 1:
        return attack.label
    return f"{attack.label} ({attack.iterations} iterations of {attack.batch_size})"


def _raw_score(candidate: _Candidate, attack: AttackBudget, row: Row, measure: str) -> Interval:
    """The worst attack's mean with bounds of the highest over attacks, in the metric's own direction."""
    bounds = worst_case(
        {_name(a, candidate.raw): scores for a, scores in candidate.raw.items()}
    ).interval
    mean = candidate.raw[attack].mean()
    if number(row.get(f"{measure}_ceiling")) > number(row.get(f"{measure}_floor")):
        return Interval(mean, bounds.low, bounds.high)
    return Interval(-mean, -bounds.high, -bounds.low)


def _compared(
    entry: Standing,
    candidate: _Candidate,
    worst: SeedScores,
    against: Mapping[AttackBudget, SeedScores],
) -> Standing:
    """The entry with difference, share and p-value against the reference; as it was where they share no seed."""
    strongest = max(against.values(), key=SeedScores.mean)
    if not set(worst.seeds) & set(strongest.seeds):
        return entry
    height = strongest.mean()
    return replace(
        entry,
        difference=worst.minus(strongest).interval(),
        p_below=math.nan if candidate.partial else p_worst_below(candidate.normal, against),
        of_reference=entry.normalized.mean / height if height > 0.0 else math.nan,
    )


def _flags(chosen: Sequence[Row], candidate: _Candidate) -> tuple[str, ...]:
    """The worst attack's own flags, and trained attacks that an untrained one beats."""
    found = dict.fromkeys(flag for row in chosen for flag in text(row.get("flags")).split())
    untrained = [scores for attack, scores in candidate.normal.items() if attack.iterations == "0"]
    for attack, scores in candidate.normal.items():
        if attack.iterations != "0" and any(simple.p_above(scores) < 0.05 for simple in untrained):
            found[f"weaker-than-simpler:{attack.label}"] = None
    return tuple(found)


def _flag_views(
    entries: Sequence[Standing],
    worst: Mapping[tuple[Setting, str], Mapping[AttackBudget, SeedScores]],
) -> list[Standing]:
    """Flag entries whose attacker sees more than another's and yet does worse: some attack is not at its best."""
    flagged = []
    for entry in entries:
        for other in entries:
            less = set(entry.setting["withheld_from_view"].split()) < set(
                other.setting["withheld_from_view"].split()
            )
            same = entry.defense == other.defense and entry.measure == other.measure
            if not (less and same and _all_but_view(entry.setting) == _all_but_view(other.setting)):
                continue
            if entry.attack and other.attack and entry.normalized.mean < other.normalized.mean:
                mine, others = (
                    worst[entry.setting, entry.defense],
                    worst[other.setting, other.defense],
                )
                if p_worst_below(mine, others) < 0.05:
                    entry = replace(entry, flags=(*entry.flags, "stronger-view-weaker-result"))
                    break
        flagged.append(entry)
    return flagged


def _all_but_view(setting: Setting) -> tuple[str, ...]:
    return setting.without("withheld_from_view", "threat")


def _means(
    rows: Sequence[Row], prefixes: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, float]:
    """Means of the numeric columns that start with a prefix or are named."""
    columns = dict.fromkeys(
        c for row in rows for c in row if c in names or (prefixes and c.startswith(prefixes))
    )
    found: dict[str, float] = {}
    for column in columns:
        values = [v for row in rows if not math.isnan(v := number(row.get(column)))]
        if values:
            found[column] = sum(values) / len(values)
    return found


def _common(rows: Sequence[Row], column: str) -> str:
    values = dict.fromkeys(text(row.get(column)) for row in rows)
    return " / ".join(value for value in values if value)
