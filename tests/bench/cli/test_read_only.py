"""Commands that read work where nothing can be written, and change nothing anywhere."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.cli.summary import summary
from bench.interfaces import DataError, RequestError
from bench.ledger.ledger import Ledger
from bench.ledger.reader import LedgerReader
from bench.reports.check.baseline import Baseline, write_baseline
from bench.reports.check.compared_rows import compared_rows
from bench.reports.check.verdict import Tolerances
from tests.bench.ledger.test_ledger import first_schema
from tests.support.rows import SyntheticLedger

NOBODY = 65534


@contextmanager
def without_root(folder: Path) -> Iterator[None]:
    """File access as another user than root, whom permissions do not stop."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root may write everywhere")
    libc = ctypes.CDLL(None)
    libc.setfsuid(NOBODY)
    try:
        yield
    finally:
        libc.setfsuid(0)


@pytest.fixture
def results() -> Iterator[Path]:
    """A results directory with a baseline, which every user may read."""
    root = Path(tempfile.mkdtemp(prefix="splitleak-test-"))
    root.chmod(0o755)
    made, ledger = SyntheticLedger(), Ledger(root / "results")
    for defense, level in (("none", 0.6), ("strong", 0.3)):
        for seed in range(3):
            row = made.add(
                defense, seed=seed, level=level, utility={"fid": 10.0, "condition_edge_f1": 0.5}
            )
            ledger.write(
                row["cell_id"],
                row["capture_id"],
                row["spec"],
                [row],
                made.record_scores(row["cell_id"]),
            )
    baseline = Baseline(compared_rows(made.rows, made.read, measure="ssim"), "smoke", Tolerances())
    write_baseline(root / "results" / "baseline.csv", baseline, reason="first", accepted=0)
    yield root / "results"
    for path in (root / "results", *(root / "results").rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(root)


def lock_up(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def _journal_of_wal(results: Path) -> None:
    """As earlier versions left their ledgers."""
    with sqlite3.connect(results / "ledger.sqlite") as db:
        assert db.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    db.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "before", [lambda results: None, _journal_of_wal], ids=["ledger", "ledger of earlier versions"]
)
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["leaderboard"], ["# Leaderboard", "strong", "not written, since"]),
        (["frontier"], ["# Privacy and quality", "strong", "not written, since"]),
        (["check"], ["cannot say", "59 of the suite's 59 cells"]),  # the made rows are of no suite
        (["ls", "datasets"], ["portraits"]),
    ],
    ids=lambda value: value[0],
)
def test_reading_commands_need_no_write_access(
    command: list[str], words: list[str], before: Callable[[Path], None], results: Path
) -> None:
    before(results)
    copy = Path(shutil.copytree(results, results.parent / "copy"))
    CliRunner().invoke(
        main, [*command, "--results", str(copy)]
    )  # imports what a user without a home may not read
    lock_up(results)
    there = content_of(results)
    with without_root(results):
        assert not os.path.exists(results / "x")
        with pytest.raises(PermissionError):
            (results / "x").write_text("")
        done = CliRunner().invoke(main, [*command, "--results", str(results)])
    assert done.exit_code == (4 if command == ["check"] else 0), done.output
    assert [word for word in words if word not in done.output] == []
    assert content_of(results) == there


def test_merge_and_summary_read_there_and_writing_commands_say_so(
    results: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(results, results.parent / "copy"))
    runner = CliRunner()
    runner.invoke(main, ["merge", str(copy), "--into", str(tmp_path / "first")])
    runner.invoke(summary, [str(copy / "rows.csv")])
    lock_up(results)
    (results.parent / "mine").mkdir()
    (results.parent / "mine").chmod(0o777)
    with without_root(results):
        merged = runner.invoke(
            main, ["merge", str(results), "--into", str(results.parent / "mine")]
        )
        table = runner.invoke(summary, [str(results / "rows.csv")])
        refused = runner.invoke(main, ["merge", str(copy), "--into", str(results)])
    assert "6 cells added" in merged.output
    assert "strong" in table.output
    assert refused.exit_code == 2
    assert "cannot write under" in refused.output
    assert "Traceback" not in refused.output


def test_a_reader_opens_the_ledger_read_only(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda name, **options: opened.append(name) or connect(name, **options)
    )
    assert len(LedgerReader(results).rows()) == 6
    assert opened
    assert all("?mode=ro" in name for name in opened)


def test_a_reader_repairs_nothing(results: Path, tmp_path: Path) -> None:
    (results / "ledger.sqlite").write_bytes(b"this is no database" * 100)
    there = content_of(results)
    done = CliRunner().invoke(main, ["leaderboard", "--results", str(results)])
    assert done.exit_code == 2
    assert "not a readable ledger: file is not a database" in done.output
    assert content_of(results) == there
    with pytest.raises(RequestError, match=r"has no ledger\.sqlite"):
        LedgerReader(tmp_path)
    first_schema(tmp_path / "old")
    with pytest.raises(DataError, match=r"old ledger schema 1; bench merge .* converts it"):
        LedgerReader(tmp_path / "old")


def test_a_ledger_of_earlier_versions_leaves_wal_when_it_is_written(results: Path) -> None:
    _journal_of_wal(results)
    Ledger(results)
    with sqlite3.connect(results / "ledger.sqlite") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    db.close()
