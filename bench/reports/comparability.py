"""Decides which rows are comparable: the setting that they must share, and their measure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from bench.reports.seed_statistics import SeedScores
from bench.types.targets import HEADLINE
from bench.util.errors import DataError
from bench.util.stats import normalized

if TYPE_CHECKING:
    from bench.ledger.reader import LedgerReader

Row = Mapping[str, Any]

ScoreReader = Callable[[str, str, str], Mapping[str, float]]
"""Maps ``(cell_id, target, metric)`` to scores by record name; empty where only means are known."""

UNDEFENDED = "none"

NOT_A_FAILURE = frozenset({"not_applicable", "not_claimed"})

# fmt: off
SETTING = (
    "victim", "protocol", "threat_model", "withheld_from_view", "threat", "dataset", "condition",
    "image_size", "target", "scale", "model_hash", "data_hash", "split_hash", "backbones",
    "records_victim", "records_auxiliary", "records_calibration", "records_evaluation", "targets",
    "epoch", "epochs", "batch_size", "learning_rate", "dtype", "utility_steps", "utility_guidance",
)
# fmt: on
"""Fields of a row whose difference makes numbers incomparable.

``threat``, ``targets`` and ``epoch`` come from the spec. Hashes of files count, not their paths.
"""


def view_label(threat_model: str, withheld: str) -> str:
    """Return ``server without noise_target``, or ``server`` where nothing is withheld."""
    return f"{threat_model} without {withheld}" if withheld else threat_model


@dataclass(frozen=True)
class ComparisonSetting:
    """The values of the fields ``SETTING`` of a row, as text in that order."""

    values: tuple[str, ...]

    def __getitem__(self, name: str) -> str:
        return self.values[SETTING.index(name)]

    def without(self, *names: str) -> tuple[str, ...]:
        """Return the values of all fields but the named ones."""
        return tuple(
            value for name, value in zip(SETTING, self.values, strict=True) if name not in names
        )

    @property
    def view(self) -> str:
        """Return the threat model and the withheld channels, for display."""
        return view_label(self["threat_model"], self["withheld_from_view"])

    def title(self) -> str:
        """Return victim, protocol, view, data set and target, for display."""
        parts = (self["victim"], self["protocol"], self.view, self["dataset"], self["target"])
        return ", ".join(parts)


@dataclass(frozen=True)
class AttackBudget:
    """An attack with its budget; an attack with another budget counts as another attack."""

    label: str
    iterations: str
    batch_size: str


@dataclass(frozen=True, eq=False)
class Trial:
    """A row with the fields by which it is compared."""

    setting: ComparisonSetting
    defense: str
    attack: AttackBudget
    seed: int
    row: Row

    @property
    def key(self) -> tuple[ComparisonSetting, str, AttackBudget, int]:
        """Return what two runs of one cell share, whatever the versions of code and libraries."""
        return self.setting, self.defense, self.attack, self.seed

    @property
    def status(self) -> str:
        """Return the status of the row."""
        return str(self.row["status"])


def ledger_scores(ledger: LedgerReader) -> ScoreReader:
    """Return a reader of a ledger's scores that reads the file of each cell once."""
    tables: dict[str, dict[tuple[str, str], dict[str, float]]] = {}

    def read(cell_id: str, target: str, metric: str) -> Mapping[str, float]:
        if cell_id not in tables:
            table: dict[tuple[str, str], dict[str, float]] = {}
            for score in ledger.score_table(cell_id).to_dict("records"):
                table.setdefault((score["target"], score["metric"]), {})[score["record"]] = float(
                    score["value"]
                )
            tables[cell_id] = table
        return tables[cell_id].get((target, metric), {})

    return read


def trials(rows: Iterable[Row]) -> list[Trial]:
    """Return the rows as trials, with only the newest of those with equal keys.

    Raises:
        DataError: a row lacks a field, or a field is malformed.
    """
    newest: dict[tuple[ComparisonSetting, str, AttackBudget, int], Trial] = {}
    for row in sorted(rows, key=lambda r: str(r.get("created", ""))):
        trial = _trial(row)
        newest.pop(trial.key, None)
        newest[trial.key] = trial
    return list(newest.values())


def _trial(row: Row) -> Trial:
    try:
        attack = AttackBudget(
            str(row["attack"]),
            text(row.get("attack_iterations")),
            text(row.get("attack_batch_size")),
        )
        return Trial(setting_from_row(row), str(row["defense"]), attack, int(row["seed"]), row)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"row of cell {row.get('cell_id', '?')}: field {error} is missing or malformed"
        ) from error


