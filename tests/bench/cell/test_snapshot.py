"""A snapshot reports changes to the objects that an attack received, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bench.cell.snapshot import Snapshot
from bench.interfaces import Records
from tests.conftest import make_records


@dataclasses.dataclass(frozen=True, eq=False)
class Box:
    """Stands for ``Public``: records, a network, and something that remembers."""

    records: Records
    network: torch.nn.Module
    cache: Cache
    name: str = "box"


class Cache:
    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}


def box() -> Box:
    records = dataclasses.replace(
        make_records(3), attributes=tuple({"hair": "red"} for _ in range(3))
    )
    return Box(records, torch.nn.Linear(2, 2), Cache())


def snapshot(thing: Box) -> Snapshot:
    return Snapshot("box", thing, packages={Box.__module__.partition(".")[0]})


def test_no_change_and_a_filled_cache_are_no_finding() -> None:
    thing = box()
    before = snapshot(thing)
    thing.cache.kept["latents"] = torch.zeros(3)
    thing.records.images.float().add_(1)
    assert before.changed() == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda b: b.records.images[0].zero_(), "box.records.images"),
        (lambda b: b.records.images.copy_(b.records.images.flip(0)), "box.records.images"),
        (lambda b: b.records.conditions.numpy().fill(0), "box.records.conditions"),
        (
            lambda b: b.records.attributes[1].update(hair="blue"),
            "box.records.attributes[1]['hair']",
        ),
        (lambda b: b.records.attributes[1].clear(), "box.records.attributes[1]"),
        (lambda b: object.__setattr__(b.records, "prompts", ("x",) * 3), "box.records.prompts"),
        (lambda b: object.__setattr__(b, "name", "other"), "box.name"),
        (lambda b: b.network.weight.data.mul_(2), "box.network.weight"),
    ],
)
def test_a_change_is_named_by_its_place(change, place: str) -> None:
    thing = box()
    before = snapshot(thing)
    change(thing)
    assert before.changed() == [place]


def test_a_large_tensor_is_watched_too() -> None:
    thing = box()
    object.__setattr__(thing, "network", torch.nn.Linear(2**12, 2**11))
    before = snapshot(thing)
    thing.network.weight.data[5, 5] += 1
    assert before.changed() == ["box.network.weight"]
