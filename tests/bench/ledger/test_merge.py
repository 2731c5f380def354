"""Merging takes what can be believed, keeps where it came from, and refuses the rest as a whole."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.interfaces import DataError, RequestError
from bench.ledger.ledger import Ledger
from bench.ledger.merge import merge
from bench.ledger.merge_read import read_foreign
from tests.support.rows import SyntheticLedger


def write(results: Path, made: SyntheticLedger, **changes: Any) -> Path:
    """A results directory with the made rows, some of their fields replaced."""
    ledger = Ledger(results)
    for row in made.rows:
        scores = made.record_scores(row["cell_id"])
        ledger.write(row["cell_id"], row["capture_id"], row["spec"], [row | changes], scores)
    return results


@pytest.fixture
def made() -> SyntheticLedger:
    made = SyntheticLedger()
    made.add("none", seed=0)
    made.add("strong", seed=1, status="failed")
    return made


@pytest.fixture
def theirs(tmp_path, made) -> Path:
    return write(tmp_path / "theirs", made)


def test_cells_come_with_scores_and_origin(theirs, made, tmp_path):
    done = merge([theirs], tmp_path / "mine")
    assert (done.added, done.known) == (2, 0)
    mine = Ledger(tmp_path / "mine")
    assert [row | {"origin": None} for row in mine.rows()] == [
        row | {"origin": None} for row in Ledger(theirs).rows()
    ]
    assert {row["origin"] for row in mine.rows()} == {"theirs"}
    cell = made.rows[0]["cell_id"]
    assert mine.score_table(cell).equals(Ledger(theirs).score_table(cell))
    assert len(mine.score_table(cell)) == 40
    assert merge([theirs], tmp_path / "mine").known == 2


def test_a_csv_and_a_passed_on_ledger_keep_the_first_origin(theirs, tmp_path):
    merge([theirs / "rows.csv"], tmp_path / "second")
    merge([tmp_path / "second"], tmp_path / "third")
    rows = Ledger(tmp_path / "third").rows()
    assert {row["origin"] for row in rows} == {"theirs"}
    original = {row["cell_id"]: row for row in Ledger(theirs).rows()}
    assert all(
        row["ssim"] == original[row["cell_id"]]["ssim"] for row in rows if row["status"] == "ok"
    )
    assert all(row["threat_model"] == "server" and row["seed"] in (0, 1) for row in rows)


def test_runs_on_two_machines_may_differ_by_float_noise(theirs, made, tmp_path):
    for row in made.rows:
        row |= {"attack_seconds": 9.0, "created": "later", "commit": "other"}
        row |= {"ssim_low": row["ssim_low"] + 1e-5} if "ssim_low" in row else {}
    done = merge([theirs], write(tmp_path / "mine", made))
    assert (done.added, done.known, done.conflicts) == (0, 2, ())


def test_a_conflict_refuses_the_merge_or_keeps_ours_with_a_flag(theirs, made, tmp_path):
    mine = write(tmp_path / "mine", made, ssim_ceiling=0.9)
    before = Ledger(mine).rows()
    other = SyntheticLedger()
    other.add("another", seed=5)
    third = write(tmp_path / "third", other)
    with pytest.raises(RequestError, match=r"ssim_ceiling is 0\.9 here and 0\.8 there"):
        merge([third, theirs], mine)
    assert Ledger(mine).rows() == before
    done = merge([third, theirs], mine, keep_conflicts=True)
    assert done.added == 1
    assert any("ssim_ceiling" in sentence for sentence in done.conflicts)
    after = {row["cell_id"]: row for row in Ledger(mine).rows()}
    assert all(after[row["cell_id"]] == row | {"flags": "conflict:theirs"} for row in before)
    assert len(Ledger(mine).score_table(made.rows[0]["cell_id"])) == 40


def test_two_sources_of_one_name_are_refused(theirs, tmp_path):
    shutil.copytree(theirs, tmp_path / "x" / "theirs")
    with pytest.raises(RequestError, match="two sources have the name 'theirs'"):
        merge([theirs, tmp_path / "x" / "theirs"], tmp_path / "mine")


def test_reading_leaves_no_trace_beside_the_source(theirs):
    before = sorted(path.name for path in theirs.rglob("*"))
    read_foreign(theirs)
    assert sorted(path.name for path in theirs.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 7}, "has schema 7"),
        ({"seed": -1}, "'seed' must be a non-negative integer"),
        ({"seed": "0"}, "'seed' must be a non-negative integer"),
        ({"seed": 3}, "seed contradicts its spec"),
        ({"defense": "timestep"}, "defense contradicts its spec"),
        ({"spec": "{}"}, "does not have the hash of its spec"),
        ({"ssim": 0.9}, "image ssim is not the mean of its records"),
        ({"ssim_low": float("inf")}, "'ssim_low' is not finite"),
        ({"status": "fine"}, "unknown status 'fine'"),
        ({"victim": 5}, "'victim' must be text"),
        ({"guarantee": "=cmd()"}, "starts like a spreadsheet formula"),
        ({"guarantee": "a\x1b[31m"}, "holds a control character"),
        ({"../x": "y"}, "has an invalid name"),
        ({"reason": "x" * 200_000}, "is too long|not JSON text"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_rows_that_cannot_be_believed_are_refused(made, tmp_path, changes, words):
    made.rows.pop()
    with pytest.raises(DataError, match=words):
        merge([write(tmp_path / "theirs", made, **changes)], tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_cell_id_is_never_a_path(made, tmp_path):
    with sqlite3.connect(write(tmp_path / "theirs", made) / "ledger.sqlite") as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("UPDATE cells SET cell_id = '../../x' WHERE scores_sha256 IS NOT NULL")
        db.execute(
            "UPDATE rows SET cell_id = '../../x' WHERE cell_id NOT IN (SELECT cell_id FROM cells)"
        )
    with pytest.raises(DataError, match="16 hexadecimal digits"):
        read_foreign(tmp_path / "theirs")


def _view(results: Path) -> None:
    with sqlite3.connect(results / "ledger.sqlite") as db:
        db.execute("CREATE VIEW evil AS SELECT * FROM rows")


def _changed_row(results: Path) -> None:
    with sqlite3.connect(results / "ledger.sqlite") as db:
        db.execute("UPDATE rows SET content = replace(content, '0.8', '0.7')")


def _changed_scores(results: Path) -> None:
    file = next((results / "scores").iterdir())
    file.write_bytes(file.read_bytes() + b"x")


def _other_version(results: Path) -> None:
    with sqlite3.connect(results / "ledger.sqlite") as db:
        db.execute("UPDATE meta SET value = '99'")


def _noise(results: Path) -> None:
    (results / "ledger.sqlite").write_bytes(
        b"no database at all, but long enough to be read as one" * 40
    )


def _nothing(results: Path) -> None:
    for name in ("ledger.sqlite", "rows.csv"):
        (results / name).unlink()


def _short_line(results: Path) -> None:
    (results / "ledger.sqlite").unlink()
    (results / "rows.csv").write_text("cell_id,status\nx\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_view, "has evil"),
        (_changed_row, "rows changed since"),
        (_changed_scores, "changed since it was written"),
        (_other_version, "ledger schema 99"),
        (_noise, "not a readable ledger"),
        (_nothing, "neither"),
        (_short_line, "line 2 has not as many fields"),
    ],
)
def test_damaged_sources_are_named(theirs, tmp_path, damage: Callable[[Path], None], words):
    for extra in ("-wal", "-shm"):
        (theirs / f"ledger.sqlite{extra}").unlink(missing_ok=True)
    damage(theirs)
    with pytest.raises(DataError, match=words):
        merge([theirs], tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_ledger_of_the_first_version_is_read(made, tmp_path):
    old = tmp_path / "old" / "ledger.sqlite"
    old.parent.mkdir()
    row = made.rows[0]
    with sqlite3.connect(old) as db:
        db.execute("CREATE TABLE meta (key TEXT, value TEXT)")
        db.execute("INSERT INTO meta VALUES ('schema_version', '1')")
        db.execute("CREATE TABLE cells (cell_id TEXT)")
        db.execute("CREATE TABLE rows (cell_id TEXT, target TEXT, content TEXT)")
        db.execute(
            "CREATE TABLE scores "
            "(cell_id TEXT, target TEXT, metric TEXT, record INTEGER, value REAL)"
        )
        db.execute("INSERT INTO cells VALUES (?)", (row["cell_id"],))
        db.execute("INSERT INTO rows VALUES (?, 'image', ?)", (row["cell_id"], json.dumps(row)))
        for i, score in enumerate(made.record_scores(row["cell_id"])):
            db.execute(
                "INSERT INTO scores VALUES (?, 'image', 'ssim', ?, ?)",
                (row["cell_id"], i, score.value),
            )
    (cell,) = read_foreign(old)
    assert [s.value for s in cell.scores] == [s.value for s in made.record_scores(row["cell_id"])]
