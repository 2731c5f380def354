"""Compares a run with a baseline to find attacks, defences and models that got worse.

A check is a function of what a suite plans, the rows and scores of a ledger, and a baseline;
this module runs nothing and reads no files. The answer is ``no worse``, ``worse`` or ``cannot
say``, and what could not be compared does not count as compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bench.planning.suite_plan import UNFINISHED
from bench.reports.check.baseline import Baseline
from bench.reports.check.compared_rows import ComparedRow, Key, compared_rows
from bench.reports.check.doubts import blind_findings, control_findings
from bench.reports.check.match import ComparisonUnit, comparison_units, unmatched_findings
from bench.reports.check.plan import NOT_RUN, SuiteState, check_distinct
from bench.reports.check.strength import change_of, strength_findings
from bench.reports.check.utility import compared_models, utility_findings
from bench.reports.check.verdict import Finding, Scope, Tolerances, Verdict
from bench.reports.comparability import ScoreReader, trials
from bench.reports.leaderboard import MEASURE


def judge(
    baseline: Baseline,
    state: SuiteState,
    read: ScoreReader,
    *,
    suite: str,
    name: str,
    allow_new: bool = False,
    versions: Mapping[str, str] | None = None,
) -> Verdict:
    """Compare the rows of a suite with a baseline.

    Args:
        baseline: the rows to compare with.
        state: the rows of the suite that the ledger has.
        read: reads scores by record from the ledger.
        suite: name of the suite, for display.
        name: path of the baseline, for display.
        allow_new: whether rows that the baseline lacks are no finding.
        versions: versions of the installed libraries; a note names differences to those of the
            baseline. None compares none.

    Raises:
        DataError: a row is malformed, or scores by record contradict their row.
    """
    current = current_rows(state, read, measure=MEASURE, baseline=baseline)
    verdict = check(
        baseline.compared_rows, current, tolerances=baseline.tolerances, allow_new=allow_new
    )
    scope = Scope(suite, state.cells, state.cells_found, state.cells_left_out, name, baseline.cells)
    findings = (*state.findings, *verdict.findings)
    if versions is not None and any(finding.fails for finding in findings):
        findings += _versions(baseline.versions, versions)
    return replace(verdict, findings=findings, scope=scope)


def _versions(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return a note on libraries whose version differs from that of the baseline, if any."""
    names = dict.fromkeys((*then, *now))
    changes = [
        f"{n} {then.get(n, 'none')} (now {now.get(n, 'none')})"
        for n in names
        if then.get(n) != now.get(n)
    ]
    sentence = f"the baseline was made with other libraries: {', '.join(changes)}"
    return (Finding("versions", "other libraries", sentence, "note"),) if changes else ()


def current_rows(
    state: SuiteState, read: ScoreReader, *, measure: str, baseline: Baseline | None = None
) -> dict[Key, ComparedRow]:
    """Return the compared rows of a suite, with the measures of a baseline where it has them.

    Raises:
        DataError: as ``judge``, or two cells of the suite have one key.
    """
    baseline_rows = {} if baseline is None else baseline.compared_rows
    chosen = {key: point.measure for key, point in baseline_rows.items() if point.measure}
    check_distinct(state.rows, (trials([row])[0].key for row in state.rows))
    return compared_rows(state.rows, read, measure=measure, chosen=chosen)


