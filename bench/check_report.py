"""A check's verdict as lines, as JUnit XML and as a GitHub step summary."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

from bench.check_verdict import Verdict
from bench.errors import RequestError
from bench.files import disk_errors, write_text

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def lines(verdict: Verdict) -> list[str]:
    """One line a finding, failures first."""
    ordered = sorted(verdict.findings, key=lambda finding: not finding.fails)
    return [f"{'FAIL' if f.fails else 'note'} {f.kind}: {_CONTROL.sub(' ', f.sentence)}" for f in ordered]


def summary(verdict: Verdict) -> str:
    """One sentence."""
    count = len(verdict.failures)
    if not count:
        return f"{len(verdict.subjects)} comparisons with the baseline, nothing got worse"
    return f"{count} finding{'s' * (count > 1)} in {len(verdict.subjects)} comparisons with the baseline"


def write_junit(path: Path, verdict: Verdict) -> None:
    """One test case a comparison, as CI systems show them (the JUnit XML of Apache Ant)."""
    suite = ElementTree.Element("testsuite", name="bench check")
    failed = 0
    for subject in verdict.subjects:
        case = ElementTree.SubElement(suite, "testcase", classname="bench.check", name=_CONTROL.sub(" ", subject))
        found = [finding for finding in verdict.failures if finding.subject == subject]
        failed += bool(found)
        if found:  # one a case, which is what readers of the format expect
            kinds = " ".join(dict.fromkeys(finding.kind for finding in found))
            failure = ElementTree.SubElement(case, "failure", type=kinds, message=_CONTROL.sub(" ", found[0].sentence))
            failure.text = _CONTROL.sub(" ", "\n".join(finding.sentence for finding in found))
    suite.set("tests", str(len(verdict.subjects)))
    suite.set("failures", str(failed))
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
        raise RequestError("--github-summary: GITHUB_STEP_SUMMARY is not set; it is inside GitHub Actions")
    with disk_errors(Path(place)), Path(place).open("a", encoding="utf-8") as stream:
        stream.write(github_markdown(verdict))


def github_markdown(verdict: Verdict) -> str:
    """The verdict as Markdown."""
    table = [f"### bench check: {summary(verdict)}", ""]
    if verdict.findings:
        table += ["| | kind | finding |", "|---|---|---|"]
        for finding in sorted(verdict.findings, key=lambda f: not f.fails):
            sentence = _CONTROL.sub(" ", finding.sentence).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
            table.append(f"| {'❌' if finding.fails else 'note'} | {finding.kind} | {sentence} |")
    return "\n".join(table) + "\n"
