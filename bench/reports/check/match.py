"""Which row of a baseline is compared with which row of a run, and what is said of those that have no partner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.reports.check.compared_rows import ComparedRow, Key
from bench.reports.check.plan import NOT_RUN
from bench.reports.check.verdict import Finding
from bench.reports.comparability import SETTING, AttackBudget, ComparisonSetting

_MEANING = {
    "model_hash": "another model",
    "data_hash": "other records",
    "split_hash": "other splits",
    "backbones": "other backbones",
    "threat": "another threat model",
}
_MOST_CHANGES = 3
"""Rows that differ in more fields than this are not the same thing changed."""


@dataclass(frozen=True, eq=False)
class ComparisonUnit:
    """One attack on one defence in one setting, over seeds.

    Attributes:
        old, new: points of both sides by seed.
        beside: what tells it from other units of the same name, such as ``epochs 5``; empty where
            there are none.
    """

    setting: ComparisonSetting
    defense: str
    attack: AttackBudget
    old: Mapping[int, ComparedRow]
    new: Mapping[int, ComparedRow]
    beside: str = ""

    @property
    def subject(self) -> str:
        """For people: the attack, the defence and the setting."""
        return f"{self.attack.label} on {self.defense} ({self.setting.title()}{self.beside and ', ' + self.beside})"


def comparison_units(
    baseline: Mapping[Key, ComparedRow], current: Mapping[Key, ComparedRow]
) -> list[ComparisonUnit]:
    """The points of both sides by what they are of, in the baseline's order."""
    names = dict.fromkeys(key[:3] for key in (*baseline, *current))
    sides: tuple[dict[tuple[ComparisonSetting, str, AttackBudget], dict[int, ComparedRow]], ...] = (
        tuple({name: {} for name in names} for _ in range(2))
    )
    for side, compared_rows in zip(sides, (baseline, current), strict=True):
        for key, point in compared_rows.items():
            side[key[:3]][key[3]] = point
    return _told_apart([ComparisonUnit(*name, sides[0][name], sides[1][name]) for name in names])


def _told_apart(units: Sequence[ComparisonUnit]) -> list[ComparisonUnit]:
    """The units, those of one name with what they differ in."""
    of_name: dict[str, list[ComparisonUnit]] = {}
    for unit in units:
        of_name.setdefault(unit.subject, []).append(unit)
    found = []
    for unit in units:
        same = of_name[unit.subject]
        fields = [n for n in SETTING if len({other.setting[n] for other in same}) > 1]
        words = [f"{name} {unit.setting[name] or 'empty'}" for name in fields]
        if len({other.attack for other in same}) > 1:
            words.append(f"{unit.attack.iterations} iterations of {unit.attack.batch_size}")
        found.append(replace(unit, beside=", ".join(words)))
    return found


def unmatched_findings(units: Sequence[ComparisonUnit], *, allow_new: bool) -> list[Finding]:
    """Findings on units, or seeds of them, that are on one side only.

    Units of which nothing but some fields of the setting changed are told once for each such
    change.
    """
    lost = [unit for unit in units if set(unit.old) - set(unit.new)]
    gained = [unit for unit in units if set(unit.new) - set(unit.old)]
    findings: list[Finding] = []
    changed: dict[tuple[tuple[str, str, str], ...], list[ComparisonUnit]] = {}
    for unit in lost:
        partner = min(
            (
                (len(changes), i)
                for i, other in enumerate(gained)
                if (changes := _changes(unit, other))
            ),
            default=None,
        )
        if partner is None:
            seeds = _seeds(set(unit.old) - set(unit.new))
            findings.append(
                Finding("missing", unit.subject, f"{unit.subject}: is missing at {seeds}", "unsure")
            )
        else:
            other = gained.pop(partner[1])
            changed.setdefault(_changes(unit, other), []).append(unit)
    findings += [_change(changes, of_change) for changes, of_change in changed.items()]
    for unit in () if allow_new else gained:
        # A baseline may be older than a target; a cell that was not run has a finding already.
        fresh = {
            s: p
            for s, p in unit.new.items()
            if s not in unit.old and p.status not in ("not_claimed", NOT_RUN)
        }
        if fresh:
            states = ", ".join(dict.fromkeys(point.status for point in fresh.values()))
            sentence = f"{unit.subject}: is not in the baseline ({states}) at {_seeds(fresh)}"
            findings.append(Finding("new", unit.subject, sentence, "unsure"))
    return findings


def _changes(unit: ComparisonUnit, other: ComparisonUnit) -> tuple[tuple[str, str, str], ...]:
    """The fields in which two units differ, with both values; none where they are not one thing changed."""
    same = _names(unit.defense) == _names(other.defense) and _names(unit.attack.label) == _names(
        other.attack.label
    )
    if not same or unit.setting["target"] != other.setting["target"]:
        return ()
    if not (set(unit.old) - set(unit.new)) & (set(other.new) - set(other.old)):
        return ()
    pairs = zip(SETTING, unit.setting.values, other.setting.values, strict=True)
    found = [(name, old, new) for name, old, new in pairs if old != new]
    found += [
        (name, old, new)
        for name, old, new in (
            ("defense", unit.defense, other.defense),
            ("attack", unit.attack.label, other.attack.label),
            ("the attack's iterations", unit.attack.iterations, other.attack.iterations),
            ("the attack's batch size", unit.attack.batch_size, other.attack.batch_size),
        )
        if old != new
    ]
    return tuple(found) if len(found) <= _MOST_CHANGES else ()


def _names(label: str) -> list[str]:
    """The plugins of a label without their parameters."""
    return [part.partition(":")[0] for part in label.split("+")]


def _change(changes: tuple[tuple[str, str, str], ...], units: Sequence[ComparisonUnit]) -> Finding:
    """One sentence for all units that one change of the setting kept from being compared."""
    named = " and ".join(
        f"{name} ({old or 'empty'} in the baseline, {new or 'empty'} now)"
        for name, old, new in changes
    )
    meant = [_MEANING[name] for name, _, _ in changes if name in _MEANING]
    listed = list(dict.fromkeys(f"{unit.attack.label} on {unit.defense}" for unit in units))
    which = ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")
    subject = (
        units[0].subject
        if len(units) == 1
        else f"{len(units)} comparisons with another {changes[0][0]}"
    )
    sentence = f"{which}: {len(units)} of the baseline's comparisons missing, since the suite's cells differ in {named}"
    return Finding(
        "missing", subject, sentence + (f": {', '.join(meant)}" if meant else ""), "unsure"
    )


def _seeds(seeds: Iterable[int]) -> str:
    return f"seed {', '.join(map(str, sorted(seeds)))}"
