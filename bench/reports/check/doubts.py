"""Reasons to doubt a comparison: an attack that finds nothing any more, and controls that moved."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.reports.check.strength import Change
from bench.reports.check.verdict import Finding, Tolerances


def blind_findings(changes: Sequence[Change], limits: Tolerances) -> list[Finding]:
    """Notes on attacks that found something before and nothing now."""
    findings = []
    for change in changes:
        blind = all(change.unit.new[seed].blind for seed in change.seeds)
        before, now = change.before.mean(), change.before.mean() + change.mean
        if before <= limits.attack or change.is_rounding or not (blind or now <= limits.attack):
            continue
        rest = (
            "no measure is above its floor any more, so its claims do not tell one record's releases from another's: "
            "the attack may be broken"
            if blind
            else "other measures still are above their floor"
        )
        sentence = (
            f"{change.unit.subject}: the attack finds nothing where it found something before (normalized "
            f"{change.measure} {before:.3f}, now {now:.3f}); {rest}"
        )
        findings.append(Finding("attack-blind", change.unit.subject, sentence, "note"))
    return findings


def control_findings(changes: Sequence[Change], limits: Tolerances) -> list[Finding]:
    """Controls that moved: what a score stands between should not depend on the code of attacks and defences."""
    findings = []
    for change in changes:
        moved = {}
        for seed in change.seeds:
            old, new = change.unit.old[seed], change.unit.new[seed]
            width = abs(old.ceiling - old.floor)
            room = max(limits.attack * width, change.processor_share(limits) * width)
            for name in ("floor", "ceiling"):
                before, now = getattr(old, name), getattr(new, name)
                if not (math.isfinite(now) and abs(now - before) <= room):
                    moved[name] = f"{name} of {old.measure} from {before:.4g} to {now:.4g}"
        if moved:
            sentence = f"{change.unit.subject}: controls moved, {' and '.join(moved.values())}; what a score means changed"
            findings.append(Finding("controls", change.unit.subject, sentence, "unsure"))
    return findings
