"""Builds the rows of a cell, one for each target, with all that reproducing them requires."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from bench.interfaces.certificate import Certificate
from bench.interfaces.defense import Guarantee
from bench.scoring.score import MetricScore
from bench.settings.cell import SCHEMA_VERSION, CellSpec
from bench.settings.guest_identity import guest_versions
from bench.types.targets import IDENTITY
from bench.util.errors import BenchError
from bench.util.processor import processor
from bench.util.provenance import commit, versions
from bench.util.stats import loss_ends
from bench.wire.capture import Costs

Value = str | int | float | None


@dataclass(frozen=True)
class CellOutcome:
    """Everything that running a cell produced, from which its rows are built.

    Attributes:
        status: ``ok``, ``not_applicable`` or ``failed``; a row may also be ``not_claimed``.
        reason: why the status is not ``ok``.
        sent: channels on the wire.
        granted: channels that the threat model grants the attack.
        read: channels that the attack read.
        scores: scores by target.
        flags: reasons to doubt the row of a target, by target.
        common_flags: reasons to doubt every row.
        certificates: the certificate that this cell must reach, by target.
        unsupported_metrics: why the data do not support a metric, by target and metric.
        diagnostics: numbers that the attack reported, under names ``attack_*``.
        labels: scores of claimed class labels, under names ``label_*``.
        utility: quality of the trained model, by name.
        leakage: measures of the wire that no attack enters, under names ``leak_*``.
        costs: costs of the training; None where nothing was trained.
        attack_seconds: wall time of the attack.
        guarantee: the privacy statement of the defence; None where it makes none.
        n: number of attacked records.
        gallery: number of pictures among which the identification metrics choose.
        candidates: number of photographs among which an attack that claims identities chose.
        target_epoch: epoch of the attacked releases.
        update_records: records that each attacked update was computed on; 0 where each record has
            its own row on the wire.
        duplicate_records: records of the four splits whose picture another record shows too.
    """

    status: str
    reason: str = ""
    sent: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    scores: Mapping[str, Sequence[MetricScore]] = field(default_factory=dict)
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    common_flags: Sequence[str] = ()
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    unsupported_metrics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, float] = field(default_factory=dict)
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
    cell: CellSpec, outcome: CellOutcome, *, split_hash: str, targets: Sequence[str], created: str
) -> list[dict[str, Value]]:
    """Return the rows of one cell, one for each target.

    Args:
        cell: the spec of the cell.
        outcome: what running it produced.
        split_hash: hash of the split manifest.
        targets: the targets of the rows, in order.
        created: time of the run, ISO 8601.
    """
    return [_row(cell, outcome, target, split_hash, created) for target in targets]


def _row(
    cell: CellSpec, outcome: CellOutcome, target: str, split_hash: str, created: str
) -> dict[str, Value]:
    capture, attack = cell.capture, cell.attack
    scores = outcome.scores.get(target)
    status, reason = outcome.status, outcome.reason
    if status == "ok" and scores is None:
        status, reason = "not_claimed", f"{attack.attack.name} does not claim the {target} here"
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
        _add(row, f"metric {score.metric!r}", _metric_fields(score))
    _add(
        row,
        "the judge",
        {
            f"{name}_reason": said
            for name, said in outcome.unsupported_metrics.get(target, {}).items()
        },
    )
    named = {f"utility_{name}": value for name, value in outcome.utility.items()}
    _add(
        row,
        f"the utility of victim {capture.victim.name!r}",
        {n: _number(v) for n, v in named.items()},
    )
    for source, numbers in (
        ("the measure of leakage", outcome.leakage),
        (f"attack {attack.attack.name!r}", outcome.diagnostics),
        ("the score of labels", outcome.labels),
    ):
        _add(row, source, {name: _number(value) for name, value in numbers.items()})
    _add(row, "the runner", _cost_fields(outcome) | _guarantee_fields(outcome))
    last = {
        "certificate": str(outcome.certificates.get(target, "")),
        "flags": " ".join(dict.fromkeys((*outcome.flags.get(target, ()), *outcome.common_flags))),
        "versions": json.dumps({**guest_versions(cell), **versions()}, sort_keys=True),
        "commit": commit(),
        "created": created,
        "spec": cell.canonical(),
    }
    _add(row, "the runner", last)
    return row


def _add(row: dict[str, Value], source: str, fields: Mapping[str, Value]) -> None:
    """Add fields to a row without replacing any.

    Raises:
        BenchError: the row already has one of the fields.
    """
    if clash := sorted(row.keys() & fields.keys()):
        raise BenchError(
            f"{source} would write the column {clash[0]!r}, which the row already has; rename it"
        )
    row.update(fields)


def _plan_fields(cell: CellSpec, outcome: CellOutcome, split_hash: str) -> dict[str, Value]:
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
        "records_auxiliary": sizes.auxiliary
        if cell.threat.auxiliary is None
        else cell.threat.auxiliary,
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
        f"{name}_normalized": _number(score.normalized),
    }
    fields |= {
        f"{name}_{control}": _number(value)
        for control, value in score.controls.items()
        if control != "oracle"
    }
    if score.backbone:
        fields[f"{name}_backbone"] = score.backbone
    fields |= {f"{name}_{key}": _number(value) for key, value in score.basis.items()}
    return fields


def _cost_fields(outcome: CellOutcome) -> dict[str, Value]:
    costs = outcome.costs
    if costs is None:
        return {"attack_seconds": outcome.attack_seconds}
    loss_first, loss_last = loss_ends(costs.losses)
    return {
        "bytes_up": round(costs.bytes_up, 1),
        "bytes_down": round(costs.bytes_down, 1),
        "bytes_once": costs.bytes_once,
        "steps": costs.steps,
        "loss_first": loss_first,
        "loss_last": loss_last,
        "client_seconds": costs.client_seconds,
        "server_seconds": costs.server_seconds,
        "peak_memory_mib": costs.peak_memory_mib,
        "attack_seconds": outcome.attack_seconds,
    }


def _guarantee_fields(outcome: CellOutcome) -> dict[str, Value]:
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
    """Return a number, or None where it is not finite: CSV and JSON have no common NaN."""
    return float(value) if math.isfinite(value) else None
