"""A check's verdict as lines, as JSON, as JUnit XML, and as GitHub Actions shows it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.reports.check.verdict import Finding, Level, Verdict
from bench.util.errors import RequestError
from bench.util.files import disk_errors, write_text

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_ORDER: tuple[Level, ...] = ("worse", "unsure", "note")
_WORDS = {"worse": "FAIL", "unsure": "UNSURE", "note": "note"}
_COMMANDS = {"worse": "error", "unsure": "error", "note": "notice"}
_SIGNS = {"worse": "❌", "unsure": "❓", "note": "note"}


def lines(verdict: Verdict) -> list[str]:
    """One line a finding: what got worse, what could not be said, and notes."""
    return [f"{_WORDS[f.level]} {f.kind}: {_plain(f.sentence)}" for f in _ordered(verdict)]


def github_lines(verdict: Verdict) -> list[str]:
    """The findings as workflow commands, which GitHub Actions shows at the head of a run."""
    return [
        f"::{_COMMANDS[f.level]} title=bench check%3A {_escaped(f.kind)}::{_escaped(f.sentence)}"
        for f in _ordered(verdict)
    ]


def summary(verdict: Verdict) -> str:
    """One sentence: the answer, on how many comparisons, and of which suite and baseline."""
    count = len(verdict.compared)
    made = f"{count} comparison{'s' * (count != 1)}{_between(verdict)}"
    worse, unsure = (_several(verdict, level) for level in ("worse", "unsure"))
    if worse:
        return f"worse: {worse} in {made}" + (f"; {unsure} could not be judged" if unsure else "")
    if unsure:
        return f"cannot say: {unsure} that could not be judged; {made}, nothing got worse in them"
    if not count:
        return f"cannot say: nothing was compared{_between(verdict)}"
    return f"no worse: {made}, nothing got worse"


def _several(verdict: Verdict, level: str) -> str:
    count = sum(finding.level == level for finding in verdict.findings)
    return f"{count} finding{'s' * (count > 1)}" if count else ""


def _between(verdict: Verdict) -> str:
    scope = verdict.scope
    if scope is None:
        return ""
    left_out = f"; {scope.left_out} other cells of the ledger left out" if scope.left_out else ""
    return (
        f" of suite {scope.suite} ({scope.found} of its {scope.asked} cells are there{left_out}) with {scope.baseline} "
        f"({scope.cells} cells)"
    )


def as_json(verdict: Verdict) -> str:
    """The verdict as JSON text."""
    scope = verdict.scope
    content: dict[str, Any] = {
        "answer": verdict.answer,
        "exit_code": verdict.exit_code,
        "summary": summary(verdict),
    }
    if scope is not None:
        content["suite"] = {
            "name": scope.suite,
            "cells": scope.asked,
            "cells_found": scope.found,
            "cells_left_out": scope.left_out,
        }
        content["baseline"] = {"path": scope.baseline, "cells": scope.cells}
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
    """One test case a comparison, as CI systems show them (the JUnit XML of Apache Ant).

    What got worse is a failure, what could not be judged an error, a note is the case's output, and
    what was not compared without a finding is skipped.
    """
    suite = ElementTree.Element("testsuite", name="bench check")
    subjects = list(dict.fromkeys((*verdict.subjects, *(f.subject for f in verdict.findings))))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for subject in subjects:
        case = ElementTree.SubElement(
            suite, "testcase", classname="bench.reports.check.compare", name=_plain(subject)
        )
        found = [finding for finding in _ordered(verdict) if finding.subject == subject]
        failing = [finding for finding in found if finding.fails]
        if failing:  # one a case, which is what readers of the format expect
            tag = "failure" if failing[0].level == "worse" else "error"
            kinds = " ".join(dict.fromkeys(finding.kind for finding in failing))
            element = ElementTree.SubElement(
                case, tag, type=kinds, message=_plain(failing[0].sentence)
            )
            element.text = _plain("\n".join(finding.sentence for finding in failing))
            counts[tag] += 1
        elif subject not in verdict.compared and not found:
            ElementTree.SubElement(case, "skipped", message="nothing to compare on either side")
            counts["skipped"] += 1
        if notes := [finding for finding in found if not finding.fails]:
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
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        raise RequestError(
            "--github-summary: GITHUB_STEP_SUMMARY is not set; it is inside GitHub Actions"
        )
    with disk_errors(Path(place)), Path(place).open("a", encoding="utf-8") as stream:
        stream.write(github_markdown(verdict))


def github_markdown(verdict: Verdict) -> str:
    """The verdict as Markdown."""
    table = [f"### bench check: {_cell(summary(verdict))}", ""]
    if verdict.findings:
        table += ["| | kind | finding |", "|---|---|---|"]
        table += [
            f"| {_SIGNS[f.level]} | {f.kind} | {_cell(f.sentence)} |" for f in _ordered(verdict)
        ]
    return "\n".join(table) + "\n"


def _ordered(verdict: Verdict) -> Sequence[Finding]:
    return sorted(verdict.findings, key=lambda finding: _ORDER.index(finding.level))


def _plain(text: str) -> str:
    """Text without control characters, which XML forbids and terminals obey."""
    return _CONTROL.sub(" ", text)


def _cell(text: str) -> str:
    """Text as a cell of a Markdown table."""
    return _plain(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _escaped(text: str) -> str:
    """Text as the data of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
