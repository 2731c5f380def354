"""Which rows may stand in one table: the setting they must share, and what is compared within it."""

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
"""``(cell_id, target, metric)`` to the score of each record by its name; empty where only means are known."""

UNDEFENDED = "none"

NOT_A_FAILURE = frozenset({"not_applicable", "not_claimed"})

SETTING = (
    *(
        "victim",
        "protocol",
        "threat_model",
        "withheld_from_view",
        "threat",
        "dataset",
        "condition",
        "image_size",
    ),
    *("target", "scale", "model_hash", "data_hash", "split_hash", "backbones"),
    *(
        "records_victim",
        "records_auxiliary",
        "records_calibration",
        "records_evaluation",
        "targets",
        "epoch",
    ),
    *("epochs", "batch_size", "learning_rate", "dtype", "utility_steps", "utility_guidance"),
)
"""What makes numbers incomparable when it differs. ``threat``, ``targets`` and ``epoch`` come from
the spec; where files lie does not count, their hashes do."""


def view_label(threat_model: str, withheld: str) -> str:
    """``server without noise_target``, or ``server`` where nothing is withheld."""
    return f"{threat_model} without {withheld}" if withheld else threat_model


@dataclass(frozen=True)
class ComparisonSetting:
    """The values of ``SETTING``, in its order, as text."""

    values: tuple[str, ...]

    def __getitem__(self, name: str) -> str:
        return self.values[SETTING.index(name)]

    def without(self, *names: str) -> tuple[str, ...]:
        """The values of all other fields."""
        return tuple(
            value for name, value in zip(SETTING, self.values, strict=True) if name not in names
        )

    @property
    def view(self) -> str:
        """For people: who attacks, and what is withheld."""
        return view_label(self["threat_model"], self["withheld_from_view"])

    def title(self) -> str:
        """For people: what is attacked, by whom, and what is sought."""
        return f"{self['victim']}, {self['protocol']}, {self.view}, {self['dataset']}, {self['target']}"


@dataclass(frozen=True)
class AttackBudget:
    """An attack with what it may spend: another budget is another attack."""

    label: str
    iterations: str
    batch_size: str


@dataclass(frozen=True, eq=False)
class Trial:
    """One row, with what it is compared by."""

    setting: ComparisonSetting
    defense: str
    attack: AttackBudget
    seed: int
    row: Row

    @property
    def key(self) -> tuple[ComparisonSetting, str, AttackBudget, int]:
        """Two rows of one key are two runs of one thing."""
        return self.setting, self.defense, self.attack, self.seed

    @property
    def status(self) -> str:
        return str(self.row["status"])


def ledger_scores(ledger: LedgerReader) -> ScoreReader:
    """Reads a ledger's scores, each cell's file once."""
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
    """The rows as trials; of several runs of one thing (other code, other versions) the newest
    counts.

    Raises:
        DataError: a row lacks a field.
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
    """A row's setting. Fields that the row lacks are empty."""
    spec = _spec(row)
    attack, threat = spec.get("attack", {}), spec.get("threat")
    found = {name: text(row.get(name)) for name in SETTING}
    found["victim"] = without_paths(found["victim"])
    found["dataset"] = without_paths(found["dataset"])
    found["targets"] = found["targets"] or text(attack.get("targets"))
    found["epoch"] = found["epoch"] or text(attack.get("epoch"))
    if threat is not None:
        found["threat"] = hashlib.sha256(json.dumps(threat, sort_keys=True).encode()).hexdigest()[
            :8
        ]
    return ComparisonSetting(tuple(found.values()))


def _spec(row: Row) -> dict[str, Any]:
    try:
        spec = json.loads(str(row.get("spec") or "{}"))
    except ValueError as error:
        raise DataError(f"row of cell {row.get('cell_id', '?')}: its spec is no JSON") from error
    return spec if isinstance(spec, dict) else {}


def text(value: object) -> str:
    """A field as text, the same whether it was read as 5, 5.0 or "5"."""
    if value is None or value != value:
        return ""
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def without_paths(label: str) -> str:
    """A plugin's label without the parameters that say where files lie."""
    name, _, parameters = label.partition(":")
    kept = [
        part
        for part in parameters.split(",")
        if part and part.partition("=")[0] not in ("model", "path")
    ]
    return name + (":" + ",".join(kept) if kept else "")


def short_model(row: Row) -> str:
    """A model's name; of a directory only the last part."""
    model = text(row.get("model"))
    return (
        PurePath(model).name
        if PurePath(model).is_absolute() or model.startswith((".", "~"))
        else model
    )


def measures(row: Row) -> list[str]:
    """Metrics that the row has a normalized score of, sorted."""
    ending = "_normalized"
    return sorted(
        name.removesuffix(ending)
        for name, value in row.items()
        if name.endswith(ending) and text(value)
    )


def choose_measure(rows: Iterable[Row], preferred: str) -> str | None:
    """The measure that rows of one setting are compared by: the preferred one, else their target's
    headline measure, else the first they have."""
    listed = list(rows)
    found = {name for row in listed for name in measures(row)}
    headlines = [name for row in listed if (name := HEADLINE.get(str(row.get("target")))) in found]
    return next(
        (name for name in (preferred, *headlines) if name in found), min(found, default=None)
    )


def seed_scores(
    group: Iterable[Trial], measure: str, read: ScoreReader, *, normalize: bool
) -> tuple[SeedScores, list[str]]:
    """Scores of the ``ok`` rows among the trials of one attack on one defence.

    Each seed is put between its own controls. Higher is always the stronger attack: not normalized,
    scores of a measure where lower is closer change sign.

    Returns:
        The scores, and why trials are left out.
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
        # Rounded: a difference in the ninth digit that repeats on every seed is no finding.
        by_seed[trial.seed] = {
            record: round(normalized(value, floor, ceiling) if normalize else sign * value, 6)
            for record, value in values.items()
        }
        drawn[trial.seed] = f"{number(row.get(f'{measure}_nearest')):.4f}"
    return SeedScores(by_seed, drawn), left_out


def number(value: object) -> float:
    """A field as float, NaN where it is empty."""
    return float(value) if isinstance(value, int | float) else float("nan")
