"""Exact and near copies of a picture never fall into two splits, and the row counts them."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cell.job import Job
from bench.cell.runner import Runner
from bench.data.folder.copies import Fingerprint, copies, fingerprint
from bench.data.photos.photographs import GREY_PROMPTS, PROMPTS, photograph
from bench.data.portraits.dataset import Portraits
from bench.data.split_sizes import SplitSizes
from bench.data.splits import PARTS, load_splits
from bench.interfaces import Silent
from tests.support.folders import fill, jsonl, load, picture

SIZES = SplitSizes(victim=8, auxiliary=8, calibration=8, evaluation=8)


def finger(image: Image.Image, file: str) -> Fingerprint:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return fingerprint(image, file, (left, top, left + side, top + side))


def firsts(pictures: Sequence[Image.Image]) -> list[int]:
    return copies([finger(image, str(i)) for i, image in enumerate(pictures)], near=True)


def same(first: Image.Image, second: Image.Image) -> bool:
    return firsts([first, second]) == [0, 0]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    width, height = image.size
    return image.resize((round(width * factor), round(height * factor)), Image.Resampling.LANCZOS)


def cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Less these shares of the sides, at least a pixel where there is any."""
    width, height = image.size
    shares = zip((left, top, right, bottom), (width, height) * 2, strict=True)
    edges = [round(max(share * side, bool(share))) for share, side in shares]
    return image.crop((edges[0], edges[1], width - edges[2], height - edges[3]))


def centre(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 90": lambda p: jpeg(p, 90),
    "jpeg 30": lambda p: jpeg(p, 30),
    "half as large": lambda p: scaled(p, 0.5),
    "slightly smaller": lambda p: scaled(p, 0.9),
    "slightly larger": lambda p: scaled(p, 1.1),
    "1 % off all sides": lambda p: cut(p, 0.01, 0.01, 0.01, 0.01),
    "2 % off all sides": lambda p: cut(p, 0.02, 0.02, 0.02, 0.02),
    "1 % off two sides": lambda p: cut(p, 0.01, 0.01, 0, 0),
    "2 % off two sides": lambda p: cut(p, 0.02, 0.02, 0, 0),
    "2 % off one side": lambda p: cut(p, 0.02, 0, 0, 0),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "smaller, 1 % off and JPEG": lambda p: jpeg(cut(scaled(p, 0.8), 0.01, 0.01, 0.01, 0.01), 60),
    "its centre square": centre,
}


@cache
def photo(name: str) -> Image.Image:
    return Image.fromarray(photograph(name))


@cache
def portraits(count: int) -> list[Image.Image]:
    records = Portraits.build({}).load(count, image_size=64, condition="blur", progress=Silent())
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in records.images]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", sorted(PROMPTS | GREY_PROMPTS))
def test_a_changed_photograph_is_a_copy(name: str, change: str) -> None:
    assert same(photo(name), CHANGES[change](photo(name)))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_portrait_is_a_copy(change: str) -> None:
    found = sum(same(portrait, CHANGES[change](portrait)) for portrait in portraits(40))
    assert found >= 38  # of 64 pixels a pixel is 1.6 %, so that a cut of 1 % is a larger one


@pytest.mark.slow
def test_different_pictures_are_no_copies() -> None:
    """Several hundred portraits, four of each person, and the seventeen photographs."""
    pictures = [*portraits(400), *(photo(name) for name in sorted(PROMPTS | GREY_PROMPTS))]
    assert firsts(pictures) == list(range(len(pictures)))


def test_surfaces_without_detail_have_exact_copies_only() -> None:
    assert not same(Image.new("RGB", (40, 40), "red"), Image.new("RGB", (41, 40), "red"))
    assert same(Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "red"))


def test_the_answer_does_not_depend_on_the_order() -> None:
    pictures = [picture(i, (64, 64)) for i in range(20)]
    pictures += [jpeg(image, 60) for image in pictures[:5]]
    expected = {frozenset((i, 20 + i)) for i in range(5)}
    for order in (range(25), reversed(range(25)), np.random.default_rng(0).permutation(25)):
        places = list(order)
        groups: dict[int, set[int]] = {}
        for place, first in zip(places, firsts([pictures[i] for i in places]), strict=True):
            groups.setdefault(first, set()).add(int(place))
        assert {frozenset(group) for group in groups.values() if len(group) > 1} == expected


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """Forty pictures, eight of them twice: four equal files, two of equal pixels, two changed."""
    fill(tmp_path, 40)
    for i in range(4):
        shutil.copy(tmp_path / f"{i:03d}.png", tmp_path / f"{i:03d}-copy.png")
    for i in range(4, 6):
        picture(i).save(tmp_path / f"{i:03d}-copy.bmp")
    for i in range(6, 8):
        scaled(picture(i), 2).save(tmp_path / f"{i:03d}-copy.jpg")
    return tmp_path


