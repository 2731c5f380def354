"""How far the numbers of one cell lie apart on two processors: the table, and the command that
measures it.

``bench tolerance LEDGER_A LEDGER_B`` compares two results directories of one suite, made under
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
"""Allowed is this times the largest difference that was measured: two settings are not all processors."""
APART = 10.0
"""An attack whose differences are so many times those of the others has entries under its own name."""
ANY = "*"
"""Stands for numbers that the table has no entry for: the typical relative difference of those that it has."""

_HASHES = ("model_hash", "data_hash", "split_hash", "threat")
_ENDINGS = ("low", "high", "floor", "ceiling", "nearest", "random", "mean", "typical", "caption")
_COUNTS = frozenset(
    {"n", "seed", "threads", "schema_version", "steps", "bytes_up", "bytes_down", "bytes_once"}
)
"""Numbers of a row that are counts or settings: no processor moves them."""


@dataclass(frozen=True)
class Difference:
    """The largest differences of one quantity between two processors.

    Attributes:
        absolute: of a row's number.
        relative: of a row's number to its size, over the larger half of the numbers.
        record: of the score of a single record; 0 where the quantity has none.
    """

    absolute: float = 0.0
    relative: float = 0.0
    record: float = 0.0

    def __post_init__(self) -> None:
        if not all(
            math.isfinite(value) and value >= 0.0
            for value in (self.absolute, self.relative, self.record)
        ):
            raise DataError("a tolerance between processors must be a finite number from 0 up")

    def allowed(self, size: float) -> float:
        """How far a number of this size may lie off."""
        return MARGIN * max(self.absolute, self.relative * abs(size))

    def allowed_record(self) -> float:
        """How far the score of a single record may lie off."""
        return MARGIN * self.record


@dataclass(frozen=True)
class ProcessorTolerance:
    """The measured differences by quantity; ``metric@attack`` where an attack has an entry of its
    own.

    Attributes:
        measured: on what, for people.
    """

    measured: str
    entries: Mapping[str, Difference]

    def of(self, field: str, attack: str = "") -> Difference:
        """The entry of a row's field, such as ``ssim_low`` or ``utility_fid``.

        Args:
            attack: the attack's label; its name picks the attack's own entry where there is one.
        """
        name = quantity(field, self.entries)
        own = self.entries.get(f"{name}@{attack.partition(':')[0]}")
        return own or self.entries.get(name) or self.entries.get(ANY, Difference())

    def as_json(self) -> dict[str, Any]:
        """For a file; ``from_json`` reads it."""
        found = {
            name: {"absolute": e.absolute, "relative": e.relative, "record": e.record}
            for name, e in sorted(self.entries.items())
        }
        return {"measured": self.measured, "entries": found}

    @classmethod
    def from_json(cls, content: Any) -> ProcessorTolerance:
        """The table of a file.

        Raises:
            DataError: it is not one.
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
    """The table that was measured for this version."""
    return ProcessorTolerance.from_json(json.loads(TABLE.read_text(encoding="utf-8")))


def quantity(field: str, known: Iterable[str] = ()) -> str:
    """The quantity that a field belongs to: ``ssim`` for ``ssim_low`` and ``ssim_floor``, which are
    of one scale.

    ``known`` names are taken as they stand: ``leak_snr_mean`` is no end of ``leak_snr``.
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
    """The differences between two ledgers of one suite.

    Rows are paired by setting, defence, attack and seed, whatever their hashes; of several runs the
    newest counts.

    Args:
        read_first, read_second: a cell's scores by target, metric and record.

    Raises:
        RequestError: no row of one is in the other.
    """
    mine, theirs = ({_name(row): row for row in side} for side in (first, second))
    seen: dict[tuple[str, str], _Seen] = {}
    pairs = [(row, theirs[name]) for name, row in mine.items() if name in theirs]
    if not pairs:
        raise RequestError("the two ledgers have no cell in common")
    for one, other in pairs:
        attack = str(one["attack"]).partition(":")[0]
        for field, a, b in _numbers(one, other):
            name = quantity(field)
            of_attack = "" if name.startswith(("leak_", "utility_", "loss_")) else attack
            seen.setdefault((name, of_attack), _Seen()).numbers.append((a, b))
        target = str(one["target"])
        before, after = read_first(str(one["cell_id"])), read_second(str(other["cell_id"]))
        for (of_target, metric, record), value in before.items():
            if of_target == target and (of_target, metric, record) in after:
                change = abs(value - after[of_target, metric, record])
                found = seen.setdefault((metric, attack), _Seen())
                found.record = max(found.record, change)
    return _entries(seen)


class _Seen:
    """The pairs of numbers of one quantity, and the largest difference of a record."""

    def __init__(self) -> None:
        self.numbers: list[tuple[float, float]] = []
        self.record = 0.0

    def difference(self) -> Difference:
        if not self.numbers:
            return Difference(record=self.record)
        half = median(abs(a) for a, _ in self.numbers)
        relative = [abs(a - b) / abs(a) for a, b in self.numbers if abs(a) >= max(half, 1e-6)]
        return Difference(
            max(abs(a - b) for a, b in self.numbers), max(relative, default=0.0), self.record
        )


def _entries(seen: Mapping[tuple[str, str], _Seen]) -> dict[str, Difference]:
    """One entry a quantity, and own entries of the attacks that lie far above the others."""
    by_quantity: dict[str, dict[str, Difference]] = {}
    for (name, attack), found in seen.items():
        by_quantity.setdefault(name, {})[attack] = found.difference()
    entries: dict[str, Difference] = {}
    for name, of_attacks in by_quantity.items():
        typical = median(d.absolute for d in of_attacks.values())
        apart = {a for a, d in of_attacks.items() if a and d.absolute > APART * max(typical, 1e-6)}
        entries |= {f"{name}@{attack}": of_attacks[attack] for attack in apart}
        entries[name] = _largest(d for a, d in of_attacks.items() if a not in apart)
    moved = [d.relative for name, d in entries.items() if "@" not in name and d.relative > 0.0]
    entries[ANY] = Difference(0.0, median(moved) if moved else 0.0)
    return {
        name: entry for name, entry in entries.items() if entry != Difference() or "@" not in name
    }


def _largest(found: Iterable[Difference]) -> Difference:
    listed = list(found)
    return Difference(
        max((d.absolute for d in listed), default=0.0),
        max((d.relative for d in listed), default=0.0),
        max((d.record for d in listed), default=0.0),
    )


def _name(row: Row) -> tuple[str, ...]:
    """What a row is, whatever data and model files hash to."""
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


def _numbers(one: Row, other: Row) -> Iterator[tuple[str, float, float]]:
    """The numbers that both rows have and that a processor may move."""
    for field, value in one.items():
        a, b = number(value), number(other.get(field))
        if field in TIMINGS or field in _COUNTS or field in SETTING or isinstance(value, int):
            continue
        if math.isfinite(a) and math.isfinite(b):
            yield field, a, b


def round_up(entries: Mapping[str, Difference]) -> dict[str, Difference]:
    """Three digits of each number, rounded up."""

    def up(value: float) -> float:
        return float(f"{value * 1.005:.3g}")

    return {n: Difference(up(e.absolute), up(e.relative), up(e.record)) for n, e in entries.items()}
