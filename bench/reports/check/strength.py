"""Whether attacks got stronger or weaker: the mean over records, and the records one by one."""

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
"""Normalized scores nearer than this are the same: a baseline keeps seven digits of them."""
_YES_OR_NO = 2  # values that the scores of a measure take which only says yes or no of each record
WEIGHTS = {"mean": 0.7, "jump": 0.2, "exposed": 0.1}
"""Of the tests of one change in the correction for all of them: most of it is left to the mean."""


@dataclass(frozen=True, eq=False)
class Change:
    """How much stronger an attack became, between the baseline's controls.

    Attributes:
        seeds: those whose scores are compared.
    """

    unit: ComparisonUnit
    seeds: tuple[int, ...]
    stronger: SeedScores
    before: SeedScores

    @property
    def mean(self) -> float:
        """Over all records of all seeds, as a share of the way from floor to ceiling."""
        return self.stronger.mean()

    @property
    def measure(self) -> str:
        """What is compared."""
        return self.unit.old[self.seeds[0]].measure

    @property
    def must_work(self) -> bool:
        """Whether the attack is held to its strength here: the undefended victim, or its certificate."""
        return self.unit.defense == UNDEFENDED or all(
            self.unit.old[seed].certificate for seed in self.seeds
        )

    @property
    def is_rounding(self) -> bool:
        """Whether every record has the score it had, to the digits that a baseline keeps."""
        return all(abs(value) <= ROUNDING for value in self.stronger.values())

    @property
    def other_processor(self) -> bool:
        """Whether the two sides were made on different processors, or one does not say."""
        return any(self.unit.old[s].processor != self.unit.new[s].processor for s in self.seeds)

    def processor_share(self, limits: Tolerances, *, record: bool = False) -> float:
        """How much another processor may change, as a share of the way from floor to ceiling; 0 on
        the same one.

        Args:
            record: of a single record's score, not of the mean.
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
        """That ``sign`` times the change is not above zero, on these seeds: over records, the seeds
        fixed.

        A single mean has no statistics: 0, so that the tolerance decides alone.
        """
        values = [sign * value for value in self.stronger.values()]
        return 0.0 if len(values) == 1 else p_shift_above_zero(values)

    def exceeds_seed_spread(self, sign: float, alpha: float) -> bool:
        """Whether it exceeds what another training run changes."""
        worse = [
            sign * fmean(scores.values()) for _, scores in sorted(self.stronger.by_seed.items())
        ]
        return exceeds_seed_spread(
            [fmean(scores.values()) for scores in self.before.by_seed.values()], worse, alpha
        )

    @cached_property
    def tail(self) -> Tail | None:
        """The change of single records; None where the two sides do not share them, or there is only one."""
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
        return tail_of(changes, before, now, binary=len(values) <= _YES_OR_NO)


def change_of(unit: ComparisonUnit) -> Change | None:
    """The change of a unit; None where no seed has the same measure between controls on both sides."""
    both = tuple(
        seed
        for seed, old in sorted(unit.old.items())
        if seed in unit.new and _fits(old, unit.new[seed])
    )
    if not both:
        return None
    before, after = (
        SeedScores(
            {seed: _between(side[seed], unit.old[seed]) for seed in both},
            {seed: side[seed].drawn for seed in both},
        )
        for side in (unit.old, unit.new)
    )
    return Change(unit, both, after.minus(before), before)


def _fits(old: ComparedRow, new: ComparedRow) -> bool:
    return bool(old.measure) and old.measure == new.measure


def _between(point: ComparedRow, controls: ComparedRow) -> dict[str, float]:
    """Scores between the baseline's controls, so that a control that moved hides nothing."""
    scores = point.scores or {"mean": point.score}
    return {
        record: normalized(value, controls.floor, controls.ceiling)
        for record, value in scores.items()
    }


