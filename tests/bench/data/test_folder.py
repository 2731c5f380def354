"""``folder:PATH`` takes any picture, and refuses with one sentence that names file and line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.folder.dataset import Folder
from bench.data.folder.pictures import decode
from bench.interfaces import DataError, Records, Silent

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def load(path: Path, limit: int = 100, condition: str = "auto", **params: int) -> Records:
    dataset: Folder = Folder.build({"path": str(path), **params})
    return dataset.load(
        limit, image_size=32, condition=dataset.resolve(condition), progress=Silent()
    )


def describe(path: Path, *lines: dict[str, object] | str) -> None:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (path / "metadata.jsonl").write_text("\n".join(text), encoding="utf-8")


def grey(path: Path, value: int = 128, size: tuple[int, int] = (30, 20)) -> None:
    Image.new("RGB", size, (value,) * 3).save(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB", "CMYK", "I;16", "I", "F"])
def test_every_mode_keeps_its_picture(mode: str, tmp_path: Path) -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1)))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(ramp).astype(np.uint16) * 257)
    else:
        picture = ramp.convert("RGB" if mode == "CMYK" else "L").convert(mode)
    picture.save(tmp_path / "a.tif")
    image = load(tmp_path).images[0].float()
    assert float(image[:, :, :8].mean()) < 60
    assert float(image[:, :, -8:].mean()) > 195


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    if mode == "P":
        Image.new("P", (20, 20), 0).save(tmp_path / "a.png", transparency=0)
    else:
        picture.convert(mode).save(tmp_path / "a.png")
    assert int(load(tmp_path).images.min()) == 255


def test_exif_turns_the_picture(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), "black")
    picture.paste("white", (0, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "a.png", exif=exif)
    image = load(tmp_path).images[0].float()
    assert float(image[:, :12].mean()) < 20
    assert float(image[:, -12:].mean()) > 235


def test_floats_without_a_number_are_black(tmp_path: Path) -> None:
    values = np.full((20, 20), np.nan, np.float32)
    values[10:] = 7.0
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert int(load(tmp_path).images[:, :, :5].max()) == 0


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "bomb", "pointer"])
def test_damaged_pictures_are_named(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = io.BytesIO()
    Image.effect_noise((60, 60), 50).save(whole, "PNG")
    content = {
        "truncated": whole.getvalue()[:900],
        "empty": b"",
        "text": b"no picture",
        "pointer": POINTER,
    }.get(damage, whole.getvalue())
    if damage == "bomb":
        monkeypatch.setattr("bench.data.folder.pictures.MOST_PIXELS", 3000)
    words = {
        "bomb": "60 x 60 pixels, more than 3,000",
        "pointer": "Git LFS pointer .* `git lfs pull`",
    }
    with pytest.raises(
        DataError,
        match=rf"^list, line 3: a\.png .*{words.get(damage, 'cannot be read as a picture')}",
    ):
        decode(content, "a.png", "list, line 3")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"text": "x"}, "column 'file_name' is missing"),
        ({"file_name": "a.png", "text": "x"}, "file 'a.png' is named in line 1 already"),
        ({"file_name": "./a.png", "text": "x"}, "named in line 1 already"),
        (
            {"file_name": "b.png", "text": 5},
            "'text' must be a text, a list of texts or null, not int",
        ),
        (
            {"file_name": "b.png", "text": ["x", 5]},
            "'text' must be a text, a list of texts or null, not int",
        ),
        ({"file_name": None, "text": "x"}, "'file_name' must be the name of a file"),
        ({"file_name": "../a.png", "text": "x"}, "'../a.png' leads out of the folder"),
        ({"file_name": "sub/../../a.png", "text": "x"}, "leads out of the folder"),
        ({"file_name": "/etc/passwd", "text": "x"}, "'/etc/passwd' leads out of the folder"),
        (
            {"file_name": "b.png", "text": "x", "identity": ["y"]},
            "'identity' must be a text or a number",
        ),
        ({"file_name": "b\0.png", "text": "x"}, "cannot be the name of a file"),
        ({"file_name": "x" * 5000, "text": "x"}, "cannot be the name of a file"),
        (
            {"file_name": "b.png", "text": "x", "conditioning_image": "no.png"},
            "file 'no.png' does not exist",
        ),
        ('{"file_name": "b.png", "text": "\\ud800"}', "half a Unicode character"),
    ],
)
def test_metadata_errors_name_file_and_line(
    line: dict[str, object] | str, words: str, tmp_path: Path
) -> None:
    grey(tmp_path / "a.png")
    grey(tmp_path / "b.png")
    describe(tmp_path, {"file_name": "a.png", "text": "fine"}, line)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'metadata.jsonl'}, line 2: ")
    assert words in str(caught.value)


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    grey(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_bytes(
        b'{"file_name": "a.png", "text": "x"}\n{"text": "caf\xe9"}'
    )
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 2: not UTF-8"):
        load(tmp_path)


def test_a_byte_order_mark_and_odd_line_ends_inside_a_text_are_harmless(tmp_path: Path) -> None:
    grey(tmp_path / "a.png")
    line = json.dumps({"file_name": "a.png", "text": "one\u2028two"}, ensure_ascii=False)
    (tmp_path / "metadata.jsonl").write_text("\ufeff" + line + "\r\n", encoding="utf-8")
    assert load(tmp_path).prompts == ("one\u2028two",)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        load(tmp_path)


def test_own_hints_of_their_pictures_shape_are_used_unless_an_extractor_is_asked_for(
    tmp_path: Path,
) -> None:
    grey(tmp_path / "a.png")
    grey(tmp_path / "b.png")
    grey(tmp_path / "hint.png", 200, (15, 10))
    describe(
        tmp_path,
        {"file_name": "a.png", "text": "x", "conditioning_image": "hint.png"},
        {"file_name": "b.png", "text": "y"},
    )
    dataset: Folder = Folder.build({"path": str(tmp_path)})
    assert dataset.resolve("auto") == "own+canny"
    mixed = load(tmp_path).conditions
    assert set(mixed[0].unique().tolist()) == {200}
    assert set(mixed[1].unique().tolist()) == {0}
    assert set(load(tmp_path, condition="canny").conditions.unique().tolist()) == {0}
    assert set(load(tmp_path, condition="own+blur").conditions[1].unique().tolist()) == {128}
    with pytest.raises(
        DataError, match=r"line 2: no conditioning_image; use --condition own\+canny"
    ):
        load(tmp_path, condition="own")


def test_crops_do_not_depend_on_how_many_records_are_asked_for(tmp_path: Path) -> None:
    for name in "abc":
        Image.effect_noise((50, 40), 60).save(tmp_path / f"{name}.png")
    many, few = load(tmp_path, crops=3), load(tmp_path, 4, crops=3)
    assert len(many) == 9
    assert torch.equal(many.images[:4], few.images)
    assert few.identities == ("a.png",) * 3 + ("b.png",)
