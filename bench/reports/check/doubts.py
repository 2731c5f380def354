"""Finds reasons to doubt a comparison: attacks that find nothing now, and changed controls."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.reports.check.strength import Change
from bench.reports.check.verdict import Finding, Tolerances


def blind_findings(changes: Sequence[Change], limits: Tolerances) -> list[Finding]:
    """Return notes on attacks that were above their floor before and are not now."""
    findings = []
    for change in changes:
        blind = all(change.unit.new[seed].blind for seed in change.seeds)
        before, now = change.before.mean(), change.before.mean() + change.mean
        if before <= limits.attack or change.is_rounding or not (blind or now <= limits.attack):
            continue
        explanation = (
            "no measure is above its floor now, so the attack may be broken"
            if blind
            else "other measures still are above their floor"
        )
        sentence = (
            f"{change.unit.subject}: the attack finds nothing where it found something before "
            f"(normalized {change.measure} {before:.3f}, now {now:.3f}); {explanation}"
        )
        findings.append(Finding("attack-blind", change.unit.subject, sentence, "note"))
    return findings


def control_findings(changes: Sequence[Change], limits: Tolerances) -> list[Finding]:
    """Return findings on controls that changed.

    No control depends on the code of attacks and defences; a changed one changes what scores mean.
    """
    findings = []
    for change in changes:
        moved = {}
        for seed in change.seeds:
            old, new = change.unit.old[seed], change.unit.new[seed]
            distance = abs(old.ceiling - old.floor)
            allowed = max(limits.attack * distance, change.processor_share(limits) * distance)
            for name in ("floor", "ceiling"):
                before, now = getattr(old, name), getattr(new, name)
                if not (math.isfinite(now) and abs(now - before) <= allowed):
                    moved[name] = f"{name} of {old.measure} from {before:.4g} to {now:.4g}"
        if moved:
            sentence = (
                f"{change.unit.subject}: controls moved, {' and '.join(moved.values())}; "
                "scores have another meaning now"
            )
            findings.append(Finding("controls", change.unit.subject, sentence, "unsure"))
    return findings
