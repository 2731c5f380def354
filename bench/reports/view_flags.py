"""Flags standings whose attackers see more than those of another standing, but do worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.reports.comparability import AttackBudget, ComparisonSetting
from bench.reports.seed_statistics import SeedScores, p_worst_below
from bench.reports.standing import Standing


def flag_views(
    entries: Sequence[Standing],
    worst: Mapping[tuple[ComparisonSetting, str], Mapping[AttackBudget, SeedScores]],
) -> list[Standing]:
    """Flag entries whose attacker sees more than that of another entry, but does worse.

    In such a case an attack does not use its view well.
    """
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


def _all_but_view(setting: ComparisonSetting) -> tuple[str, ...]:
    return setting.without("withheld_from_view", "threat")
