"""Measures how much the numbers of one cell differ between two processors, and stores the result.

``bench tolerance LEDGER_A LEDGER_B`` compares two results directories of one suite that ran with
different settings of the processor, and writes the table that ``bench check`` and ``bench
reproduce`` use.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from bench.ledger.columns import TIMINGS
from bench.reports.comparability import SETTING, Row, number, setting_from_row
from bench.util.errors import DataError, RequestError

TABLE = Path(__file__).with_name("processor_tolerance.json")
MARGIN = 2.0
"""Allowed over largest measured difference, since not all processors were measured."""
OUTLIER_FACTOR = 10.0
"""Factor over the differences of other attacks above which an attack has separate entries."""
ANY = "*"
"""Entry for quantities without an entry: the median relative difference of all entries."""

_HASHES = ("model_hash", "data_hash", "split_hash", "threat")
_ENDINGS = ("low", "high", "floor", "ceiling", "nearest", "random", "mean", "typical", "caption")
_COUNTS = frozenset(
    {"n", "seed", "threads", "schema_version", "steps", "bytes_up", "bytes_down", "bytes_once"}
)
"""Numbers of a row that are counts or settings, which no processor changes."""


@dataclass(frozen=True)
class Difference:
    """The largest differences of one quantity between two processors.

    Attributes:
        absolute: largest difference of a number in a row.
        relative: largest difference relative to the number, over the larger half of the numbers.
        record: largest difference of the score of one record; 0 where records have no scores.
    """

    absolute: float = 0.0
    relative: float = 0.0
    record: float = 0.0

    def __post_init__(self) -> None:
        if not all(
            math.isfinite(value) and value >= 0.0
            for value in (self.absolute, self.relative, self.record)
        ):
            raise DataError("a tolerance between processors must be a finite number of at least 0")

    def allowed(self, size: float) -> float:
        """Return the allowed difference of a number of this size."""
        return MARGIN * max(self.absolute, self.relative * abs(size))

    def allowed_record(self) -> float:
        """Return the allowed difference of the score of one record."""
        return MARGIN * self.record


@dataclass(frozen=True)
class ProcessorTolerance:
    """Measured differences between processors, by quantity.

    Attributes:
        measured: a description of the two measured ledgers.
        entries: the differences by quantity, or by ``metric@attack`` where an attack has a separate
            entry.
    """

    measured: str
    entries: Mapping[str, Difference]

    def entry_for(self, field: str, attack: str = "") -> Difference:
        """Return the entry for a field of a row, such as ``ssim_low`` or ``utility_fid``.

        Args:
            field: name of the field.
            attack: label of the attack, which may have a separate entry.
        """
        name = quantity(field, self.entries)
        own = self.entries.get(f"{name}@{attack.partition(':')[0]}")
        return own or self.entries.get(name) or self.entries.get(ANY, Difference())

    def as_json(self) -> dict[str, Any]:
        """Return the content of a JSON file; ``from_json`` reads it."""
        entries = {
            name: {"absolute": e.absolute, "relative": e.relative, "record": e.record}
            for name, e in sorted(self.entries.items())
        }
        return {"measured": self.measured, "entries": entries}

    @classmethod
    def from_json(cls, content: Any) -> ProcessorTolerance:
        """Return the table from the content of a JSON file.

        Raises:
            DataError: the content is malformed.
        """
        try:
            entries = {
                str(name): Difference(
                    float(e["absolute"]), float(e["relative"]), float(e["record"])
                )
                for name, e in content["entries"].items()
            }
            return cls(str(content["measured"]), entries)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError("the tolerances between processors are malformed") from error


@lru_cache
def measured_tolerance() -> ProcessorTolerance:
    """Return the table that is shipped with this version."""
    return ProcessorTolerance.from_json(json.loads(TABLE.read_text(encoding="utf-8")))


def quantity(field: str, known: Iterable[str] = ()) -> str:
    """Return the quantity of a field, such as ``ssim`` for ``ssim_low`` and ``ssim_floor``.

    Names in ``known`` are quantities themselves: ``leak_snr_mean`` is not the mean of ``leak_snr``.
    """
    if field in known or field.startswith(("leak_", "utility_")):
        return field
    ending = max((e for e in _ENDINGS if field.endswith("_" + e)), key=len, default="")
    return field.removesuffix("_" + ending) if ending else field


def measure(
    first: Iterable[Row],
    second: Iterable[Row],
    read_first: Callable[[str], Mapping[tuple[str, str, str], float]],
    read_second: Callable[[str], Mapping[tuple[str, str, str], float]],
) -> dict[str, Difference]:
    """Return the differences between two ledgers of one suite by quantity.

    Rows are paired by setting, defence, attack and seed, whatever their hashes; of several runs the
    newest counts.

    Args:
        first: rows of one ledger.
        second: rows of the other ledger.
        read_first: returns a cell's scores in ``first`` by target, metric and record.
        read_second: returns a cell's scores in ``second`` by target, metric and record.

    Raises:
        RequestError: the ledgers have no row in common.
    """
    mine, theirs = ({_row_key(row): row for row in side} for side in (first, second))
    seen: dict[tuple[str, str], _Pairs] = {}
    pairs = [(row, theirs[name]) for name, row in mine.items() if name in theirs]
    if not pairs:
        raise RequestError("the two ledgers have no cell in common")
    for one, other in pairs:
        attack = str(one["attack"]).partition(":")[0]
        for field, a, b in _paired_numbers(one, other):
            name = quantity(field)
            of_attack = "" if name.startswith(("leak_", "utility_", "loss_")) else attack
            seen.setdefault((name, of_attack), _Pairs()).numbers.append((a, b))
        target = str(one["target"])
        before, after = read_first(str(one["cell_id"])), read_second(str(other["cell_id"]))
        for (of_target, metric, record), value in before.items():
            if of_target == target and (of_target, metric, record) in after:
                change = abs(value - after[of_target, metric, record])
                found = seen.setdefault((metric, attack), _Pairs())
                found.record = max(found.record, change)
    return _entries(seen)


class _Pairs:
    """Collects the pairs of numbers of one quantity, and the largest difference of a record."""

    def __init__(self) -> None:
        self.numbers: list[tuple[float, float]] = []
        self.record = 0.0

    def difference(self) -> Difference:
        """Return the largest differences of the pairs."""
        if not self.numbers:
            return Difference(record=self.record)
        half = median(abs(a) for a, _ in self.numbers)
        relative = [abs(a - b) / abs(a) for a, b in self.numbers if abs(a) >= max(half, 1e-6)]
        return Difference(
            max(abs(a - b) for a, b in self.numbers), max(relative, default=0.0), self.record
        )


def _entries(seen: Mapping[tuple[str, str], _Pairs]) -> dict[str, Difference]:
    """Return an entry for each quantity, and separate ones for attacks far above the others."""
    by_quantity: dict[str, dict[str, Difference]] = {}
    for (name, attack), pairs in seen.items():
        by_quantity.setdefault(name, {})[attack] = pairs.difference()
    entries: dict[str, Difference] = {}
    for name, of_attacks in by_quantity.items():
        typical = median(d.absolute for d in of_attacks.values())
        outliers = {
            a
            for a, d in of_attacks.items()
            if a and d.absolute > OUTLIER_FACTOR * max(typical, 1e-6)
        }
        entries |= {f"{name}@{attack}": of_attacks[attack] for attack in outliers}
        entries[name] = _largest(d for a, d in of_attacks.items() if a not in outliers)
    moved = [d.relative for name, d in entries.items() if "@" not in name and d.relative > 0.0]
    entries[ANY] = Difference(0.0, median(moved) if moved else 0.0)
    return {
        name: entry for name, entry in entries.items() if entry != Difference() or "@" not in name
    }


def _largest(differences: Iterable[Difference]) -> Difference:
    listed = list(differences)
    return Difference(
        max((d.absolute for d in listed), default=0.0),
        max((d.relative for d in listed), default=0.0),
        max((d.record for d in listed), default=0.0),
    )


def _row_key(row: Row) -> tuple[str, ...]:
    """Return what identifies a row, without the hashes of data and model files."""
    attack = (
        str(row["attack"]),
        str(row.get("attack_iterations")),
        str(row.get("attack_batch_size")),
    )
    return (
        *setting_from_row(row).without(*_HASHES),
        str(row["defense"]),
        *attack,
        str(row["seed"]),
    )


def _paired_numbers(one: Row, other: Row) -> Iterator[tuple[str, float, float]]:
    """Yield the numbers that both rows have and that a processor may change."""
    for field, value in one.items():
        a, b = number(value), number(other.get(field))
        if field in TIMINGS or field in _COUNTS or field in SETTING or isinstance(value, int):
            continue
        if math.isfinite(a) and math.isfinite(b):
            yield field, a, b


def round_up(entries: Mapping[str, Difference]) -> dict[str, Difference]:
    """Return the entries with each number rounded up to three digits."""

    def up(value: float) -> float:
        return float(f"{value * 1.005:.3g}")

    return {n: Difference(up(e.absolute), up(e.relative), up(e.record)) for n, e in entries.items()}
