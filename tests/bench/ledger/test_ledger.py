"""The ledger: many writers, scores beside it, damage found, older schemas brought up to date."""

from __future__ import annotations

import csv
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.interfaces import DataError, RequestError
from bench.ledger.columns import FIRST_COLUMNS
from bench.ledger.ledger import Ledger
from bench.ledger.score_files import RecordScore, ScoreFiles
from tests.support.paths import ROOT

KILLS = int(os.environ.get("KILLS", "4"))
ROW = dict.fromkeys(FIRST_COLUMNS, "x") | {"status": "ok", "n": 2, "created": "2026-01-01T00:00:00"}
SCORES = [
    RecordScore(target, "ssim", record, value)
    for target, values in (("image", (0.1 + 0.2, 1 / 3)), ("condition", (0.5, float("inf"))))
    for record, value in zip(("r/2", "r/1"), values, strict=True)
]

WRITER = """
import sys
from pathlib import Path
from bench.ledger.ledger import Ledger
from tests.bench.ledger.test_ledger import SCORES, rows
ledger = Ledger(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    ledger.write(f"{sys.argv[2]}-{i}", "c", "{}", rows(f"{sys.argv[2]}-{i}"), SCORES)
    ledger.write("shared", "c", "{}", rows("shared"), SCORES)
"""

RESUMER = """
import sys
from pathlib import Path
from bench.ledger.ledger import Ledger
from tests.bench.ledger.test_ledger import SCORES, rows
ledger = Ledger(Path(sys.argv[1]))
assert not ledger.damaged, ledger.damaged
known = ledger.entries()
for i in range(int(sys.argv[2])):
    if f"cell-{i}" not in known:
        ledger.write(f"cell-{i}", "c", "{}", rows(f"cell-{i}"), SCORES)
        print(i, flush=True)
"""

