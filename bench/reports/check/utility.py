"""Tests whether trained models got worse, independently of attacks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.reports.check.compared_rows import ComparedRow, Key, trained_by
from bench.reports.check.verdict import Finding, Level, Tolerances
from bench.reports.seed_statistics import SEEDS, exceeds_seed_spread

LOWER_IS_BETTER = frozenset({"fid", "kid", "lpips"})
HIGHER_IS_BETTER = frozenset(
    {"ssim", "accuracy", "condition_edge_f1", "condition_ssim", "prompt_score"}
)
"""Utility names with a known direction; a check compares no other names."""

_TRAINED = ("ok", "not_claimed")
"""Statuses of rows whose model was trained, so that it has a utility."""
SHARES = frozenset({"accuracy"})
"""Names of utility that are a share of the held-out records."""


@dataclass(frozen=True, eq=False)
class ComparedModel:
    """The trained models of a defence on both sides, by seed.

    Attributes:
        subject: defence and setting, for display.
        old: utility in the baseline by seed.
        new: utility in the run by seed.
        other_processor: whether the two sides have different processors, or one names none.
        records: number of held-out records that utility was measured on; 0 where it is unknown.
    """

    subject: str
    old: Mapping[int, Mapping[str, float]]
    new: Mapping[int, Mapping[str, float]]
    other_processor: bool
    records: int = 0

    @property
    def seeds(self) -> list[int]:
        """Return the seeds that both sides have."""
        return sorted(set(self.old) & set(self.new))

    def shared(self) -> list[str]:
        """Return the known names of utility that both sides have, sorted."""
        return sorted(n for n in LOWER_IS_BETTER | HIGHER_IS_BETTER if self.pairs(n))

    def pairs(self, name: str) -> list[tuple[float, float]]:
        """Return the values of both sides by seed."""
        return [
            (self.old[s][name], self.new[s][name])
            for s in self.seeds
            if name in self.old[s] and name in self.new[s]
        ]


def compared_models(
    baseline: Mapping[Key, ComparedRow], current: Mapping[Key, ComparedRow]
) -> list[ComparedModel]:
    """Return the trained models that both sides have, where at least one row has a utility."""
    sides: list[dict[tuple[object, ...], dict[int, Mapping[str, float]]]] = [{}, {}]
    processors: list[dict[tuple[object, ...], set[str]]] = [{}, {}]
    subjects: dict[tuple[object, ...], str] = {}
    records: dict[tuple[object, ...], int] = {}
    for side, made_on, compared_rows in zip(sides, processors, (baseline, current), strict=True):
        for key, point in compared_rows.items():
            *name, seed = trained_by(key)
            model, setting = tuple(name), key[0]
            if point.utility:
                side.setdefault(model, {})[seed] = point.utility
            elif point.status in _TRAINED:
                side.setdefault(model, {}).setdefault(seed, {})
            else:
                continue
            count = setting["records_evaluation"]
            records[model] = int(count) if count.isdigit() else 0
            made_on.setdefault(model, set()).add(point.processor)
            server = f", {key[2].label}" if name[2] else ""
            subjects[model] = (
                f"utility of {key[1]} ({setting['victim']}, {setting['protocol']}, "
                f"{setting['dataset']}{server})"
            )
    return [
        ComparedModel(
            subjects[name],
            sides[0][name],
            sides[1][name],
            other_processor=processors[0][name] != processors[1][name],
            records=records[name],
        )
        for name in sides[0]
        if name in sides[1] and any(utility for side in sides for utility in side[name].values())
    ]


def utility_findings(
    model: ComparedModel, limits: Tolerances, *, allow_new: bool = False
) -> list[Finding]:
    """Return findings on utility that got worse, or that only one side has.

    With ``allow_new`` utility that only the run has is no finding.
    """
    findings = []
    for name in model.shared():
        pairs = model.pairs(name)
        sign = 1.0 if name in LOWER_IS_BETTER else -1.0
        worse = [sign * (new - old) for old, new in pairs]
        before, after = fmean(old for old, _ in pairs), fmean(new for _, new in pairs)
        other = (
            limits.processor.entry_for(f"utility_{name}").allowed(before)
            if model.other_processor
            else 0.0
        )
        # A change within the stated standard error of a value does not count.
        errors = [_stated_error(model.old[seed], name, model.records) for seed in model.seeds]
        spread = 0.0 if any(map(math.isnan, errors)) else fmean(errors)
        if fmean(worse) <= max(limits.utility * abs(before), spread, other):
            continue
        if len(pairs) >= SEEDS:
            if not exceeds_seed_spread([old for old, _ in pairs], worse, limits.alpha):
                continue
            level: Level = "worse"
            why = f"over {len(pairs)} seeds"
        else:
            level, why = _few_seeds_level(model, name, fmean(worse))
        better = "lower" if sign > 0 else "higher"
        findings.append(
            Finding(
                "utility-fell",
                model.subject,
                f"{model.subject}: {name} from {before:.4g} to {after:.4g} {why} "
                f"({better} is better)",
                level,
            )
        )
    return [*findings, *_one_sided(model, allow_new)]


def _few_seeds_level(model: ComparedModel, name: str, worse: float) -> tuple[Level, str]:
    """Return the level of a fall over one or two seeds, with words on the evidence.

    It is ``worse`` where the fall exceeds twice the standard error, else a note.
    """
    many = f"at {len(model.seeds)} seed{'s' * (len(model.seeds) > 1)}"
    error = _error(model, name)
    if math.isnan(error):
        return "note", f"{many}, which says nothing about other training runs"
    if worse > 2.0 * error:
        return "worse", f"{many}, more than twice its standard error of {error:.2g}"
    return "note", f"{many}, within twice its standard error of {error:.2g}"


def _error(model: ComparedModel, name: str) -> float:
    """Return the standard error of a change over records or subsets; NaN where it is unknown."""
    stated = [
        _stated_error(side[seed], name, model.records)
        for seed in model.seeds
        for side in (model.old, model.new)
    ]
    return math.sqrt(sum(error**2 for error in stated)) / len(model.seeds)


def _stated_error(figures: Mapping[str, float], name: str, records: int) -> float:
    """Return the standard error of a value (``ssim_se``, ``kid_std``), or that of a share."""
    for ending in ("_se", "_std"):
        if name + ending in figures:
            return figures[name + ending]
    if name in SHARES and records:
        # Laplace's rule, so that shares of 0 and 1 have a standard error.
        share = (figures[name] * records + 1.0) / (records + 2.0)
        return math.sqrt(share * (1.0 - share) / records)
    return math.nan


def _one_sided(model: ComparedModel, allow_new: bool) -> list[Finding]:
    """Return findings on utility that the other side does not have."""
    lost = _names(model.old, model.seeds) - _names(model.new, model.seeds)
    gained = _names(model.new, model.seeds) - _names(model.old, model.seeds)
    sentences = []
    if lost:
        sentences.append(
            f"{model.subject}: {', '.join(sorted(lost))} is in the baseline "
            "and was not measured now"
        )
    if gained and not allow_new:
        sentences.append(
            f"{model.subject}: {', '.join(sorted(gained))} was measured and is not in the baseline"
        )
    return [Finding("measure", model.subject, sentence, "unsure") for sentence in sentences]


def _names(side: Mapping[int, Mapping[str, float]], seeds: Sequence[int]) -> set[str]:
    all_names = LOWER_IS_BETTER | HIGHER_IS_BETTER
    return {name for seed in seeds for name in side[seed] if name in all_names}
