"""Compares a run with a baseline: did an attack, a defence or a model get worse?

A check is a function of what a suite plans, the rows and scores of a ledger, and a baseline;
nothing is run or read from disk here. It answers ``no worse``, ``worse`` or ``cannot say``, and
what it could not compare does not count as compared.
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
    present: SuiteState,
    read: ScoreReader,
    *,
    suite: str,
    name: str,
    allow_new: bool = False,
    versions: Mapping[str, str] | None = None,
) -> Verdict:
    """Compare the rows of a suite's present state with a baseline.

    Args:
        read: gives the scores by record of a cell that the ledger has.
        suite, name: of the suite and the baseline, for people.
        allow_new: rows that the baseline lacks are no finding.
        versions: of the libraries that are here; where they are others than the baseline's,
            findings are read with that in mind.

    Raises:
        DataError: a row is malformed, or scores by record contradict their row.
    """
    current = current_points(present, read, measure=MEASURE, baseline=baseline)
    verdict = check(
        baseline.compared_rows, current, tolerances=baseline.tolerances, allow_new=allow_new
    )
    scope = Scope(suite, present.asked, present.found, present.left_out, name, baseline.cells)
    findings = (*present.findings, *verdict.findings)
    if versions is not None and any(finding.fails for finding in findings):
        findings += _versions(baseline.versions, versions)
    return replace(verdict, findings=findings, scope=scope)


def _versions(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Finding, ...]:
    """One note on the libraries that are of another version than the baseline's."""
    names = dict.fromkeys((*then, *now))
    found = [
        f"{n} {then.get(n, 'none')} (now {now.get(n, 'none')})"
        for n in names
        if then.get(n) != now.get(n)
    ]
    sentence = f"the baseline was made with other libraries: {', '.join(found)}"
    return (Finding("versions", "other libraries", sentence, "note"),) if found else ()


def current_points(
    present: SuiteState, read: ScoreReader, *, measure: str, baseline: Baseline | None = None
) -> dict[Key, ComparedRow]:
    """The points of a suite's present state, by the measures of a baseline where it has them.

    Raises:
        DataError: as ``judge``, or two cells of the suite cannot be told apart.
    """
    known = {} if baseline is None else baseline.compared_rows
    chosen = {key: point.measure for key, point in known.items() if point.measure}
    check_distinct(present.rows, (trials([row])[0].key for row in present.rows))
    return compared_rows(present.rows, read, measure=measure, chosen=chosen)


def check(
    baseline: Mapping[Key, ComparedRow],
    current: Mapping[Key, ComparedRow],
    *,
    tolerances: Tolerances | None = None,
    allow_new: bool = False,
) -> Verdict:
    """Compare two sets of points.

    An attack that got stronger on a defence counts if the mean change exceeds the tolerance, its
    p-value over records (Holm over all attacks whose scores changed at all) is below alpha, and,
    from three seeds on, it exceeds what another training run changes; or if single records rose far
    above what the others changed. An attack that got weaker where it must work counts by its mean.
    Utility is held to its tolerance and to the seeds, or to the error that it states.
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
    """Rows of another status than they had, seeds taken together; cells that were not run are told elsewhere."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for seed, old in sorted(unit.old.items()):
        new = unit.new.get(seed)
        if new is None or new.status == NOT_RUN:
            continue
        why = f": {new.reason}" if new.reason else ""
        if old.status != new.status:
            level = "worse" if old.status == "ok" else "unsure"
            found.setdefault(
                (level, "state", f"was {old.status} and is {new.status}{why}"), []
            ).append(seed)
        elif old.status in UNFINISHED:
            words = f"{new.status} as in the baseline, and was not compared{why}"
            found.setdefault(("note", "state", words), []).append(seed)
        elif old.measure != new.measure:
            here = new.measure or "no measure between controls"
            words = (
                f"is compared by {old.measure or 'no measure'} in the baseline, and has {here} now"
            )
            found.setdefault(("unsure", "measure", words), []).append(seed)
        elif old.certificate != new.certificate:
            words = "is the attack's certificate " + (
                "in the baseline only" if old.certificate else "now only"
            )
            found.setdefault(("unsure", "state", words), []).append(seed)
    return [
        Finding(
            kind,
            unit.subject,
            f"{unit.subject}: {words} at seed {', '.join(map(str, seeds))}",
            level,  # type: ignore[arg-type]
        )
        for (level, kind, words), seeds in found.items()
    ]


def _measures(units: Iterable[ComparisonUnit], allow_new: bool) -> list[Finding]:
    """Measures that only one side has, told once for all rows that lost or gained the same ones."""
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


def _measure(names: Sequence[str], subjects: Sequence[str], words: str) -> Finding:
    where = list(dict.fromkeys(subjects))
    subject = where[0] if len(where) == 1 else f"measures of {len(where)} comparisons"
    which = where[0] if len(where) == 1 else f"{len(where)} comparisons, such as {where[0]}"
    return Finding(
        "measure", subject, f"{which}: the measures {', '.join(names)} {words}", "unsure"
    )