def setting_from_row(row: Row) -> ComparisonSetting:
    """Return the setting of a row; fields that the row lacks are empty."""
    spec = _spec(row)
    attack, threat = spec.get("attack", {}), spec.get("threat")
    fields = {name: text(row.get(name)) for name in SETTING}
    fields["victim"] = without_paths(fields["victim"])
    fields["dataset"] = without_paths(fields["dataset"])
    fields["targets"] = fields["targets"] or text(attack.get("targets"))
    fields["epoch"] = fields["epoch"] or text(attack.get("epoch"))
    if threat is not None:
        fields["threat"] = hashlib.sha256(json.dumps(threat, sort_keys=True).encode()).hexdigest()[
            :8
        ]
    return ComparisonSetting(tuple(fields.values()))


def _spec(row: Row) -> dict[str, Any]:
    try:
        spec = json.loads(str(row.get("spec") or "{}"))
    except ValueError as error:
        raise DataError(f"row of cell {row.get('cell_id', '?')}: its spec is not JSON") from error
    return spec if isinstance(spec, dict) else {}


def text(value: object) -> str:
    """Return a field as text, which is equal for 5, 5.0 and "5"."""
    if value is None or value != value:
        return ""
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def without_paths(label: str) -> str:
    """Return a plugin's label without the parameters that are paths."""
    name, _, parameters = label.partition(":")
    parameters_kept = [
        part
        for part in parameters.split(",")
        if part and part.partition("=")[0] not in ("model", "path")
    ]
    return name + (":" + ",".join(parameters_kept) if parameters_kept else "")


def short_model(row: Row) -> str:
    """Return the name of a row's model; of a path only the last part."""
    model = text(row.get("model"))
    return (
        PurePath(model).name
        if PurePath(model).is_absolute() or model.startswith((".", "~"))
        else model
    )


def measures(row: Row) -> list[str]:
    """Return the metrics with a normalized score in the row, sorted."""
    ending = "_normalized"
    return sorted(
        name.removesuffix(ending)
        for name, value in row.items()
        if name.endswith(ending) and text(value)
    )


def choose_measure(rows: Iterable[Row], preferred: str) -> str | None:
    """Return the measure by which rows of one setting are compared, or None where they have none.

    It is the preferred one, else the headline measure of their target, else the first by name.
    """
    listed = list(rows)
    available = {name for row in listed for name in measures(row)}
    headlines = [
        name for row in listed if (name := HEADLINE.get(str(row.get("target")))) in available
    ]
    return next(
        (name for name in (preferred, *headlines) if name in available),
        min(available, default=None),
    )


def seed_scores(
    group: Iterable[Trial], measure: str, read: ScoreReader, *, normalize: bool
) -> tuple[SeedScores, list[str]]:
    """Return scores by seed of the ``ok`` rows among the trials of one attack on one defence.

    A higher score always means a stronger attack.

    Args:
        group: trials of one attack on one defence in one setting.
        measure: the metric.
        read: reads scores by record.
        normalize: place the scores of each seed between its controls; else scores of a measure
            where lower is closer change sign.

    Returns:
        The scores, and for each skipped trial the reason.
    """
    by_seed: dict[int, dict[str, float]] = {}
    drawn: dict[int, str] = {}
    left_out = []
    for trial in group:
        row = trial.row
        if trial.status != "ok":
            left_out.append(f"{trial.status} at seed {trial.seed}")
            continue
        floor, ceiling = (number(row.get(f"{measure}_{end}")) for end in ("floor", "ceiling"))
        values = read(str(row["cell_id"]), trial.setting["target"], measure) or {
            "mean": number(row.get(measure))
        }
        if not all(math.isfinite(normalized(value, floor, ceiling)) for value in values.values()):
            left_out.append(f"no {measure} between controls at seed {trial.seed}")
            continue
        sign = 1.0 if ceiling > floor else -1.0
        # Rounding keeps a tiny difference that repeats on every seed from being significant.
        by_seed[trial.seed] = {
            record: round(normalized(value, floor, ceiling) if normalize else sign * value, 6)
            for record, value in values.items()
        }
        drawn[trial.seed] = f"{number(row.get(f'{measure}_nearest')):.4f}"
    return SeedScores(by_seed, drawn), left_out


def number(value: object) -> float:
    """Return a field as float, NaN where it is no number."""
    return float(value) if isinstance(value, int | float) else float("nan")
