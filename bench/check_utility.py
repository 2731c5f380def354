"""Whether trained models got worse: the part of a check that no attack enters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from bench.check_baseline import Key, Point
from bench.check_verdict import Finding, Tolerances
from bench.paired import stands_out

LOWER_IS_BETTER = frozenset({"fid", "kid", "lpips"})
HIGHER_IS_BETTER = frozenset({"ssim", "condition_edge_f1", "condition_ssim", "prompt_score"})
"""What a victim's ``utility`` may return and a check knows the direction of; other figures are not compared."""


@dataclass(frozen=True, eq=False)
class Model:
    """A defence's trained models, whatever attacked them; both sides' utility by seed."""

    subject: str
    old: Mapping[int, Mapping[str, float]]
    new: Mapping[int, Mapping[str, float]]


def models(baseline: Mapping[Key, Point], current: Mapping[Key, Point]) -> list[Model]:
    sides: list[dict[tuple[tuple[str, ...], str], dict[int, Mapping[str, float]]]] = [{}, {}]
    subjects: dict[tuple[tuple[str, ...], str], str] = {}
    for side, points in zip(sides, (baseline, current), strict=True):
        for (setting, defense, _, seed), point in points.items():
            trained = setting.without(
                *("target", "threat", "threat_model", "withheld_from_view", "records_auxiliary", "targets", "epoch")
            )
            if point.utility:
                side.setdefault((trained, defense), {})[seed] = point.utility
                subjects[trained, defense] = (
                    f"utility of {defense} ({setting['victim']}, {setting['protocol']}, {setting['dataset']})"
                )
    return [Model(subjects[name], sides[0][name], sides[1][name]) for name in sides[0] if name in sides[1]]


def utility_findings(model: Model, limits: Tolerances) -> list[Finding]:
    findings = []
    seeds = sorted(set(model.old) & set(model.new))
    for name in sorted(LOWER_IS_BETTER | HIGHER_IS_BETTER):
        pairs = [
            (model.old[s][name], model.new[s][name]) for s in seeds if name in model.old[s] and name in model.new[s]
        ]
        if not pairs:
            continue
        sign = 1.0 if name in LOWER_IS_BETTER else -1.0
        worse = [sign * (new - old) for old, new in pairs]
        before, after = fmean(old for old, _ in pairs), fmean(new for _, new in pairs)
        # A figure that states its own spread over subsets is not held to less than that.
        spread = fmean(model.old[s].get(f"{name}_std", 0.0) for s in seeds)
        if fmean(worse) <= max(limits.utility * abs(before), spread):
            continue
        if not stands_out([old for old, _ in pairs], worse, limits.alpha):
            continue
        findings.append(
            Finding(
                "utility-fell",
                model.subject,
                f"{model.subject}: {name} from {before:.4g} to {after:.4g} over {len(pairs)} "
                f"seed{'s' * (len(pairs) > 1)} ({'lower' if sign > 0 else 'higher'} is better)",
            )
        )
    return findings
