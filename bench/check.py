"""Compares a ledger with a baseline: did an attack, a defence or a model get worse?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.check_baseline import Key, Point
from bench.check_utility import models, utility_findings
from bench.check_verdict import Finding, Tolerances, Verdict
from bench.comparable import SETTING, UNDEFENDED, AttackBudget, Setting
from bench.paired import SeedScores, stands_out
from bench.stats import holm, normalised, p_above_zero

_Name = tuple[Setting, str, AttackBudget]


@dataclass(frozen=True, eq=False)
class _Unit:
    """One attack on one defence in one setting, over seeds; both sides' rows by seed."""

    setting: Setting
    defense: str
    attack: AttackBudget
    old: Mapping[int, Point]
    new: Mapping[int, Point]

    @property
    def subject(self) -> str:
        return f"{self.attack.label} on {self.defense} ({self.setting.title()})"

    @property
    def must_work(self) -> bool:
        """Whether the attack is held to its strength here: the undefended victim, or its certificate."""
        return self.defense == UNDEFENDED or any(p.certificate for p in (*self.old.values(), *self.new.values()))


@dataclass(frozen=True, eq=False)
class _Change:
    """How much stronger an attack became, between the baseline's controls."""

    unit: _Unit
    stronger: SeedScores
    before: SeedScores

    @property
    def mean(self) -> float:
        return self.stronger.mean()

    def p_value(self, sign: float) -> float:
        """That ``sign`` times the change is not above zero, on these seeds: t over records, the seeds fixed.

        A single mean has no statistics: 0, so that the tolerance decides alone.
        """
        values = [sign * value for value in self.stronger.values()]
        return 0.0 if len(values) == 1 else p_above_zero(values)

    def stands_out(self, sign: float, alpha: float) -> bool:
        """Whether it exceeds what another training run changes."""
        worse = [sign * fmean(scores.values()) for _, scores in sorted(self.stronger.by_seed.items())]
        return stands_out([fmean(scores.values()) for scores in self.before.by_seed.values()], worse, alpha)


def check(
    baseline: Mapping[Key, Point],
    current: Mapping[Key, Point],
    *,
    tolerances: Tolerances | None = None,
    allow_new: bool = False,
) -> Verdict:
    """Compare two sets of points.

    An attack that got stronger on a defence counts if the change exceeds the tolerance, its p-value over
    records (Holm over all attacks compared here) is below alpha, and, from three seeds on, it exceeds what
    another training run changes. Likewise one that got weaker where it must work. Utility has no scores by
    record: there the tolerance and the seeds decide.
    """
    limits = tolerances or Tolerances()
    units = _units(baseline, current)
    findings = [finding for unit in units for finding in _states(unit, units, allow_new)]
    changes = [change for unit in units if (change := _change(unit)) is not None]
    findings += _strengths(changes, limits)
    trained = models(baseline, current)
    findings += [finding for model in trained for finding in utility_findings(model, limits)]
    subjects = [unit.subject for unit in units] + [model.subject for model in trained]
    return Verdict(tuple(dict.fromkeys(subjects)), tuple(findings))


def _units(baseline: Mapping[Key, Point], current: Mapping[Key, Point]) -> list[_Unit]:
    names = dict.fromkeys(key[:3] for key in (*baseline, *current))
    sides: tuple[dict[_Name, dict[int, Point]], ...] = tuple({name: {} for name in names} for _ in range(2))
    for side, points in zip(sides, (baseline, current), strict=True):
        for key, point in points.items():
            side[key[:3]][key[3]] = point
    return [_Unit(*name, sides[0][name], sides[1][name]) for name in names]


