"""Pairs the rows of a baseline with those of a run, and reports rows without a partner."""

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
"""Most fields in which a changed row may differ from the row of the baseline."""


@dataclass(frozen=True, eq=False)
class ComparisonUnit:
    """The rows of both sides of one attack on one defence in one setting, by seed.

    Attributes:
        setting: the fields that make the rows comparable.
        defense: label of the defence.
        attack: the attack with its budget.
        old: rows of the baseline by seed.
        new: rows of the run by seed.
        distinction: fields in which units with an equal name differ, such as ``epochs 5``.
    """

    setting: ComparisonSetting
    defense: str
    attack: AttackBudget
    old: Mapping[int, ComparedRow]
    new: Mapping[int, ComparedRow]
    distinction: str = ""

    @property
    def subject(self) -> str:
        """Return the attack, the defence and the setting, for display."""
        details = f"{self.setting.title()}{self.distinction and ', ' + self.distinction}"
        return f"{self.attack.label} on {self.defense} ({details})"


def comparison_units(
    baseline: Mapping[Key, ComparedRow], current: Mapping[Key, ComparedRow]
) -> list[ComparisonUnit]:
    """Return the units of both sides in the order of the baseline."""
    names = dict.fromkeys(key[:3] for key in (*baseline, *current))
    sides: tuple[dict[tuple[ComparisonSetting, str, AttackBudget], dict[int, ComparedRow]], ...] = (
        tuple({name: {} for name in names} for _ in range(2))
    )
    for side, compared_rows in zip(sides, (baseline, current), strict=True):
        for key, point in compared_rows.items():
            side[key[:3]][key[3]] = point
    return _with_distinctions(
        [ComparisonUnit(*name, sides[0][name], sides[1][name]) for name in names]
    )


def _with_distinctions(units: Sequence[ComparisonUnit]) -> list[ComparisonUnit]:
    """Return the units, with distinctions where several have an equal name."""
    of_name: dict[str, list[ComparisonUnit]] = {}
    for unit in units:
        of_name.setdefault(unit.subject, []).append(unit)
    distinct = []
    for unit in units:
        namesakes = of_name[unit.subject]
        fields = [n for n in SETTING if len({other.setting[n] for other in namesakes}) > 1]
        parts = [f"{name} {unit.setting[name] or 'empty'}" for name in fields]
        if len({other.attack for other in namesakes}) > 1:
            parts.append(f"{unit.attack.iterations} iterations of {unit.attack.batch_size}")
        distinct.append(replace(unit, distinction=", ".join(parts)))
    return distinct


def unmatched_findings(units: Sequence[ComparisonUnit], *, allow_new: bool) -> list[Finding]:
    """Return findings on units, or seeds of them, that only one side has.

    Units that differ in a few fields of the setting share a finding for each such change.
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
    findings += [_change_finding(changes, of_change) for changes, of_change in changed.items()]
    for unit in () if allow_new else gained:
        # A target may be newer than the baseline; a cell that was not run has a finding already.
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
    """Return the fields in which two units differ, with both values.

    The result is empty where one unit is no changed version of the other.
    """
    same_plugins = _names(unit.defense) == _names(other.defense) and _names(
        unit.attack.label
    ) == _names(other.attack.label)
    if not same_plugins or unit.setting["target"] != other.setting["target"]:
        return ()
    if not (set(unit.old) - set(unit.new)) & (set(other.new) - set(other.old)):
        return ()
    pairs = zip(SETTING, unit.setting.values, other.setting.values, strict=True)
    changes = [(name, old, new) for name, old, new in pairs if old != new]
    changes += [
        (name, old, new)
        for name, old, new in (
            ("defense", unit.defense, other.defense),
            ("attack", unit.attack.label, other.attack.label),
            ("the attack's iterations", unit.attack.iterations, other.attack.iterations),
            ("the attack's batch size", unit.attack.batch_size, other.attack.batch_size),
        )
        if old != new
    ]
    return tuple(changes) if len(changes) <= _MOST_CHANGES else ()


def _names(label: str) -> list[str]:
    """Return the plugins of a label without their parameters."""
    return [part.partition(":")[0] for part in label.split("+")]


def _change_finding(
    changes: tuple[tuple[str, str, str], ...], units: Sequence[ComparisonUnit]
) -> Finding:
    """Return a finding on all units that one change of the setting kept from being compared."""
    named = " and ".join(
        f"{name} ({old or 'empty'} in the baseline, {new or 'empty'} now)"
        for name, old, new in changes
    )
    meanings = [_MEANING[name] for name, _, _ in changes if name in _MEANING]
    listed = list(dict.fromkeys(f"{unit.attack.label} on {unit.defense}" for unit in units))
    which = ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")
    subject = (
        units[0].subject
        if len(units) == 1
        else f"{len(units)} comparisons with another {changes[0][0]}"
    )
    sentence = (
        f"{which}: {len(units)} of the baseline's comparisons missing, "
        f"since the suite's cells differ in {named}"
    )
    return Finding(
        "missing", subject, sentence + (f": {', '.join(meanings)}" if meanings else ""), "unsure"
    )


def _seeds(seeds: Iterable[int]) -> str:
    return f"seed {', '.join(map(str, sorted(seeds)))}"
