"""What every registered data set must hold to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.conditions import CHOICES, DRAWN
from bench.data.split_sizes import SplitSizes
from bench.data.splits import check_disjoint, load_splits
from bench.interfaces import Dataset, Records, RequestError, Silent
from bench.interfaces.dataset import AUTO
from bench.interfaces.registry import Registry, listing
from victims.pocket import tokenizer as tokens
from victims.pocket.figures import WEIGHTS

NAMES = [*listing("datasets").names(), "photos:held_out"]
SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures, each with a hint of its own."""
    path = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(path / f"{i}.png")
        Image.new("L", (20, 20), 4 * i).save(path / f"hint{i}.png")
        lines.append(
            json.dumps(
                {
                    "file_name": f"{i}.png",
                    "text": f"picture {i}",
                    "conditioning_image": f"hint{i}.png",
                }
            )
        )
    (path / "metadata.jsonl").write_text("\n".join(lines))
    return path


def build(name: str, folder: Path) -> Dataset:
    base, _, flag = name.partition(":")
    cls = Registry("datasets", Dataset).load(base)  # type: ignore[type-abstract]
    given: dict[str, object] = {"path": str(folder)} if "path" in cls.Params.model_fields else {}
    dataset: Dataset = cls.build(given | ({flag: True} if flag else {}))
    return dataset


def load(dataset: Dataset, limit: int, condition: str = AUTO) -> Records:
    return dataset.load(
        limit, image_size=SIZE, condition=dataset.resolve(condition), progress=Silent()
    )


@pytest.mark.parametrize("name", NAMES)
def test_records_are_whole_repeatable_and_do_not_depend_on_how_many_are_asked_for(
    name: str, folder: Path
) -> None:
    dataset = build(name, folder)
    first, again, few = load(dataset, 12), load(build(name, folder), 12), load(dataset, 5)
    assert len(first) == 12
    assert first.images.shape == first.conditions.shape == (12, 3, SIZE, SIZE)
    assert first.content_hash() == again.content_hash()
    assert first.select(range(5)).content_hash() == few.content_hash()
    assert len(set(first.ids)) == 12
    assert first.images.float().std() > 10
    assert all(text.strip() == text and text for text in first.prompts)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("folder")])
def test_prompts_fit_the_pocket_model(name: str, folder: Path) -> None:
    texts = list(dict.fromkeys(load(build(name, folder), 60).prompts))
    tokenizer = tokens.load(WEIGHTS / "tokenizer")
    lengths = dict(zip(texts, map(len, tokenizer(texts, verbose=False).input_ids), strict=True))
    # The shipped tokenizer spells out words that it does not know; theirs are those of its next
    # training.
    known = {t for t in texts if "photo" in t or name != "fill"}
    assert all(len(t.split()) <= tokens.MAX_TOKENS - 2 for t in texts)
    assert max((lengths[t] for t in known), default=0) <= tokens.MAX_TOKENS


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("condition", CHOICES)
def test_every_data_set_gives_every_extracted_hint(name: str, condition: str, folder: Path) -> None:
    records = load(build(name, folder), 2, condition)
    assert records.conditions.dtype == torch.uint8
    assert not torch.equal(records.conditions, records.images)
    assert torch.equal(load(build(name, folder), 2, condition).conditions, records.conditions)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("condition", DRAWN)
def test_hints_of_its_own_come_from_one_data_set_alone(
    name: str, condition: str, folder: Path
) -> None:
    dataset = build(name, folder)
    if DRAWN[condition] == dataset.name:
        assert load(dataset, 2, condition).conditions.float().std() > 1
    else:
        with pytest.raises(
            RequestError, match=rf"{condition}.*only the data set '{DRAWN[condition]}'"
        ):
            load(dataset, 2, condition)


@pytest.mark.parametrize("name", NAMES)
def test_random_hints_do_not_depend_on_the_picture(name: str, folder: Path) -> None:
    dataset = build(name, folder)
    hints = load(dataset, 3, "random").conditions
    assert not torch.equal(hints[0], hints[1])
    if "start" in type(dataset).Params.model_fields:
        assert torch.equal(hints, load(build("fill", folder), 3, "random").conditions)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_disjoint(name: str, folder: Path) -> None:
    dataset = build(name, folder)
    sizes = SplitSizes(victim=16, auxiliary=20, calibration=8, evaluation=8)
    splits = load_splits(lambda limit: load(dataset, limit, "blur"), sizes)
    check_disjoint(splits)
    assert [len(splits.victim), len(splits.auxiliary)] == [16, 20]
