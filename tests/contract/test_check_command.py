"""``bench check SUITE`` on real cells of the tiny model: it runs what is missing and judges exactly
that suite.
"""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import attacks.wire.closed_form
from bench.cli import execution
from bench.cli.main import main
from bench.ledger.ledger import Ledger
from bench.planning import resolved_plugin
from bench.reports.check.baseline import read_baseline
from bench.util.processor import processor
from tests.support.suites import SETTINGS


def write_suite(path: Path, model: Path, **changes: Any) -> Path:
    """Two cells; written where the baseline is to be."""
    block = {"attacks": ["closed-form"], "defenses": ["none", "activation"], **changes}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        yaml.safe_dump({"settings": {**SETTINGS, "model": str(model)}, "blocks": {"only": block}})
    )
    return path


def bench(*args: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(
        main, [str(arg) for arg in args], catch_exceptions=False, env={"GITHUB_ACTIONS": ""}
    )
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Cells run here: a worker would import everything anew."""
    monkeypatch.setattr(execution, "Running", functools.partial(execution.Running, engine="serial"))


@pytest.fixture(scope="module")
def first(tiny_model, tmp_path_factory) -> Path:
    """A results folder with a suite and its baseline."""
    results = tmp_path_factory.mktemp("check") / "first"
    suite = write_suite(results / "suite.yaml", tiny_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "Running", functools.partial(execution.Running, engine="serial"))
        code, output = bench("check", suite, "--results", results, "--update", "--reason", "first")
    assert code == 0, output
    assert "2 cells of suite suite in 6 rows, 0 findings accepted: first" in output
    return results


@pytest.fixture
def results(first, tmp_path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(first, tmp_path / "again"))


@pytest.mark.slow
def test_the_suite_is_no_worse_than_itself_with_and_without_its_name(results):
    baseline = read_baseline(results / "baseline.csv")
    assert baseline.suite == "suite.yaml"
    assert {point.processor for point in baseline.compared_rows.values()} == {processor()}
    for suite in ([], [results / "suite.yaml"]):
        code, output = bench("check", *suite, "--results", results, "--json")
        verdict = json.loads(output[output.index('{\n "answer"') : output.rindex("}") + 1])
        assert (code, verdict["answer"], verdict["findings"]) == (0, "no worse", [])
        assert verdict["suite"] == {
            "name": "suite",
            "cells": 2,
            "cells_found": 2,
            "cells_left_out": 0,
        }
        assert verdict["baseline"]["cells"] == 2
        assert any("closed-form on activation" in subject for subject in verdict["compared"])


@pytest.mark.slow
def test_what_is_missing_is_run_where_the_suite_is_named_and_told_where_it_is_not(
    results, tmp_path
):
    empty = tmp_path / "empty"
    against = ("--results", empty, "--baseline", results / "baseline.csv")
    code, output = bench("check", *against)
    assert code == 2
    assert "no ledger.sqlite there; bench check SUITE runs what is missing" in output
    Ledger(empty)
    code, output = bench("check", *against)
    assert code == 4
    assert "UNSURE not-run: 2 of the suite's 2 cells have no rows in the ledger" in output
    code, output = bench("check", results / "suite.yaml", *against)
    assert code == 0
    assert "2 cells run; 2 ok" in output
    assert output.splitlines()[-1].startswith("no worse: ")


@pytest.mark.parametrize("allow_new", [[], ["--allow-new"]])
def test_a_suite_that_changed_is_not_judged_by_its_old_rows(results, tiny_model, allow_new):
    suite = write_suite(results / "suite.yaml", tiny_model, defenses=["none"])
    for name in ([], [suite]):
        code, output = bench("check", *name, "--results", results, *allow_new)
        assert code == 4
        assert "UNSURE missing: closed-form on activation" in output
        assert "1 other cells of the ledger left out" in output


def test_rows_of_another_code_do_not_count(results, monkeypatch):
    """As if the code of the attack had been edited after the run."""
    real = resolved_plugin.plugin_spec

    def edited(cls: type, values: dict[str, Any]) -> Any:
        spec = real(cls, values)
        return (
            spec.model_copy(update={"code": "0" * 12})
            if cls is attacks.wire.closed_form.ClosedForm
            else spec
        )

    monkeypatch.setattr(resolved_plugin, "plugin_spec", edited)
    code, output = bench("check", "--results", results)
    assert code == 4
    assert "UNSURE stale: 2 of the suite's 2 cells have rows of another state only" in output
    assert "made with other code of attack closed-form" in output
    assert "0 comparisons" in output
