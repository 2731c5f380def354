"""Numbers of a capture are measured once, and again where something they depend on has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cell.cached_numbers import CachedNumbers, Numbers


class Meter:
    """Measures another number each time."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Numbers:
        self.count += 1
        return Numbers({"leak": float(self.count)}, ("global-random",))


@pytest.fixture
def notes() -> list[str]:
    return []


def cached(results: Path, notes: list[str], code: str = "a") -> CachedNumbers:
    return CachedNumbers(results, "leakage", "capture", {"code": code}, notes.append)


def test_numbers_are_kept_with_their_flags(tmp_path: Path, notes: list[str]) -> None:
    meter = Meter()
    first = cached(tmp_path, notes).get(meter)
    assert cached(tmp_path, notes).get(meter) == first == Numbers({"leak": 1.0}, ("global-random",))
    assert notes == []


def test_the_file_is_what_counts(tmp_path: Path, notes: list[str]) -> None:
    numbers = cached(tmp_path, notes)
    numbers.get(Meter())
    content = json.loads(numbers.file.read_text())
    numbers.file.write_text(json.dumps({**content, "values": {"leak": 7.0}}))
    assert numbers.get(Meter()).values == {"leak": 7.0}


def test_other_conditions_and_a_fresh_run_measure_anew(tmp_path: Path, notes: list[str]) -> None:
    meter = Meter()
    cached(tmp_path, notes, code="of another state").get(meter)
    assert cached(tmp_path, notes).get(meter).values == {"leak": 2.0}
    assert cached(tmp_path, notes).get(meter, fresh=True).values == {"leak": 3.0}
    assert cached(tmp_path, notes).get(meter).values == {"leak": 3.0}
    assert notes == []


@pytest.mark.parametrize(
    "content", ["not json", "[]", "{}", '{"conditions": {"code": "a"}, "values": {"leak": "x"}}']
)
def test_a_damaged_file_is_measured_anew_with_a_note(
    content: str, tmp_path: Path, notes: list[str]
) -> None:
    numbers, meter = cached(tmp_path, notes), Meter()
    numbers.get(meter)
    numbers.file.write_text(content)
    assert numbers.get(meter).values == {"leak": 2.0}
    assert notes == ["damaged capture.json; measuring it anew"]
    assert numbers.get(meter).values == {"leak": 2.0}