def strength_findings(changes: Sequence[Change], limits: Tolerances) -> list[Finding]:
    """What got stronger or weaker; p-values of means and of single records are corrected together (Holm)."""
    moved = [change for change in changes if not change.is_rounding]
    family: list[float] = []
    weights: list[float] = []
    places: list[Mapping[str, int]] = []
    for change in moved:
        tests = _tests(change)
        places.append({name: len(family) + i for i, name in enumerate(tests)})
        family += tests.values()
        weights += [WEIGHTS[name] for name in tests]
    adjusted = holm(family, weights)
    findings: list[Finding] = []
    explained: list[Change] = []
    for change, of_change in zip(moved, places, strict=True):
        p_values = {name: adjusted[place] for name, place in of_change.items()}
        by_mean = _mean_finding(change, p_values["mean"], limits)
        if by_mean is not None and abs(change.mean) <= change.processor_share(limits):
            explained.append(change)
            by_mean = None
        if by_mean is not None:
            findings.append(by_mean)
        if by_mean is None or not by_mean.fails:
            findings += _record_findings(change, p_values, limits)
    return [*findings, *_explained(explained)]


def _tests(change: Change) -> dict[str, float]:
    """The p-values of one change: of the mean, and, where the attack is to fail, of single records."""
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
    sentence = _strength(change, word, p, bad) + _processors(change)
    return Finding(f"attack-{word}", change.unit.subject, sentence, "worse" if bad else "note")


def _record_findings(
    change: Change, p_values: Mapping[str, float], limits: Tolerances
) -> list[Finding]:
    """A record that rose far above what the others changed, or more records above the identification threshold."""
    tail = change.tail
    if tail is None or "jump" not in p_values:
        return []
    parts = []
    least = max(limits.record, change.processor_share(limits, record=True))
    if tail.jump > least and p_values["jump"] < limits.alpha:
        parts.append(
            f"record {tail.record} rose by {tail.jump:.3f} of the way from floor to ceiling, far more than the others "
            f"(adjusted p {p_values['jump']:.2g})"
        )
    if p_values.get("exposed", 1.0) < limits.alpha:
        parts.append(
            f"{tail.exposed} records pass the identification threshold that did not, {tail.hidden} no more "
            f"(adjusted p {p_values['exposed']:.2g})"
        )
    if not parts:
        return []
    sentence = f"{change.unit.subject}: {' and '.join(parts)}; privacy is lost record by record"
    return [Finding("records-exposed", change.unit.subject, sentence + _processors(change))]


def _strength(change: Change, word: str, p: float, bad: bool) -> str:
    meaning = {
        ("stronger", True): "the defence holds less",
        ("weaker", True): "a broken attack flatters every defence",
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
    told = (
        f"adjusted p {p:.2g}, {units}"
        if bad and count > 1
        else units
        if count > 1
        else "one mean, by tolerance"
    )
    return (
        f"{change.unit.subject}: attack got {word}, normalized {change.measure} from {change.before.mean():.3f} to "
        f"{change.before.mean() + change.mean:.3f} ({told}); {meaning}"
    )


def _processors(change: Change) -> str:
    """The two processors, where they differ: a difference beyond their tolerance should be read with that in mind."""
    if not change.other_processor:
        return ""
    old, new = _pair(change)
    return f"; another processor ({old}, now {new}), which was never seen to change so much"


def _pair(change: Change) -> tuple[str, str]:
    first = change.seeds[0]
    return change.unit.old[first].processor or "unknown", change.unit.new[
        first
    ].processor or "unknown"


def _explained(changes: Sequence[Change]) -> list[Finding]:
    """One note on all differences that another processor explains."""
    if not changes:
        return []
    old, new = _pair(changes[0])
    largest = max(changes, key=lambda change: abs(change.mean))
    many = f"{len(changes)} comparisons differ" if len(changes) > 1 else "one comparison differs"
    sentence = (
        f"another processor (baseline {old}, now {new}): {many} by no more than processors were seen to, at most "
        f"{abs(largest.mean):.3f} ({largest.unit.subject})"
    )
    return [Finding("processor", "another processor", sentence, "note")]