FIRST_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cells (
    cell_id TEXT PRIMARY KEY, capture_id TEXT NOT NULL, spec TEXT NOT NULL,
    status TEXT NOT NULL, created TEXT NOT NULL
);
CREATE TABLE rows (
    cell_id TEXT NOT NULL REFERENCES cells ON DELETE CASCADE, target TEXT NOT NULL,
    content TEXT NOT NULL, PRIMARY KEY (cell_id, target)
);
CREATE TABLE scores (
    cell_id TEXT NOT NULL REFERENCES cells ON DELETE CASCADE, target TEXT NOT NULL,
    metric TEXT NOT NULL, record INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (cell_id, target, metric, record)
);
INSERT INTO meta VALUES ('schema_version', '1');
"""


def rows(cell_id: str, **changes: object) -> list[dict]:
    return [
        {**ROW, "cell_id": cell_id, "target": target, **changes}
        for target in ("image", "condition")
    ]


def first_schema(results: Path) -> None:
    """A ledger as the first version wrote it: one cell with scores, one that failed."""
    results.mkdir()
    with sqlite3.connect(results / "ledger.sqlite") as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(FIRST_SCHEMA)
        for cell_id, status in (("old", "not_claimed"), ("sad", "failed")):
            db.execute("INSERT INTO cells VALUES (?, 'c', '{}', ?, '2025')", (cell_id, status))
            for target, of_row in (
                ("image", status),
                ("condition", "ok" if cell_id == "old" else status),
            ):
                content = json.dumps(
                    {**ROW, "cell_id": cell_id, "target": target, "status": of_row}
                )
                db.execute("INSERT INTO rows VALUES (?, ?, ?)", (cell_id, target, content))
        values = [("old", "condition", "ssim", i, v) for i, v in enumerate((0.25, 1 / 3, 0.75))]
        db.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?)", values)
    db.close()


def test_scores_come_back_by_record_with_every_bit(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("a", "c", "{}", rows("a"), SCORES)
    assert ledger.scores("a", "image", "ssim") == [0.1 + 0.2, 1 / 3]
    assert ledger.scores("a", "condition", "ssim") == [0.5, float("inf")]
    assert ledger.scores("a", "image", "psnr") == []
    assert ledger.record_ids("a") == ["r/2", "r/1"]
    table = ledger.score_table("a")
    assert list(table.columns) == ["target", "metric", "record", "value"]
    assert len(table) == 4


def test_a_cell_without_scores_has_an_empty_table(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("a", "c", "{}", rows("a", status="failed"), [])
    assert ledger.score_table("a").empty
    assert list(ledger.score_table("a").columns) == list(ScoreFiles.COLUMNS)
    assert ledger.scores("a", "image", "ssim") == ledger.record_ids("a") == []
    assert ledger.entries()["a"].status == "failed"
    assert ledger.rows()[0]["status"] == "failed"


def test_writing_a_cell_again_replaces_it(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("a", "c", "{}", rows("a", status="failed"), [])
    ledger.write("a", "c", "{}", rows("a", ssim=0.5), SCORES, seconds=2.5, trained=True)
    assert [row["ssim"] for row in Ledger(tmp_path).rows()] == [0.5, 0.5]
    assert (ledger.entries()["a"].seconds, ledger.entries()["a"].trained) == (2.5, True)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_two_processes_write_at_once_and_nothing_is_lost_or_doubled(tmp_path):
    root = ROOT
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", WRITER, str(tmp_path / "r")]
    writers = [
        subprocess.Popen([*command, name, "12"], env=environment, stderr=subprocess.PIPE, text=True)
        for name in ("first", "second")
    ]
    for writer in writers:
        assert writer.wait(timeout=600) == 0, writer.communicate()[1]
    expected = {"shared", *(f"{name}-{i}" for name in ("first", "second") for i in range(12))}
    ledger = Ledger(tmp_path / "r")
    assert set(ledger.entries()) == expected
    assert ledger.damaged == {}
    for stored in (ledger.rows(), list(csv.DictReader(ledger.csv.open()))):
        keys = [(row["cell_id"], row["target"]) for row in stored]
        assert len(keys) == len(set(keys)) == 2 * len(expected)
        assert {cell_id for cell_id, _ in keys} == expected


@pytest.mark.slow
def test_a_writer_killed_again_and_again_loses_and_doubles_nothing(tmp_path):
    rng = random.Random(0)
    root = ROOT
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", RESUMER, str(tmp_path / "r"), str(10 * KILLS)]
    told: list[int] = []
    for _ in range(KILLS):
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told += [int(writer.stdout.readline()) for _ in range(rng.randint(1, 3))]
            time.sleep(rng.uniform(0, 0.03))
            writer.kill()
            told += [int(line) for line in writer.stdout]
        kept = {int(cell_id.removeprefix("cell-")) for cell_id in Ledger(tmp_path / "r").entries()}
        assert kept >= set(told)
    assert len(told) == len(set(told))
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    ledger = Ledger(tmp_path / "r")
    keys = [(row["cell_id"], row["target"]) for row in ledger.rows()]
    assert len(keys) == len(set(keys)) == 20 * KILLS
    assert ledger.damaged == {}
    assert all(len(ledger.score_table(f"cell-{i}")) == len(SCORES) for i in range(10 * KILLS))


@pytest.mark.parametrize("harm", ["scores changed", "scores gone", "row changed"])
def test_a_damaged_cell_counts_as_not_run(harm, tmp_path):
    ledger = Ledger(tmp_path)
    for cell_id in ("a", "b"):
        ledger.write(cell_id, "c", "{}", rows(cell_id, ssim=0.5), SCORES)
    path = tmp_path / "scores" / "a.parquet"
    if harm == "row changed":
        with sqlite3.connect(ledger.path) as db:
            db.execute(
                "UPDATE rows SET content = replace(content, '0.5', '0.9') WHERE cell_id = 'a'"
            )
        db.close()
    elif harm == "scores gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        with pytest.raises(DataError, match="changed since it was written"):
            ledger.score_table("a")
    again = Ledger(tmp_path)
    assert list(again.damaged) == ["a"]
    assert list(again.entries()) == ["b"]
    assert {row["cell_id"] for row in again.rows()} == {"b"}
    again.write("a", "c", "{}", rows("a", ssim=0.5), SCORES)
    assert again.damaged == {}
    assert set(Ledger(tmp_path).entries()) == {"a", "b"}


def test_the_first_schema_is_brought_up_to_date(tmp_path):
    first_schema(tmp_path / "r")
    ledger = Ledger(tmp_path / "r")
    assert {cell_id: entry.status for cell_id, entry in ledger.entries().items()} == {
        "old": "ok",
        "sad": "failed",
    }
    assert ledger.scores("old", "condition", "ssim") == [0.25, 1 / 3, 0.75]
    assert ledger.record_ids("old") == ["0", "1", "2"]
    assert ledger.score_table("sad").empty
    assert [row["cell_id"] for row in ledger.rows()] == ["old", "old", "sad", "sad"]
    with sqlite3.connect(ledger.path) as db:
        tables = {
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        assert db.execute("SELECT value FROM meta").fetchall() == [("2",)]
    db.close()
    assert tables == {"meta", "cells", "rows"}
    with sqlite3.connect(tmp_path / "r" / "ledger.sqlite.schema-1") as kept:
        assert kept.execute("SELECT count(*) FROM scores").fetchone() == (3,)
    kept.close()
    ledger.write("new", "c", "{}", rows("new"), SCORES)
    assert Ledger(tmp_path / "r").damaged == {}


def test_a_migration_that_is_cut_off_is_made_again(tmp_path, monkeypatch):
    first_schema(tmp_path / "r")

    def cut(self, cell_id, scores):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ScoreFiles, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            Ledger(tmp_path / "r")
    assert Ledger(tmp_path / "r").scores("old", "condition", "ssim") == [0.25, 1 / 3, 0.75]


def test_a_cell_is_found_by_the_beginning_of_its_id(tmp_path):
    ledger = Ledger(tmp_path)
    for cell_id in ("abc", "abd"):
        ledger.write(cell_id, "c", "{}", rows(cell_id), [])
    assert ledger.find("abd").cell_id == "abd"
    with pytest.raises(RequestError, match="2 cells have an id that starts with 'ab'"):
        ledger.find("ab")
    with pytest.raises(RequestError, match="no cells have an id that starts with 'x'"):
        ledger.find("x")
