"""Damaged ledgers, tables and score files end in a sentence and never change the target ledger."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.interfaces import BenchError
from bench.ledger.ledger import Ledger
from bench.ledger.merge import merge
from bench.ledger.reader import LedgerReader
from bench.reports.comparability import ledger_scores
from tests.support.rows import SyntheticLedger

MUTATIONS = int(os.environ.get("MUTATIONS", "300"))


def write(results: Path, *, cells: int, first: int = 0) -> Path:
    """A results directory with made cells."""
    made = SyntheticLedger()
    for seed in range(first, first + cells):
        made.add("none", seed=seed)
    ledger = Ledger(results)
    for row in made.rows:
        scores = made.record_scores(row["cell_id"])
        ledger.write(row["cell_id"], row["capture_id"], row["spec"], [row], scores)
    return results


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes changed, cut out, doubled or put in; never the content itself."""
    found = content
    while found == content:
        data = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            at, size = rng.randrange(len(data) or 1), rng.choice((1, 1, 4, 100))
            match rng.randrange(6):
                case 0:
                    data[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    data[at : at + 1] = bytes(
                        [(data[at] if at < len(data) else 0) ^ 1 << rng.randrange(8)]
                    )
                case 2:
                    del data[at : at + size]
                case 3:
                    data[at:at] = data[at : at + size]
                case 4:
                    data[at : at + size] = rng.choice(
                        (b"\xff", b"\0", b"\xc3\x28", b'"', b";", b"\xed\xa0\x80", b"\n")
                    )
                case 5:
                    del data[at:]
            if not data:
                break
        found = bytes(data)
    return found


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.mark.parametrize("kind", ["ledger.sqlite", "rows.csv", "scores"])
def test_random_damage_ends_in_one_sentence(kind: str, tmp_path: Path) -> None:
    theirs, mine = write(tmp_path / "theirs", cells=3), write(tmp_path / "mine", cells=1, first=9)
    if kind == "rows.csv":
        (theirs / "ledger.sqlite").unlink()
    file = next((theirs / "scores").iterdir()) if kind == "scores" else theirs / kind
    whole, before, rng = file.read_bytes(), content_of(mine), random.Random(kind)
    refused = 0
    for _ in range(MUTATIONS // 3):
        file.write_bytes(mutated(whole, rng))
        if refusal(lambda: merge([theirs], mine)):
            refused += 1
            assert content_of(mine) == before
        else:  # what was damaged means nothing, or a field for which a row has no second witness
            shutil.rmtree(mine)
            write(mine, cells=1, first=9)
            before = content_of(mine)
        if kind != "rows.csv":
            there = content_of(theirs)
            refusal(lambda: read_all(theirs))
            assert content_of(theirs) == there
    assert refused > MUTATIONS // 12


def read_all(results: Path) -> None:
    """Read everything, as a reading command does."""
    ledger = LedgerReader(results)
    read = ledger_scores(ledger)
    for row in ledger.rows():
        read(str(row["cell_id"]), str(row["target"]), "ssim")
    ledger.entries()


def refusal(act: Callable[[], object]) -> str:
    """The one sentence with which something was refused; empty where it was not."""
    try:
        act()
    except BenchError as error:
        sentence = str(error)
    else:
        return ""
    assert sentence.isprintable()
    return sentence
