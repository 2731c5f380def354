"""Tests whether attacks got stronger or weaker, by their mean and by single records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from bench.reports.check.compared_rows import ComparedRow
from bench.reports.check.match import ComparisonUnit
from bench.reports.check.tail import Tail, tail_of
from bench.reports.check.verdict import Finding, Tolerances
from bench.reports.comparability import UNDEFENDED
from bench.reports.seed_statistics import SeedScores, exceeds_seed_spread
from bench.util.stats import holm, normalized, p_shift_above_zero

ROUNDING = 1e-5
"""Differences up to this are rounding: a baseline keeps seven digits of scores."""
_BINARY_VALUES = 2  # a measure whose scores take at most two values is binary
WEIGHTS = {"mean": 0.7, "jump": 0.2, "exposed": 0.1}
"""Weights of the tests of a change in the Holm correction; the mean has the most power."""


@dataclass(frozen=True, eq=False)
class Change:
    """The change of an attack's scores, normalized by the controls of the baseline.

    Attributes:
        unit: the attack on a defence, with the rows of both sides.
        seeds: the compared seeds.
        stronger: differences of the scores by seed; positive where the attack got stronger.
        before: scores of the baseline by seed.
    """

    unit: ComparisonUnit
    seeds: tuple[int, ...]
    stronger: SeedScores
    before: SeedScores

    @property
    def mean(self) -> float:
        """Return the mean change over all records, relative to the distance of the controls."""
        return self.stronger.mean()

    @property
    def measure(self) -> str:
        """Return the compared measure."""
        return self.unit.old[self.seeds[0]].measure

    @property
    def must_work(self) -> bool:
        """Return whether the attack must succeed: without a defence, or by its certificate."""
        return self.unit.defense == UNDEFENDED or all(
            self.unit.old[seed].certificate for seed in self.seeds
        )

    @property
    def is_rounding(self) -> bool:
        """Return whether no record changed by more than the rounding of a baseline."""
        return all(abs(value) <= ROUNDING for value in self.stronger.values())

    @property
    def other_processor(self) -> bool:
        """Return whether the two sides have different processors, or one names none."""
        return any(self.unit.old[s].processor != self.unit.new[s].processor for s in self.seeds)

    def processor_share(self, limits: Tolerances, *, record: bool = False) -> float:
        """Return the change that another processor may cause, and 0 on one processor.

        Args:
            limits: the tolerances of the check.
            record: whether the change is that of one record's score, else that of the mean.

        Returns:
            The change relative to the distance of floor and ceiling.
        """
        if not self.other_processor:
            return 0.0
        entry = limits.processor.entry_for(self.measure, self.unit.attack.label)
        shares = []
        for seed in self.seeds:
            old = self.unit.old[seed]
            allowed = entry.allowed_record() if record else entry.allowed(old.score)
            shares.append(allowed / abs(old.ceiling - old.floor))
        return max(shares)

    def p_value(self, sign: float) -> float:
        """Return the p-value over records of "``sign`` times the change is not above zero".

        The seeds are fixed. A single mean allows no test; its p-value is 0, so that the tolerance
        alone decides.
        """
        values = [sign * value for value in self.stronger.values()]
        return 0.0 if len(values) == 1 else p_shift_above_zero(values)

    def exceeds_seed_spread(self, sign: float, alpha: float) -> bool:
        """Return whether the change exceeds the spread between training runs."""
        worse = [
            sign * fmean(scores.values()) for _, scores in sorted(self.stronger.by_seed.items())
        ]
        return exceeds_seed_spread(
            [fmean(scores.values()) for scores in self.before.by_seed.values()], worse, alpha
        )

    @cached_property
    def tail(self) -> Tail | None:
        """Return the change of single records; None without two records that both sides have."""
        changes: dict[str, float] = {}
        before: dict[str, float] = {}
        now: dict[str, float] = {}
        values: set[float] = set()
        many = len(self.seeds) > 1
        for seed in self.seeds:
            scores = self.stronger.by_seed[seed]
            if len(scores) < 2:
                return None
            old, new = self.unit.old[seed], self.unit.new[seed]

            def named(record: str, seed: int = seed) -> str:
                return f"{record} at seed {seed}" if many else record

            values |= {*old.scores.values(), *new.scores.values()}
            changes |= {named(record): value for record, value in scores.items()}
            before |= {
                named(record): value for record, value in old.identified.items() if record in scores
            }
            now |= {
                named(record): value for record, value in new.identified.items() if record in scores
            }
        return tail_of(changes, before, now, binary=len(values) <= _BINARY_VALUES)


def change_of(unit: ComparisonUnit) -> Change | None:
    """Return the change of a unit; None where no seed has one measure on both sides."""
    both = tuple(
        seed
        for seed, old in sorted(unit.old.items())
        if seed in unit.new and _comparable(old, unit.new[seed])
    )
    if not both:
        return None
    before, after = (
        SeedScores(
            {seed: _normalized_scores(side[seed], unit.old[seed]) for seed in both},
            {seed: side[seed].drawn for seed in both},
        )
        for side in (unit.old, unit.new)
    )
    return Change(unit, both, after.minus(before), before)


def _comparable(old: ComparedRow, new: ComparedRow) -> bool:
    return bool(old.measure) and old.measure == new.measure


def _normalized_scores(point: ComparedRow, controls: ComparedRow) -> dict[str, float]:
    """Return scores normalized by the baseline's controls, so that changed ones hide nothing."""
    scores = point.scores or {"mean": point.score}
    return {
        record: normalized(value, controls.floor, controls.ceiling)
        for record, value in scores.items()
    }


