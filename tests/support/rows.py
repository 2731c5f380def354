"""Rows and scores made up for tests of what is done with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.ledger.score_files import RecordScore

RECORDS = 40


class SyntheticLedger:
    """Rows with scores by record, as a ledger would give them; floor 0.2 and ceiling 0.8 unless told."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._scores: dict[str, dict[str, float]] = {}

    def add(
        self,
        defense: str = "none",
        attack: str = "inversion",
        seed: int = 0,
        level: float = 0.6,
        *,
        status: str = "ok",
        noise: int = 0,
        spread: float = 0.05,
        exposed: int = 0,
        utility: Mapping[str, float] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """A row whose records score ``level`` on the mean, each by its difficulty, which ``seed``
        fixes.

        Args:
            noise: seed of what differs between defences, attacks and reruns; half of the spread.
            exposed: so many records score at the ceiling, whatever ``level`` says.
        """
        spec = spec_of(defense, attack, seed, fields)
        row: dict[str, Any] = {
            "schema_version": 1,
            "cell_id": hashlib.sha256(spec.encode()).hexdigest()[:16],
            "capture_id": f"{defense}-{seed}",
            "status": status,
            "reason": "" if status == "ok" else "it broke",
            "victim": "v",
            "protocol": "p",
            "defense": defense,
            "attack": attack,
            "attack_iterations": 0 if attack == "closed-form" else 300,
            "attack_batch_size": 32,
            "threat_model": "server",
            "withheld_from_view": "",
            "dataset": "portraits",
            "split_hash": "51",
            "model": "pocket",
            "scale": "pocket",
            "backbones": "identity=embedded-v1",
            "processor": "A",
            "seed": seed,
            "target": "image",
            "n": RECORDS if status == "ok" else 0,
            "guarantee": "none",
            "flags": "",
            "created": "2026-01-01T00:00:00+00:00",
            "spec": spec,
            **{f"utility_{name}": value for name, value in (utility or {}).items()},
            **fields,
        }
        if status == "ok":
            hard = np.random.default_rng(seed).normal(size=RECORDS) * spread
            own = (
                np.random.default_rng([seed, noise, 7]).normal(size=RECORDS)
                * spread
                / 2
                * (noise > 0)
            )
            values = hard - hard.mean() + own - own.mean() + level
            values[:exposed] = 0.8
            self._scores[row["cell_id"]] = {f"r{i}": float(v) for i, v in enumerate(values)}
            row = {
                "ssim": float(values.mean()),
                "ssim_floor": 0.2,
                "ssim_ceiling": 0.8,
                "ssim_normalized": 0.0,
            } | row
            row |= {
                "ssim_low": row["ssim"] - 0.01,
                "ssim_high": row["ssim"] + 0.01,
                "ssim_nearest": 0.2 + seed / 100,
            }
        self.rows.append(row)
        return row

    def read(self, cell_id: str, target: str, metric: str) -> Mapping[str, float]:
        """A ``ScoreReader``; a record is identified where its score is near the ceiling."""
        scores = self._scores.get(cell_id, {}) if target == "image" else {}
        if metric == "identified":
            return {record: float(value > 0.75) for record, value in scores.items()}
        return scores if metric == "ssim" else {}

    def plan(self) -> list[dict[str, Any]]:
        """The rows as a suite plans them, before anything is run."""
        measured = ("ssim", "utility_", "certificate", "created", "n")
        return [
            {k: v for k, v in row.items() if not k.startswith(measured)}
            | {"status": "not_run", "reason": ""}
            for row in self.rows
        ]

    def record_scores(self, cell_id: str) -> list[RecordScore]:
        """As ``Ledger.write`` takes them."""
        return [
            RecordScore("image", "ssim", name, v)
            for name, v in self._scores.get(cell_id, {}).items()
        ]


def spec_of(defense: str, attack: str, seed: int, fields: Mapping[str, Any]) -> str:
    """The text of a cell's spec, with the fields that rows repeat; other fields give another cell."""
    spec = {
        "attack": {"attack": {"label": attack}, "targets": RECORDS, "epoch": -1},
        "capture": {
            "victim": {"label": "v"},
            "protocol": fields.get("protocol", "p"),
            "defense": [{"label": part} for part in defense.split("+")],
            "seed": seed,
        },
        "threat": {"name": "server"},
        "more": {name: str(value) for name, value in fields.items()},
    }
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))
