"""A row can be made again from its own spec, and a changed one is found out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cell.runner import Runner
from bench.cli.main import main
from bench.interfaces import TARGETS, RequestError, Silent
from bench.ledger.ledger import Ledger
from bench.reports.processor_tolerance import Difference, ProcessorTolerance
from bench.running import field_tolerance
from bench.running.reproduce import find_rows, report, reproduce
from bench.util.processor import processor


@pytest.fixture(scope="module")
def results(make_job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cell."""
    results = tmp_path_factory.mktemp("results")
    Runner(results, Silent()).run(make_job(defense="timestep:t_min=900+activation"))
    return results


@pytest.mark.slow
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
    assert report(text) == [
        f"reproduced: cell {again.cell_id}, all {text.compared} fields agree within 1e-06"
    ]


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
    assert [(m.target, m.field) for m in again.mismatches] == [
        ("image", "ssim"),
        ("condition", "flags"),
    ]
    assert again.changed[0] == "other code of attack inversion"
    assert again.changed[1].startswith("torch 1.0 (now ")
    sentence, *details = report(again)
    assert sentence.startswith(
        f"not reproduced: cell {again.cell_id}, 2 of {again.compared} fields differ, most of all"
    )
    assert "; the row was made with other code of attack inversion, torch 1.0 (now" in sentence
    assert [line.split(":")[0] for line in details] == [
        "  differs condition flags",
        "  differs image ssim",
    ]


@pytest.mark.slow
def test_a_row_of_another_processor_is_reproduced_within_what_processors_change(
    results, planner, monkeypatch
):
    table = ProcessorTolerance(
        "made", {"ssim": Difference(0.002, 0.0), "utility_fid": Difference(0.01, 0.0)}
    )
    monkeypatch.setattr(field_tolerance, "measured_tolerance", lambda: table)
    stored = [dict(row, processor="another") for row in Ledger(results).rows()]
    stored[0]["ssim"] += 1e-3
    stored[0]["ssim_low"] -= 3e-3
    stored[1]["flags"] = "floor-overlap"
    again = reproduce(stored, planner, Silent())
    assert again.reproduced
    assert {(m.target, m.field) for m in again.differing} == {
        *(("image", name) for name in ("ssim", "ssim_low")),
        ("condition", "flags"),
    }
    (sentence, *_) = report(again)
    assert sentence.startswith(
        f"reproduced: cell {again.cell_id}, all {again.compared} fields agree within what another"
    )
    assert "(3 differ, most of all image ssim_low: " in sentence
    assert sentence.endswith(f"; another processor, another (here {processor()})")
    for row in stored:
        del row["processor"]
    stored[0]["ssim_low"] -= 3e-3
    again = reproduce(stored, planner, Silent())
    assert [(m.target, m.field) for m in again.mismatches] == [("image", "ssim_low")]
    assert report(again)[0].endswith(
        f"made with a processor that the row does not name (here {processor()})"
    )


@pytest.mark.slow
def test_a_callers_tolerance_stands_for_all_numbers(results, planner):
    stored = [dict(row, processor="another") for row in Ledger(results).rows()]
    stored[0]["ssim"] += 1e-3
    assert reproduce(stored, planner, Silent(), tolerance=0.01).reproduced
    assert not reproduce(stored, planner, Silent(), tolerance=1e-4).reproduced
    with pytest.raises(
        RequestError, match="--tolerance must be a finite number of at least 0, got nan"
    ):
        reproduce(stored, planner, Silent(), tolerance=float("nan"))


@pytest.mark.slow
def test_the_command_exits_with_1_on_a_mismatch_and_2_on_a_wrong_request(results, tmp_path):
    rows = list(csv.DictReader((results / "rows.csv").open()))
    rows[0]["psnr"] = "99"
    with (tmp_path / "changed.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    cell_id = rows[0]["cell_id"]
    result = CliRunner().invoke(
        main, ["reproduce", cell_id, "--rows", str(tmp_path / "changed.csv")]
    )
    assert result.exit_code == 1, result.output
    sentence = result.output.splitlines()[-1]
    assert sentence.startswith(f"bench: not reproduced: cell {cell_id}, 1 of ")
    assert "most of all image psnr: '99' in the row" in sentence
    rows[0]["psnr"], rows[1]["lpips"] = "9", "9"
    with (tmp_path / "changed.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    result = CliRunner().invoke(
        main, ["reproduce", cell_id, "--rows", str(tmp_path / "changed.csv"), "--details"]
    )
    assert result.exit_code == 1, result.output
    assert sum(line.startswith("  differs ") for line in result.output.splitlines()) == 2
    missing = CliRunner().invoke(main, ["reproduce", "zzz", "--results", str(results)])
    assert missing.exit_code == 2
    assert "no cells have an id that starts with 'zzz'" in missing.output


def test_a_row_that_a_time_limit_cut_off_is_refused(results, planner):
    stored = [{**row, "status": "timeout"} for row in Ledger(results).rows()]
    with pytest.raises(RequestError, match="stopped by a time limit"):
        reproduce(stored, planner, Silent())
