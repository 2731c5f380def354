"""The data type of a leaderboard: a defence with the result of its worst attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.reports.comparability import ComparisonSetting
from bench.util.stats import Interval


@dataclass(frozen=True)
class Standing:
    """A defence in one setting, with the result of its worst attack.

    Attributes:
        setting: the fields that all rows of a table share.
        defense: label of the defence.
        model: name of the victim's model.
        rank: 1 leaks least; means that are equal to three decimals share a rank; None where the
            standing is partial.
        partial: why the defence is not ranked; empty where it is.
        measure: the metric of ``score``.
        attack: label of the worst attack.
        score: mean of the worst attack in units of the metric, with bounds of the highest true mean
            over all attacks.
        normalized: ``score`` between its controls: 0 at the floor (no view), 1 at the ceiling (the
            round trip).
        of_reference: ``normalized`` as a share of that of the reference defence, by default the
            undefended victim.
        difference: ``normalized`` minus that of the reference, each at its worst attack, paired by
            seed and record.
        p_below: p-value of "the worst case is not below that of the reference", after Holm.
        attacks: number of attacks with scores, of those that apply, such as ``2/2``.
        n: number of attacked records.
        seeds: number of seeds.
        guarantee: privacy statement of the defence.
        flags: reasons to doubt the standing.
        origin: the merged ledgers that the rows come from.
        figures: means over seeds of utility, bytes, costs, and other metrics of the worst attack.
    """

    setting: ComparisonSetting
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