def test_copies_never_fall_into_two_splits_and_are_counted(doubled: Path) -> None:
    found = load(doubled, condition="blur")
    assert found.said(
        "8 of 48 pictures are copies of others, exact or near", "copies never fall into two splits"
    )
    assert sum(found.records.duplicate) == 16
    groups = dict(zip(found.records.ids, found.records.group_names(), strict=True))
    for i, suffix in enumerate(("png",) * 4 + ("bmp",) * 2 + ("jpg",) * 2):
        assert groups[f"{i:03d}.png"] == groups[f"{i:03d}-copy.{suffix}"]
    assert len(set(groups.values())) == 40
    splits = load_splits(lambda limit: load(doubled, limit, "blur").records, SIZES)
    for first, second in itertools.combinations(PARTS, 2):
        shown = [{groups[name] for name in getattr(splits, part).ids} for part in (first, second)]
        assert not shown[0] & shown[1]
    parts = [getattr(splits, part) for part in PARTS]
    assert splits.duplicate_records() == sum(sum(part.duplicate) for part in parts) > 0


@pytest.mark.slow
def test_the_count_stands_in_every_row(
    doubled: Path, make_job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory
) -> None:
    job = make_job(
        data=f"folder:{doubled}",
        attack="closed-form",
        records=8,
        auxiliary=8,
        calibration=8,
        evaluation=8,
        condition="blur",
        image_size=32,
    )
    rows = Runner(tmp_path_factory.mktemp("results"), Silent()).compute(job).rows
    assert {row["status"] for row in rows} == {"ok", "not_claimed"}
    assert {row["duplicate_records"] for row in rows} == {job.splits.duplicate_records()}
    assert job.splits.duplicate_records() > 0


def test_near_copies_can_be_told_apart_by_the_user(doubled: Path) -> None:
    found = load(doubled, condition="blur", near_copies=False)
    assert found.said("6 of 48 pictures are copies of others")


def test_without_copies_records_are_dealt_as_those_of_other_data_sets(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    records = load(tmp_path, condition="blur").records
    assert records.group_names() == tuple(f"record {i}" for i in range(40))
    assert not any(records.duplicate)


def test_a_copy_joins_the_identities_of_both(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    shutil.copy(tmp_path / "000.png", tmp_path / "003.png")
    rows = zip(("000", "001", "002", "003"), ("ann", "ann", "bob", "bob"), strict=True)
    jsonl(
        tmp_path,
        *({"file_name": f"{name}.png", "text": "x", "identity": who} for name, who in rows),
    )
    assert len(set(load(tmp_path).records.group_names())) == 1


def test_copies_show_the_same_where_no_identity_is_given(tmp_path: Path) -> None:
    """Two copies are no strangers to each other when a threshold of matches is set."""
    fill(tmp_path, 3)
    shutil.copy(tmp_path / "000.png", tmp_path / "003.png")
    assert load(tmp_path).records.identities == ("000.png", None, None, "000.png")
    rows = zip(("000", "001", "002", "003"), (None, None, "bob", "ann"), strict=True)
    jsonl(
        tmp_path,
        *({"file_name": f"{name}.png", "text": "x", "identity": who} for name, who in rows),
    )
    assert load(tmp_path).records.identities == ("ann", None, "bob", "ann")


def test_crops_of_copies_stay_together(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    shutil.copy(tmp_path / "000.png", tmp_path / "003.png")
    records = load(tmp_path, crops=2).records
    assert records.duplicate == (True, True, False, False, False, False, True, True)
    names = records.group_names()
    assert len(set(names)) == 3
    assert names[0] == names[1] == names[6] == names[7]


def test_origins_are_the_files_and_not_their_pixels(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    fill(tmp_path / "hints", 2, 500)
    first = load(tmp_path).records
    assert len(set(first.origins)) == 2
    assert load(tmp_path).records.origins == first.origins
    assert (
        load(tmp_path, condition="blur").records.origins != first.origins
    )  # no hint of its own is used
    picture(7).save(tmp_path / "hints" / "001.png")
    changed = load(tmp_path).records
    assert changed.origins[0] == first.origins[0]
    assert changed.origins[1] != first.origins[1]
    assert len(set(load(tmp_path, crops=2, condition="blur").records.origins)) == 4
