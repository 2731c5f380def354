"""Small suites on the tiny model, and a stranger's attack that goes wrong in every way."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.ledger.columns import TIMINGS
from bench.ledger.ledger import Ledger
from bench.planning.suite import Suite, SuiteFile

SETTINGS = {
    "records": 8,
    "auxiliary": 12,
    "calibration": 8,
    "evaluation": 8,
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "iterations": 3,
    "attack_batch_size": 4,
    "targets": 6,
    "utility_steps": 2,
    "backbones": "embedded",
    "device": "cpu",
}

FAULTY = """
import os, signal, time
from typing import Literal
from bench.interfaces.attack import Attack
from bench.interfaces.plugin import Card, Params

class FaultyParams(Params):
    how: Literal["raise", "hang", "die", "eat"] = "raise"

class Faulty(Attack):
    name = "faulty"
    Params = FaultyParams
    card = Card(summary="Goes wrong.", source="this project")

    def run(self, view, *, rng, budget, progress):
        print("attacks may print")
        if self.params.how == "hang":
            while True:
                time.sleep(1)
        if self.params.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        held = []
        while self.params.how == "eat":
            held.append(bytes([len(held) % 255 + 1]) * 2**26)
            time.sleep(0.02)
        raise ZeroDivisionError("the attack's own mistake")
"""


def small_suite(
    model: Path, *, settings: dict[str, Any] | None = None, **axes: Sequence[Any]
) -> Suite:
    """A suite of one block."""
    block = {**axes, "settings": {**SETTINGS, "model": str(model), **(settings or {})}}
    return Suite("small", SuiteFile.model_validate({"blocks": {"only": block}}))


def install_faulty(site: Path) -> None:
    """Make the attack ``faulty`` as if it had been installed in the folder ``site``."""
    (site / "faulty-1.0.dist-info").mkdir(parents=True)
    (site / "faulty.py").write_text(FAULTY)
    (site / "faulty-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n"
    )
    (site / "faulty-1.0.dist-info" / "entry_points.txt").write_text(
        "[splitleak.attacks]\nfaulty = faulty:Faulty\n"
    )


def workers_of(pid: int) -> list[int]:
    """Ids of the worker processes that a process has."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if "bench.running.engines.worker" in child.cmdline():
                found.append(child.pid)
    return found


def stable_rows(results: Path) -> list[dict[str, Any]]:
    """All rows but their timings, in an order of their own."""
    rows = [{k: v for k, v in row.items() if k not in TIMINGS} for row in Ledger(results).rows()]
    return sorted(rows, key=lambda row: (row["cell_id"], row["target"]))
