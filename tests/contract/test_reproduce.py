"""A row can be made again from its own spec, and a changed one is found out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.errors import RequestError
from bench.ledger import Ledger
from bench.progress import Silent
from bench.reproduce import find_rows, report, reproduce
from bench.runner import Runner
from bench.targets import TARGETS


@pytest.fixture(scope="module")
def results(make_job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cell."""
    results = tmp_path_factory.mktemp("results")
    Runner(results, Silent()).run(make_job(defense="timestep:t_min=900+activation"))
    return results


def test_a_row_of_the_ledger_and_of_the_csv_match_when_made_again(results, planner):
    stored = find_rows(Ledger(results).rows()[0]["cell_id"][:6], results, None)
    of_csv = find_rows(stored[0]["cell_id"], results, results / "rows.csv")
    assert len(stored) == len(of_csv) == len(TARGETS)
    again = reproduce(stored, planner, Silent(), tolerance=0.0)
    assert again.mismatches == ()
    assert again.changed == ()
    assert again.compared > 100
    text = reproduce(of_csv, planner, Silent())
    assert text.mismatches == ()
    assert report(text, 1e-6) == [f"cell {again.cell_id} matches: {text.compared} fields, numbers within 1e-06"]


def test_a_changed_row_is_found_out_and_other_origins_are_told(results, planner):
    stored = [dict(row) for row in Ledger(results).rows()]
    spec = json.loads(stored[0]["spec"])
    spec["attack"]["attack"]["code"] = "0" * 12
    spec["capture"]["versions"]["torch"] = "1.0"
    for row in stored:
        row["spec"] = json.dumps(spec)
    stored[0]["ssim"] += 1e-3
    stored[1]["flags"] = "invented"
    again = reproduce(stored, planner, Silent())
    assert [(m.target, m.field) for m in again.mismatches] == [("image", "ssim"), ("condition", "flags")]
    assert again.changed[0] == "other code of attack inversion"
    assert again.changed[1].startswith("torch 1.0 (here ")
    assert report(again, 1e-6)[0].startswith("The row was made with other code of attack inversion; torch 1.0 (here")


def test_the_command_exits_with_1_on_a_mismatch_and_2_on_a_wrong_request(results, tmp_path):
    rows = list(csv.DictReader((results / "rows.csv").open()))
    rows[0]["psnr"] = "99"
    with (tmp_path / "changed.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    cell_id = rows[0]["cell_id"]
    result = CliRunner().invoke(main, ["reproduce", cell_id, "--rows", str(tmp_path / "changed.csv")])
    assert result.exit_code == 1, result.output
    assert "image psnr: '99' in the row" in result.output
    assert "1 of " in result.output.splitlines()[-1]
    missing = CliRunner().invoke(main, ["reproduce", "zzz", "--results", str(results)])
    assert missing.exit_code == 2
    assert "no cells have an id that starts with 'zzz'" in missing.output


def test_a_row_that_a_time_limit_cut_off_is_refused(results, planner):
    stored = [{**row, "status": "timeout"} for row in Ledger(results).rows()]
    with pytest.raises(RequestError, match="cut off by a time limit"):
        reproduce(stored, planner, Silent())
