"""One row per cell and target: everything needed to read a number, and to make it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from bench.capture import Costs
from bench.certificate import Certificate
from bench.defense import Guarantee
from bench.processor import processor
from bench.provenance import commit, versions
from bench.scoring import MetricScore
from bench.spec import SCHEMA_VERSION, CellSpec
from bench.targets import IDENTITY

Value = str | int | float | None

TIMINGS = ("client_seconds", "server_seconds", "attack_seconds", "peak_memory_mib", "created", "commit", "processor")
"""Fields that may differ between two runs of one spec: how long it took, when, and on what."""


@dataclass(frozen=True)
class Outcome:
    """What came of a cell, before it is a row.

    Attributes:
        status: ``ok``, ``not_applicable``, ``failed``; a target may also be ``not_claimed``.
        reason: why it is not ``ok``.
        gallery: how many pictures the metrics of identification choose among.
        candidates: how many photographs an attack that claims identities chose among.
        update_records: how many records the attacked updates were computed on; 0 where each has its own row.
        leakage: what the wire leaks whatever the attack, under names ``leak_*``.
        certificates: by target, what this cell must reach to vouch for its attack.
        unscored: by target and metric, why the data do not support the metric.
        duplicate_records: how many records of the four parts show a picture that another record shows too.
    """

    status: str
    reason: str = ""
    sent: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    scores: Mapping[str, Sequence[MetricScore]] = field(default_factory=dict)
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    unscored: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    utility: Mapping[str, float] = field(default_factory=dict)
    leakage: Mapping[str, float] = field(default_factory=dict)
    costs: Costs | None = None
    attack_seconds: float | None = None
    guarantee: Guarantee | None = None
    n: int = 0
    gallery: int = 0
    candidates: int = 0
    target_epoch: int | None = None
    update_records: int = 0
    duplicate_records: int | None = None


def make_rows(
    cell: CellSpec, outcome: Outcome, *, split_hash: str, targets: Sequence[str], created: str
) -> list[dict[str, Value]]:
    """Rows of one cell, one a target."""
    return [_row(cell, outcome, target, split_hash, created) for target in targets]


def _row(cell: CellSpec, outcome: Outcome, target: str, split_hash: str, created: str) -> dict[str, Value]:
    capture, attack = cell.capture, cell.attack
    scores = outcome.scores.get(target)
    status, reason = outcome.status, outcome.reason
    if status == "ok" and scores is None:
        status, reason = "not_claimed", f"{attack.attack.name} says nothing of the {target} here"
    row: dict[str, Value] = {
        "schema_version": SCHEMA_VERSION,
        "cell_id": cell.cell_id,
        "status": status,
        "reason": reason,
        "victim": capture.victim.label,
        "protocol": capture.protocol,
        "defense": "+".join(d.label for d in capture.defense),
        "attack": attack.attack.label,
        "threat_model": cell.threat.name,
        "withheld_from_view": " ".join(sorted(cell.threat.withhold)),
        "dataset": capture.data.dataset.label,
        "condition": capture.data.condition,
        "image_size": capture.data.image_size,
        "model": capture.model,
        "scale": {"pocket": "pocket", "": "none"}.get(capture.model, "user-model"),
        "seed": capture.seed,
        "target": target,
        "n": outcome.n if scores is not None else 0,
    }
    row |= _plan_fields(cell, outcome, split_hash)
    if target == IDENTITY:
        row["gallery"] = outcome.candidates
    row |= {
        "channels_sent": " ".join(sorted(outcome.sent)),
        "channels_granted": " ".join(sorted(outcome.granted)),
        "channels_read": " ".join(sorted(outcome.read)),
    }
    for score in scores or ():
        row |= _metric_fields(score)
    row |= {f"{name}_reason": reason for name, reason in outcome.unscored.get(target, {}).items()}
    row |= {f"utility_{name}": _number(value) for name, value in outcome.utility.items()}
    row |= {name: _number(value) for name, value in outcome.leakage.items()}
    row |= {name: _number(value) for name, value in outcome.diagnostics.items()}
    row |= _cost_fields(outcome)
    row |= _guarantee_fields(outcome)
    row["certificate"] = str(outcome.certificates.get(target, ""))
    row["flags"] = " ".join(outcome.flags.get(target, ()))
    row["versions"] = json.dumps(versions(), sort_keys=True)
    row["commit"] = commit()
    row["created"] = created
    row["spec"] = cell.canonical()
    return row


def _plan_fields(cell: CellSpec, outcome: Outcome, split_hash: str) -> dict[str, Value]:
    capture, attack = cell.capture, cell.attack
    sizes = capture.data.splits
    return {
        "target_epoch": outcome.target_epoch,
        "update_records": outcome.update_records,
        "epochs": capture.training.epochs,
        "batch_size": capture.training.batch_size,
        "learning_rate": capture.training.learning_rate,
        "dtype": capture.training.dtype,
        "device": capture.device,
        "threads": torch.get_num_threads(),
        "processor": processor(capture.device),
        "records_victim": sizes.victim,
        "records_auxiliary": sizes.auxiliary if cell.threat.auxiliary is None else cell.threat.auxiliary,
        "records_calibration": sizes.calibration,
        "records_evaluation": sizes.evaluation,
        "duplicate_records": outcome.duplicate_records,
        "gallery": outcome.gallery,
        "attack_iterations": attack.iterations,
        "attack_batch_size": attack.batch_size,
        "utility_steps": cell.utility.steps,
        "utility_guidance": cell.utility.guidance,
        "backbones": " ".join(cell.backbones),
        "model_hash": capture.model_hash[:16],
        "data_hash": capture.data_hash[:16],
        "split_hash": split_hash[:16],
        "capture_id": capture.content_hash()[:16],
    }


def _metric_fields(score: MetricScore) -> dict[str, Value]:
    name = score.metric
    fields: dict[str, Value] = {
        name: _number(score.mean),
        f"{name}_low": _number(score.low),
        f"{name}_high": _number(score.high),
        f"{name}_floor": _number(score.floor),
        f"{name}_ceiling": _number(score.ceiling),
        f"{name}_normalized": _number(score.normalised),
    }
    fields |= {f"{name}_{control}": _number(value) for control, value in score.controls.items() if control != "oracle"}
    if score.backbone:
        fields[f"{name}_backbone"] = score.backbone
    fields |= {f"{name}_{key}": _number(value) for key, value in score.basis.items()}
    return fields


def _cost_fields(outcome: Outcome) -> dict[str, Value]:
    costs = outcome.costs
    if costs is None:
        return {"attack_seconds": outcome.attack_seconds}
    tenth = max(1, len(costs.losses) // 10)
    return {
        "bytes_up": round(costs.bytes_up, 1),
        "bytes_down": round(costs.bytes_down, 1),
        "bytes_once": costs.bytes_once,
        "steps": costs.steps,
        "loss_first": sum(costs.losses[:tenth]) / tenth,
        "loss_last": sum(costs.losses[-tenth:]) / tenth,
        "client_seconds": costs.client_seconds,
        "server_seconds": costs.server_seconds,
        "peak_memory_mib": costs.peak_memory_mib,
        "attack_seconds": outcome.attack_seconds,
    }


def _guarantee_fields(outcome: Outcome) -> dict[str, Value]:
    statement = outcome.guarantee
    if statement is None:
        return {"guarantee": "none"}
    void = sorted(set(statement.voided_by) & outcome.sent)
    if void:
        return {"guarantee": f"void: {', '.join(void)} on the wire"}
    if math.isinf(statement.epsilon):
        return {"guarantee": "none: no epsilon within the accountant's range"}
    return {
        "guarantee": f"({statement.epsilon:.4g}, {statement.delta:g})-DP for {statement.unit}, "
        f"{statement.sensitivity}, {statement.releases} releases"
    }


def _number(value: float) -> Value:
    """A float, or None where it is not a number: CSV and JSON have no common word for NaN."""
    return None if math.isnan(value) else float(value)