def check(
    baseline: Mapping[Key, ComparedRow],
    current: Mapping[Key, ComparedRow],
    *,
    tolerances: Tolerances | None = None,
    allow_new: bool = False,
) -> Verdict:
    """Compare two sets of rows.

    An attack that got stronger on a defence counts if the mean change exceeds the tolerance, its
    p-value over records (Holm over all attacks whose scores changed) is below alpha, and, from
    three seeds on, it exceeds the spread between training runs; or if single records rose far more
    than the others. An attack that got weaker where it must work counts by its mean. A fall of
    utility counts if it exceeds the tolerance, and the spread between seeds or its standard error.

    Args:
        baseline: rows of the baseline by key.
        current: rows of the run by key.
        tolerances: which differences count; None are the defaults.
        allow_new: whether rows that the baseline lacks are no finding.
    """
    limits = tolerances or Tolerances()
    units = comparison_units(baseline, current)
    changes = [change for unit in units if (change := change_of(unit)) is not None]
    trained = compared_models(baseline, current)
    findings = unmatched_findings(units, allow_new=allow_new)
    findings += [finding for unit in units for finding in _states(unit)]
    findings += _measures(units, allow_new)
    findings += strength_findings(changes, limits)
    findings += blind_findings(changes, limits)
    findings += control_findings(changes, limits)
    findings += [
        finding
        for model in trained
        for finding in utility_findings(model, limits, allow_new=allow_new)
    ]
    subjects = [unit.subject for unit in units] + [model.subject for model in trained]
    compared = [change.unit.subject for change in changes] + [
        model.subject for model in trained if model.shared()
    ]
    return Verdict(tuple(dict.fromkeys(subjects)), tuple(dict.fromkeys(compared)), tuple(findings))


def _states(unit: ComparisonUnit) -> list[Finding]:
    """Return findings on rows whose status, measure or certificate changed, seeds together.

    Cells that were not run have findings of their suite already.
    """
    seeds_by_change: dict[tuple[str, str, str], list[int]] = {}
    for seed, old in sorted(unit.old.items()):
        new = unit.new.get(seed)
        if new is None or new.status == NOT_RUN:
            continue
        why = f": {new.reason}" if new.reason else ""
        if old.status != new.status:
            level = "worse" if old.status == "ok" else "unsure"
            seeds_by_change.setdefault(
                (level, "state", f"was {old.status} and is {new.status}{why}"), []
            ).append(seed)
        elif old.status in UNFINISHED:
            change = f"{new.status} as in the baseline, and was not compared{why}"
            seeds_by_change.setdefault(("note", "state", change), []).append(seed)
        elif old.measure != new.measure:
            measure_now = new.measure or "no measure between controls"
            change = (
                f"is compared by {old.measure or 'no measure'} in the baseline, "
                f"and has {measure_now} now"
            )
            seeds_by_change.setdefault(("unsure", "measure", change), []).append(seed)
        elif old.certificate != new.certificate:
            change = "is the attack's certificate " + (
                "in the baseline only" if old.certificate else "now only"
            )
            seeds_by_change.setdefault(("unsure", "state", change), []).append(seed)
    return [
        Finding(
            kind,
            unit.subject,
            f"{unit.subject}: {change} at seed {', '.join(map(str, seeds))}",
            level,  # type: ignore[arg-type]
        )
        for (level, kind, change), seeds in seeds_by_change.items()
    ]


def _measures(units: Iterable[ComparisonUnit], allow_new: bool) -> list[Finding]:
    """Return findings on measures of one side only, once for all rows with equal differences."""
    lost: dict[tuple[str, ...], list[str]] = {}
    gained: dict[tuple[str, ...], list[str]] = {}
    for unit in units:
        for seed, old in unit.old.items():
            new = unit.new.get(seed)
            if new is None or old.status != "ok" or new.status != "ok":
                continue
            for groups, less, more in ((lost, new, old), (gained, old, new)):
                if names := tuple(sorted(set(more.measures) - set(less.measures))):
                    groups.setdefault(names, []).append(unit.subject)
    findings = [
        _measure(names, subjects, "are in the baseline and not in the run")
        for names, subjects in lost.items()
    ]
    if not allow_new:
        findings += [
            _measure(names, subjects, "are in the run and not in the baseline")
            for names, subjects in gained.items()
        ]
    return findings


def _measure(names: Sequence[str], subjects: Sequence[str], change: str) -> Finding:
    where = list(dict.fromkeys(subjects))
    subject = where[0] if len(where) == 1 else f"measures of {len(where)} comparisons"
    which = where[0] if len(where) == 1 else f"{len(where)} comparisons, such as {where[0]}"
    return Finding(
        "measure", subject, f"{which}: the measures {', '.join(names)} {change}", "unsure"
    )
