"""Ranks defences by their worst attack, within settings whose numbers are comparable."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.interfaces.certificate import MISSED
from bench.interfaces.consulted_defense import PREFIX
from bench.reports.comparability import (
    NOT_A_FAILURE,
    UNDEFENDED,
    AttackBudget,
    ComparisonSetting,
    Row,
    ScoreReader,
    Trial,
    choose_measure,
    number,
    seed_scores,
    short_model,
    text,
    trials,
)
from bench.reports.seed_statistics import SEEDS, SeedScores, p_worst_below, worst_case
from bench.reports.standing import Standing
from bench.reports.view_flags import flag_views
from bench.util.stats import Interval, holm

MEASURE = "ssim"

_NO_INTERVAL = Interval(math.nan, math.nan, math.nan)
_PER_CAPTURE = ("utility_", "bytes_", "leak_")
_COSTS = ("client_seconds", "server_seconds", "peak_memory_mib")


@dataclass(frozen=True, eq=False)
class _Candidate:
    """The scores of one defence before it is compared with others.

    Attributes:
        trials: all rows of the defence in the setting.
        normal: scores between their controls, by attack.
        raw: scores in units of the metric, by attack; higher is the stronger attack.
        partial: why the defence cannot be ranked.
        expected: number of attacks that apply.
    """

    trials: Sequence[Trial]
    normal: Mapping[AttackBudget, SeedScores]
    raw: Mapping[AttackBudget, SeedScores]
    partial: Sequence[str]
    expected: int


def leaderboard(
    rows: Iterable[Row], read: ScoreReader, *, measure: str = MEASURE, reference: str = UNDEFENDED
) -> list[Standing]:
    """Return the standings by setting, ranked ones first.

    Args:
        rows: rows of a ledger.
        read: reads scores by record.
        measure: the preferred metric; settings without it use the headline measure of their target,
            or the first metric that they have.
        reference: the defence to which others are compared.
    """
    settings: dict[ComparisonSetting, list[Trial]] = {}
    newest = trials(rows)
    missed = {_certified_use(t) for t in newest if MISSED in text(t.row.get("flags")).split()}
    for trial in newest:
        settings.setdefault(trial.setting, []).append(trial)
    entries: list[Standing] = []
    worst: dict[tuple[ComparisonSetting, str], Mapping[AttackBudget, SeedScores]] = {}
    for setting, group in settings.items():
        chosen = choose_measure((t.row for t in group if t.status == "ok"), measure)
        if chosen is None and all(t.status in NOT_A_FAILURE for t in group):
            continue  # no attack applies to this victim and target at all
        candidates = _candidates(group, chosen or measure, read, missed)
        entries += _entries(setting, candidates, chosen or measure, reference)
        worst |= {(setting, defense): candidate.normal for defense, candidate in candidates.items()}
    return flag_views(entries, worst)


def _certified_use(trial: Trial) -> tuple[str, str, str, AttackBudget]:
    """Return what a certificate applies to: victim, model, target, and attack with its budget."""
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
    candidates: dict[str, _Candidate] = {}
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
            if any(_certified_use(t) in missed for t in applicable):
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
        candidates[defense] = _Candidate(mine, normal, raw, partial, expected)
    return candidates


def _adapts(trial: Trial) -> bool:
    """Whether the attack consulted every part of the defence that changed what it read."""
    flags = text(trial.row.get("flags")).split()
    return not any(flag.startswith(f"{PREFIX}:") for flag in flags)


def _entries(
    setting: ComparisonSetting, candidates: Mapping[str, _Candidate], measure: str, reference: str
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
    setting: ComparisonSetting,
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
        score=_NO_INTERVAL,
        normalized=_NO_INTERVAL,
        of_reference=math.nan,
        difference=_NO_INTERVAL,
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
    with_scores = replace(
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
    return (
        _with_reference(with_scores, candidate, candidate.normal[attack], against)
        if against
        else with_scores
    )


def _name(attack: AttackBudget, family: Iterable[AttackBudget]) -> str:
    """Return the label of an attack, with its budget where another attack has an equal label."""
    if sum(other.label == attack.label for other in family) == 1:
        return attack.label
    return f"{attack.label} ({attack.iterations} iterations of {attack.batch_size})"


def _raw_score(candidate: _Candidate, attack: AttackBudget, row: Row, measure: str) -> Interval:
    """Return the worst attack's mean and bounds of the highest mean, in units of the metric."""
    bounds = worst_case(
        {_name(a, candidate.raw): scores for a, scores in candidate.raw.items()}
    ).interval
    mean = candidate.raw[attack].mean()
    if number(row.get(f"{measure}_ceiling")) > number(row.get(f"{measure}_floor")):
        return Interval(mean, bounds.low, bounds.high)
    return Interval(-mean, -bounds.high, -bounds.low)


def _with_reference(
    entry: Standing,
    candidate: _Candidate,
    worst: SeedScores,
    against: Mapping[AttackBudget, SeedScores],
) -> Standing:
    """Return the entry with its comparison to the reference, where the two share a seed."""
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
    """Return the flags of the worst attack, and one for each attack weaker than a simpler one."""
    flags = dict.fromkeys(flag for row in chosen for flag in text(row.get("flags")).split())
    untrained = [scores for attack, scores in candidate.normal.items() if attack.iterations == "0"]
    for attack, scores in candidate.normal.items():
        if attack.iterations != "0" and any(simple.p_above(scores) < 0.05 for simple in untrained):
            flags[f"weaker-than-simpler:{attack.label}"] = None
    return tuple(flags)


def _means(
    rows: Sequence[Row], prefixes: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, float]:
    """Return means of the numeric columns that start with a prefix or are named."""
    columns = dict.fromkeys(
        c for row in rows for c in row if c in names or (prefixes and c.startswith(prefixes))
    )
    means: dict[str, float] = {}
    for column in columns:
        values = [v for row in rows if not math.isnan(v := number(row.get(column)))]
        if values:
            means[column] = sum(values) / len(values)
    return means


def _common(rows: Sequence[Row], column: str) -> str:
    values = dict.fromkeys(text(row.get(column)) for row in rows)
    return " / ".join(value for value in values if value)
