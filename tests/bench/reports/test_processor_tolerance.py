"""Which processor made a row, and how far numbers of two processors lie apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.tolerance import tolerance
from bench.interfaces import DataError, RequestError
from bench.ledger.ledger import Ledger
from bench.reports.processor_tolerance import (
    MARGIN,
    Difference,
    ProcessorTolerance,
    measure,
    measured_tolerance,
    quantity,
)
from bench.util.processor import instruction_level, processor
from tests.support.rows import SyntheticLedger

WITHOUT_AVX512 = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "ATEN_CPU_CAPABILITY": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
}


@pytest.mark.slow
def test_the_words_name_level_kernels_and_follow_the_environment():
    level, torch, blas = processor().split()[-3:]
    assert level == instruction_level()
    assert torch.startswith("torch=")
    assert blas.startswith("blas=")
    if level != "x86-64-v4":
        pytest.skip("the switches below are for processors with AVX-512")
    code = "from bench.util.processor import processor; print(processor())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **WITHOUT_AVX512},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split()[-3:] == ["x86-64-v3", "torch=AVX2", "blas=Haswell"]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("ssim", "ssim"),
        ("ssim_low", "ssim"),
        ("ssim_ceiling", "ssim"),
        ("link_f1_random", "link_f1"),
        ("link_f1_normalized", "link_f1_normalized"),
        ("leak_snr_mean", "leak_snr_mean"),
        ("utility_kid_std", "utility_kid_std"),
    ],
)
def test_the_fields_of_a_metric_are_one_quantity(field, name):
    assert quantity(field) == name


def test_an_entry_is_found_by_field_and_attack():
    table = ProcessorTolerance(
        "made",
        {"ssim": Difference(0.01, 0.5), "ssim@hijack": Difference(0.2), "*": Difference(0.0, 1e-4)},
    )
    assert table.entry_for("ssim_low", "closed-form").allowed(0.001) == MARGIN * 0.01
    assert table.entry_for("ssim", "closed-form").allowed(1.0) == MARGIN * 0.5
    assert table.entry_for("ssim", "hijack:width=16").allowed(1.0) == MARGIN * 0.2
    assert table.entry_for("of_a_plugin").allowed(2.0) == MARGIN * 2e-4
    assert ProcessorTolerance.from_json(table.as_json()) == table


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "much"])
def test_an_impossible_table_is_refused(value):
    content = {
        "measured": "made",
        "entries": {"ssim": {"absolute": value, "relative": 0.0, "record": 0.0}},
    }
    with pytest.raises(DataError):
        ProcessorTolerance.from_json(content)


def test_the_table_that_comes_with_the_package_can_be_read():
    table = measured_tolerance()
    assert table.measured
    assert 0.0 < table.entry_for("utility_fid").allowed(100.0) < 1.0
    assert table.entry_for("of_a_plugin").allowed(1.0) < 1e-3


def two() -> tuple[SyntheticLedger, SyntheticLedger]:
    """Three attacks on two processors; one lies far further apart than the others."""
    made = SyntheticLedger(), SyntheticLedger()
    for attack, change in {
        "closed-form": 0.001,
        "posterior": 0.002,
        "hijack:width=16": 0.1,
    }.items():
        for i, ledger in enumerate(made):
            # Another hash of the data is no other cell here.
            ledger.add(
                "strong",
                attack,
                level=0.5 + i * change,
                data_hash=f"h{i}",
                processor=f"P{i}",
                loss_last=1.0 + i,
            )
    return made


def measured() -> dict[str, Difference]:
    first, second = two()
    reads = [
        lambda cell_id, made=made: {
            ("image", "ssim", r): v for r, v in made.read(cell_id, "image", "ssim").items()
        }
        for made in (first, second)
    ]
    return measure(first.rows, second.rows, *reads)


def test_differences_are_measured_by_quantity_and_an_unsteady_attack_stands_apart():
    found = measured()
    assert found["ssim"].absolute == pytest.approx(0.002)
    assert found["ssim"].record == pytest.approx(0.002)
    assert found["ssim@hijack"].absolute == pytest.approx(0.1)
    assert found["loss_last"] == Difference(1.0, 1.0)
    assert not {"seed", "n", "processor", "ssim@closed-form"} & set(found)


def test_ledgers_without_a_common_cell_are_refused():
    other = SyntheticLedger()
    other.add("weak", "closed-form")
    with pytest.raises(RequestError, match="no cell in common"):
        measure(two()[0].rows, other.rows, lambda _: {}, lambda _: {})


def test_the_command_writes_the_table(tmp_path: Path):
    for name, made in zip("ab", two(), strict=True):
        ledger = Ledger(tmp_path / name)
        for row in made.rows:
            scores = made.record_scores(row["cell_id"])
            ledger.write(row["cell_id"], row["capture_id"], row["spec"], [row], scores)
    out = tmp_path / "table.json"
    arguments = [str(tmp_path / "a"), str(tmp_path / "b"), "--suite", "made", "--out", str(out)]
    result = CliRunner().invoke(tolerance, arguments)
    assert result.exit_code == 0, result.output
    table = ProcessorTolerance.from_json(json.loads(out.read_text()))
    assert table.measured == "made, 3 and 3 rows, between P0 and P1"
    assert table.entry_for("ssim", "hijack").absolute == pytest.approx(0.1, rel=0.01)
    arguments[1] = arguments[0]
    result = CliRunner().invoke(tolerance, arguments)
    assert result.exit_code == 2
    assert "both ledgers were made on P0" in result.output