def _states(unit: _Unit, units: Iterable[_Unit], allow_new: bool) -> list[Finding]:
    """Rows that are gone, new or of another status, seeds taken together."""
    found: dict[tuple[str, str], list[int]] = {}
    for seed in sorted({*unit.old, *unit.new}):
        old, new = unit.old.get(seed), unit.new.get(seed)
        if new is None:
            found.setdefault(("missing", f"is missing{_nearly(unit, units)}"), []).append(seed)
        elif old is None:
            if not allow_new and new.status != "not_claimed":  # a baseline may be older than a target
                found.setdefault(("new", f"is not in the baseline ({new.status})"), []).append(seed)
        elif old.status != new.status:
            why = f": {new.reason}" if new.reason else ""
            found.setdefault(("state", f"was {old.status} and is {new.status}{why}"), []).append(seed)
        elif old.status == "ok" and math.isnan(new.score) and not math.isnan(old.score):
            found.setdefault(("state", f"has no {old.measure} any more"), []).append(seed)
    return [
        Finding(kind, unit.subject, f"{unit.subject}: {words} at seed {', '.join(map(str, seeds))}")
        for (kind, words), seeds in found.items()
    ]


def _nearly(unit: _Unit, units: Iterable[_Unit]) -> str:
    """The fields of a new unit that is this one but for them, so that a changed setting is not a riddle."""
    for other in units:
        if other.old or other.defense != unit.defense or other.attack.label != unit.attack.label:
            continue
        names = [n for n in SETTING if other.setting[n] != unit.setting[n]]
        names += ["the attack's budget"] * (other.attack != unit.attack)
        if len(names) <= 2 and "target" not in names:
            return f" (there is one that differs in {' and '.join(names)})"
    return ""


def _change(unit: _Unit) -> _Change | None:
    """None where no seed has scores on both sides."""
    both = [seed for seed in unit.old if seed in unit.new and _scored(unit.old[seed]) and _scored(unit.new[seed])]
    if not both:
        return None
    before, after = (
        SeedScores(
            {seed: _between(side[seed], unit.old[seed]) for seed in both}, {seed: side[seed].drawn for seed in both}
        )
        for side in (unit.old, unit.new)
    )
    return _Change(unit, after.minus(before), before)


def _scored(point: Point) -> bool:
    return point.status == "ok" and math.isfinite(normalised(point.score, point.floor, point.ceiling))


def _between(point: Point, controls: Point) -> dict[str, float]:
    """Scores between the baseline's controls, so that a control that moved hides nothing."""
    scores = point.scores or {"mean": point.score}
    return {record: normalised(value, controls.floor, controls.ceiling) for record, value in scores.items()}


def _strengths(changes: Sequence[_Change], limits: Tolerances) -> list[Finding]:
    signs = [-1.0 if change.unit.must_work else 1.0 for change in changes]
    adjusted = holm([change.p_value(sign) for change, sign in zip(changes, signs, strict=True)])
    findings = []
    for change, sign, p in zip(changes, signs, adjusted, strict=True):
        if abs(change.mean) <= limits.attack:
            continue
        word = "stronger" if change.mean > 0.0 else "weaker"
        bad = sign * change.mean > 0.0
        if bad:
            sure = p < limits.alpha and change.stands_out(sign, limits.alpha)
        else:
            sure = change.p_value(-sign) < limits.alpha and change.stands_out(-sign, limits.alpha)
        if sure:
            findings.append(Finding(f"attack-{word}", change.unit.subject, _strength(change, word, p, bad), fails=bad))
    return findings


def _strength(change: _Change, word: str, p: float, bad: bool) -> str:
    measure = next(iter(change.unit.old.values())).measure
    meaning = {
        ("stronger", True): "the defence holds less",
        ("weaker", True): "a broken attack flatters every defence",
        ("stronger", False): "the attack improved",
        ("weaker", False): "the defence improved, or the attack broke here",
    }[word, bad]
    seeds = len(change.stronger.by_seed)
    count = len(change.stronger.values())
    units = f"{count} records of {seeds} seed{'s' * (seeds > 1)}" if count > seeds else f"means of {seeds} seeds"
    told = f"adjusted p {p:.2g}, {units}" if bad and count > 1 else units if count > 1 else "one mean, by tolerance"
    return (
        f"{change.unit.subject}: attack got {word}, normalised {measure} from {change.before.mean():.3f} to "
        f"{change.before.mean() + change.mean:.3f} ({told}); {meaning}"
    )