def strength_findings(changes: Sequence[Change], limits: Tolerances) -> list[Finding]:
    """Return findings on attacks that got stronger or weaker.

    The p-values of means and of single records are corrected together (Holm).
    """
    moved = [change for change in changes if not change.is_rounding]
    family: list[float] = []
    weights: list[float] = []
    indices: list[Mapping[str, int]] = []
    for change in moved:
        tests = _tests(change)
        indices.append({name: len(family) + i for i, name in enumerate(tests)})
        family += tests.values()
        weights += [WEIGHTS[name] for name in tests]
    adjusted = holm(family, weights)
    findings: list[Finding] = []
    by_processor: list[Change] = []
    for change, of_change in zip(moved, indices, strict=True):
        p_values = {name: adjusted[index] for name, index in of_change.items()}
        by_mean = _mean_finding(change, p_values["mean"], limits)
        if by_mean is not None and abs(change.mean) <= change.processor_share(limits):
            by_processor.append(change)
            by_mean = None
        if by_mean is not None:
            findings.append(by_mean)
        if by_mean is None or not by_mean.fails:
            findings += _record_findings(change, p_values, limits)
    return [*findings, *_processor_findings(by_processor)]


def _tests(change: Change) -> dict[str, float]:
    """Return p-values of the mean, and of single records where the attack should fail."""
    tests = {"mean": change.p_value(-1.0 if change.must_work else 1.0)}
    if not change.must_work and change.tail is not None:
        tests["jump"] = change.tail.jump_p
        if change.tail.exposed or change.tail.hidden:
            tests["exposed"] = change.tail.exposed_p
    return tests


def _mean_finding(change: Change, p: float, limits: Tolerances) -> Finding | None:
    if abs(change.mean) <= limits.attack:
        return None
    sign = -1.0 if change.must_work else 1.0
    word = "stronger" if change.mean > 0.0 else "weaker"
    bad = sign * change.mean > 0.0
    if bad:
        sure = p < limits.alpha and change.exceeds_seed_spread(sign, limits.alpha)
    else:
        sure = change.p_value(-sign) < limits.alpha and change.exceeds_seed_spread(
            -sign, limits.alpha
        )
    if not sure:
        return None
    sentence = _strength_sentence(change, word, p, bad) + _processor_note(change)
    return Finding(f"attack-{word}", change.unit.subject, sentence, "worse" if bad else "note")


def _record_findings(
    change: Change, p_values: Mapping[str, float], limits: Tolerances
) -> list[Finding]:
    """Return a finding where a record rose far more than the others, or more are identified."""
    tail = change.tail
    if tail is None or "jump" not in p_values:
        return []
    parts = []
    least = max(limits.record, change.processor_share(limits, record=True))
    if tail.jump > least and p_values["jump"] < limits.alpha:
        parts.append(
            f"record {tail.record} rose by {tail.jump:.3f} of the distance from floor to ceiling, "
            f"far more than the others (adjusted p {p_values['jump']:.2g})"
        )
    if p_values.get("exposed", 1.0) < limits.alpha:
        parts.append(
            f"{tail.exposed} records pass the identification threshold that did not before, "
            f"{tail.hidden} do not pass it now (adjusted p {p_values['exposed']:.2g})"
        )
    if not parts:
        return []
    sentence = f"{change.unit.subject}: {' and '.join(parts)}; privacy is lost record by record"
    return [Finding("records-exposed", change.unit.subject, sentence + _processor_note(change))]


def _strength_sentence(change: Change, word: str, p: float, bad: bool) -> str:
    meaning = {
        ("stronger", True): "the defence holds less",
        ("weaker", True): "a broken attack makes every defence look better",
        ("stronger", False): "the attack improved",
        ("weaker", False): "the defence improved, or the attack broke here",
    }[word, bad]
    seeds = len(change.stronger.by_seed)
    count = len(change.stronger.values())
    units = (
        f"{count} records of {seeds} seed{'s' * (seeds > 1)}"
        if count > seeds
        else f"means of {seeds} seeds"
    )
    evidence = (
        f"adjusted p {p:.2g}, {units}"
        if bad and count > 1
        else units
        if count > 1
        else "one mean, by tolerance"
    )
    return (
        f"{change.unit.subject}: attack got {word}, normalized {change.measure} "
        f"from {change.before.mean():.3f} to {change.before.mean() + change.mean:.3f} "
        f"({evidence}); {meaning}"
    )


def _processor_note(change: Change) -> str:
    """Return a note on the processors where they differ, else an empty text."""
    if not change.other_processor:
        return ""
    old, new = _processor_pair(change)
    return f"; another processor ({old}, now {new}), though none was measured to change so much"


def _processor_pair(change: Change) -> tuple[str, str]:
    first = change.seeds[0]
    return change.unit.old[first].processor or "unknown", change.unit.new[
        first
    ].processor or "unknown"


def _processor_findings(changes: Sequence[Change]) -> list[Finding]:
    """Return one note on all changes that another processor explains."""
    if not changes:
        return []
    old, new = _processor_pair(changes[0])
    largest = max(changes, key=lambda change: abs(change.mean))
    many = f"{len(changes)} comparisons differ" if len(changes) > 1 else "one comparison differs"
    sentence = (
        f"another processor (baseline {old}, now {new}): {many} by no more than was measured "
        f"between processors, at most {abs(largest.mean):.3f} ({largest.unit.subject})"
    )
    return [Finding("processor", "another processor", sentence, "note")]
