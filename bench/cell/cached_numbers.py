"""Numbers that are measured once of a capture and kept, since every attack on it shares them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.util.errors import BenchError
from bench.util.files import disk_errors, read_json, write_text
from bench.util.locks import hold_lock


@dataclass(frozen=True)
class Numbers:
    """Measured numbers by name.

    Attributes:
        flags: reasons to doubt them.
    """

    values: Mapping[str, float]
    flags: tuple[str, ...] = ()


class CachedNumbers:
    """Numbers in a JSON file below a results directory; other conditions than kept measure anew.

    Args:
        results: the results directory.
        kind: name of the folder of the file, such as ``utility``.
        key: name of the file without its extension.
        conditions: what the numbers depend on besides the key, as JSON can hold it.
        note: receives a sentence about a damaged file.
    """

    def __init__(
        self,
        results: Path,
        kind: str,
        key: str,
        conditions: Mapping[str, object],
        note: Callable[[str], None],
    ) -> None:
        self.file = results / kind / f"{key}.json"
        self._lock = results / "locks" / f"{kind}-{key}"
        self._conditions = dict(conditions)
        self._note = note

    def get(self, measure: Callable[[], Numbers], *, fresh: bool = False) -> Numbers:
        """Return the kept numbers, or measure and keep them.

        A process that asks for numbers while another one measures them waits.

        Args:
            fresh: measure even where numbers are kept.
        """
        with hold_lock(self._lock):
            numbers = None if fresh else self._read()
            if numbers is None:
                numbers = measure()
                self._write(numbers)
            return numbers

    def _read(self) -> Numbers | None:
        """Return the kept numbers, or None where there are none that can be used."""
        if not self.file.exists():
            return None
        try:
            content = read_json(self.file)
            if content["conditions"] != self._conditions:
                return None
            values = {str(name): float(value) for name, value in content["values"].items()}
            return Numbers(values, tuple(map(str, content["flags"])))
        except (BenchError, KeyError, TypeError, ValueError, AttributeError):
            self._note(f"damaged {self.file.name}; measuring it anew")
            return None

    def _write(self, numbers: Numbers) -> None:
        content = {
            "conditions": self._conditions,
            "values": dict(numbers.values),
            "flags": numbers.flags,
        }
        with disk_errors(self.file):
            write_text(self.file, json.dumps(content, indent=1))
