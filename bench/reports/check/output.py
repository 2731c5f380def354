"""Formats the verdict of a check as text, JSON, JUnit XML and for GitHub Actions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.reports.check.verdict import Finding, Level, Verdict
from bench.reports.markdown import escaped, table
from bench.util.errors import RequestError
from bench.util.files import disk_errors, write_text

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_ORDER: tuple[Level, ...] = ("worse", "unsure", "note")
_WORDS = {"worse": "FAIL", "unsure": "UNSURE", "note": "note"}
_COMMANDS = {"worse": "error", "unsure": "error", "note": "notice"}
_SIGNS = {"worse": "❌", "unsure": "❓", "note": "note"}


def lines(verdict: Verdict) -> list[str]:
    """Return a line for each finding: failures first, then unclear ones, then notes."""
    return [f"{_WORDS[f.level]} {f.kind}: {_plain(f.sentence)}" for f in _ordered(verdict)]


def github_lines(verdict: Verdict) -> list[str]:
    """Return the findings as workflow commands, which GitHub Actions shows above a run."""
    return [
        f"::{_COMMANDS[f.level]} title=bench check%3A {_command_data(f.kind)}::"
        f"{_command_data(f.sentence)}"
        for f in _ordered(verdict)
    ]


def summary(verdict: Verdict) -> str:
    """Return a sentence with the answer, the number of comparisons, suite and baseline."""
    count = len(verdict.compared)
    comparisons = f"{count} comparison{'s' * (count != 1)}{_scope(verdict)}"
    worse, unsure = (_count(verdict, level) for level in ("worse", "unsure"))
    if worse:
        return f"worse: {worse} in {comparisons}" + (
            f"; {unsure} could not be judged" if unsure else ""
        )
    if unsure:
        return (
            f"cannot say: {unsure} that could not be judged; "
            f"{comparisons}, nothing got worse in them"
        )
    if not count:
        return f"cannot say: nothing was compared{_scope(verdict)}"
    return f"no worse: {comparisons}, nothing got worse"


def _count(verdict: Verdict, level: str) -> str:
    count = sum(finding.level == level for finding in verdict.findings)
    return f"{count} finding{'s' * (count > 1)}" if count else ""


def _scope(verdict: Verdict) -> str:
    scope = verdict.scope
    if scope is None:
        return ""
    count = scope.cells_left_out
    others = f"; {count} other cells of the ledger left out" if count else ""
    return (
        f" of suite {scope.suite} ({scope.cells_found} of its {scope.cells} cells are there"
        f"{others}) with {scope.baseline} ({scope.baseline_cells} cells)"
    )


def as_json(verdict: Verdict) -> str:
    """Return the verdict as JSON text."""
    scope = verdict.scope
    content: dict[str, Any] = {
        "answer": verdict.answer,
        "exit_code": verdict.exit_code,
        "summary": summary(verdict),
    }
    if scope is not None:
        content["suite"] = {
            "name": scope.suite,
            "cells": scope.cells,
            "cells_found": scope.cells_found,
            "cells_left_out": scope.cells_left_out,
        }
        content["baseline"] = {"path": scope.baseline, "cells": scope.baseline_cells}
    content["compared"] = list(verdict.compared)
    content["not_compared"] = [
        subject for subject in verdict.subjects if subject not in set(verdict.compared)
    ]
    content["findings"] = [
        {"level": f.level, "kind": f.kind, "subject": f.subject, "sentence": f.sentence}
        for f in _ordered(verdict)
    ]
    return json.dumps(content, indent=1)


def write_junit(path: Path, verdict: Verdict) -> None:
    """Write JUnit XML (of Apache Ant) with a test case for each comparison.

    A regression is a failure, an unclear comparison an error, a note the output of the case, and a
    subject that was not compared and has no finding is skipped.
    """
    suite = ElementTree.Element("testsuite", name="bench check")
    subjects = list(dict.fromkeys((*verdict.subjects, *(f.subject for f in verdict.findings))))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for subject in subjects:
        case = ElementTree.SubElement(
            suite, "testcase", classname="bench.reports.check.compare", name=_plain(subject)
        )
        of_subject = [finding for finding in _ordered(verdict) if finding.subject == subject]
        failing = [finding for finding in of_subject if finding.fails]
        if failing:  # readers of the format expect one failure in a case
            tag = "failure" if failing[0].level == "worse" else "error"
            kinds = " ".join(dict.fromkeys(finding.kind for finding in failing))
            element = ElementTree.SubElement(
                case, tag, type=kinds, message=_plain(failing[0].sentence)
            )
            element.text = _plain("\n".join(finding.sentence for finding in failing))
            counts[tag] += 1
        elif subject not in verdict.compared and not of_subject:
            ElementTree.SubElement(case, "skipped", message="nothing to compare on either side")
            counts["skipped"] += 1
        if notes := [finding for finding in of_subject if not finding.fails]:
            output = ElementTree.SubElement(case, "system-out")
            output.text = _plain("\n".join(f"note {f.kind}: {f.sentence}" for f in notes))
    if not verdict.compared:
        case = ElementTree.SubElement(
            suite, "testcase", classname="bench.reports.check.compare", name="the check as a whole"
        )
        ElementTree.SubElement(
            case, "error", type="nothing-compared", message=_plain(summary(verdict))
        )
        counts["error"] += 1
    suite.set("tests", str(len(suite)))
    for name, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(plural, str(counts[name]))
    text = ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)
    with disk_errors(path):
        write_text(path, text + "\n")


def add_github_summary(verdict: Verdict) -> None:
    """Append a table to the file that GitHub Actions names in GITHUB_STEP_SUMMARY.

    Raises:
        RequestError: the variable is not set.
    """
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if not file:
        raise RequestError(
            "--github-summary: GITHUB_STEP_SUMMARY is not set; use it in GitHub Actions"
        )
    with disk_errors(Path(file)), Path(file).open("a", encoding="utf-8") as stream:
        stream.write(github_markdown(verdict))


def github_markdown(verdict: Verdict) -> str:
    """Return the verdict as Markdown."""
    text = [f"### bench check: {_cell(summary(verdict))}", ""]
    if verdict.findings:
        rows = [(_SIGNS[f.level], f.kind, _cell(f.sentence)) for f in _ordered(verdict)]
        text += table(("", "kind", "finding"), rows)
    return "\n".join(text) + "\n"


def _ordered(verdict: Verdict) -> Sequence[Finding]:
    return sorted(verdict.findings, key=lambda finding: _ORDER.index(finding.level))


def _plain(text: str) -> str:
    """Return text without control characters, which XML forbids and terminals execute."""
    return _CONTROL.sub(" ", text)


def _cell(text: str) -> str:
    return escaped(_plain(text))


def _command_data(text: str) -> str:
    """Return text as the data of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
