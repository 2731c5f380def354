"""Every layout that a user may have: read as it was meant, or refused in one sentence that says
what to do.

One test for each kind, in the order of ``docs/data.md``; the name says which.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.interfaces import DataError
from tests.support.folders import as_csv, fill, hint_shows, jsonl, load, shows

HINT = 500  # hints show pictures from this number on


def with_metadata(folder: Path, count: int = 4, first: int = 0) -> Path:
    fill(folder, count, first)
    jsonl(
        folder,
        *({"file_name": f"{i:03d}.png", "text": f"picture {first + i}"} for i in range(count)),
    )
    return folder


class TestParentOfASplit:
    def test_one_split_is_read_and_said(self, tmp_path: Path) -> None:
        with_metadata(tmp_path / "data" / "train")
        for root in (tmp_path, tmp_path / "data"):
            found = load(root)
            assert found.records.prompts == tuple(f"picture {i}" for i in range(4))
            assert found.said("metadata are in", "train")

    def test_pictures_outside_of_the_split_are_counted(self, tmp_path: Path) -> None:
        with_metadata(tmp_path / "train")
        fill(tmp_path / "more", 3, 10)
        found = load(tmp_path)
        assert len(found.records) == 4
        assert found.said(
            "metadata are in 'train'", "3 pictures (the first is 'more/000.png') outside"
        )

    def test_several_splits_must_be_chosen(self, tmp_path: Path) -> None:
        with_metadata(tmp_path / "train")
        with_metadata(tmp_path / "val", 2, 10)
        with pytest.raises(
            DataError,
            match=r"has metadata in 'train', 'val'; choose one with --data folder:.*train",
        ):
            load(tmp_path)
        assert len(load(tmp_path, split="train").records) == 4
        assert load(tmp_path, split="validation").records.prompts == ("picture 10", "picture 11")
        with pytest.raises(
            DataError, match="has no split 'test'; it has metadata in 'train', 'val'"
        ):
            load(tmp_path, split="test")

    def test_splits_of_several_configurations_are_chosen_by_their_path(
        self, tmp_path: Path
    ) -> None:
        for place in ("a/train", "b/train"):
            with_metadata(tmp_path / place)
        with pytest.raises(DataError, match="split=a/train"):
            load(tmp_path, split="train")
        assert len(load(tmp_path, split="b/train").records) == 4

    def test_metadata_of_the_folder_come_before_those_of_sub_folders(self, tmp_path: Path) -> None:
        with_metadata(tmp_path)
        with_metadata(tmp_path / "old", 2, 20)
        found = load(tmp_path)
        assert len(found.records) == 4
        assert found.said("1 more metadata files (the first is 'old/metadata.jsonl')", "not read")

    def test_splits_without_metadata(self, tmp_path: Path) -> None:
        fill(tmp_path / "train")
        fill(tmp_path / "test", 3, 10)
        with pytest.raises(
            DataError, match=r"has pictures in 'test', 'train'; choose one with .*split="
        ):
            load(tmp_path)
        assert load(tmp_path, split="train").records.ids[0] == "train/000.png"
        assert len(load(tmp_path, split="test").records) == 3

    def test_one_split_without_metadata_leaves_the_rest_out_and_says_so(
        self, tmp_path: Path
    ) -> None:
        fill(tmp_path / "train")
        fill(tmp_path, 2, 10)
        found = load(tmp_path)
        assert len(found.records) == 4
        assert found.said("split 'train' is read; 2 pictures (the first is '000.png') outside")

    def test_two_kinds_of_metadata_in_one_folder_are_refused(self, tmp_path: Path) -> None:
        with_metadata(tmp_path)
        as_csv(tmp_path, ["file_name", "text"], ["000.png", "x"])
        with pytest.raises(
            DataError, match=r"has 'metadata.csv', 'metadata.jsonl'; keep one of them"
        ):
            load(tmp_path)


class TestNamesOfColumns:
    @pytest.mark.parametrize(
        ("hint", "named"),
        [
            ("conditioning_image", False),
            ("conditioning_image_file_name", True),
            ("canny_file_name", True),
            ("control_image", True),
            (
                "guide_file_name",
                True,
            ),  # no word for a hint, but a picture for datasets, and the only second one
        ],
    )
    def test_a_second_picture_is_the_hint(self, hint: str, named: bool, tmp_path: Path) -> None:
        fill(tmp_path)
        fill(tmp_path / "hints", 4, HINT)
        jsonl(
            tmp_path,
            *(
                {"file_name": f"{i:03d}.png", "text": "x", hint: f"hints/{i:03d}.png"}
                for i in range(4)
            ),
        )
        found = load(tmp_path)
        assert found.condition == "own"
        assert all(hint_shows(found.records, i, HINT + i) for i in range(4))
        assert found.said(f"hints are taken from column '{hint}'") == named
        assert not any("not used" in note or "left out" in note for note in found.notes)

    @pytest.mark.parametrize("image", ["file_name", "image", "image_file_name"])
    @pytest.mark.parametrize("caption", ["text", "caption", "prompt"])
    def test_pictures_and_prompts_under_the_names_of_the_hub(
        self, image: str, caption: str, tmp_path: Path
    ) -> None:
        fill(tmp_path)
        jsonl(tmp_path, *({caption: f"picture {i}", image: f"{i:03d}.png"} for i in range(4)))
        found = load(tmp_path)
        assert found.records.prompts == tuple(f"picture {i}" for i in range(4))
        assert all(shows(found.records, i, i) for i in range(4))
        assert found.notes == []

    def test_unknown_columns_are_named_in_one_note(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        jsonl(
            tmp_path,
            {"file_name": "000.png", "text": "x", "prompt": "y", "person": 7, "licence": "CC0"},
        )
        found = load(tmp_path)
        assert found.records.prompts == ("x",)
        assert found.said("columns 'prompt', 'person', 'licence' not used")
        assert load(tmp_path, caption_column="prompt").records.prompts == ("y",)
        assert load(tmp_path, identity_column="person").records.identities == ("7",)

    def test_several_possible_hints_must_be_chosen(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        fill(tmp_path / "h", 2, HINT)
        row = {
            "file_name": "000.png",
            "text": "x",
            "canny_file_name": "h/000.png",
            "depth_file_name": "h/001.png",
        }
        jsonl(tmp_path, row)
        words = (
            "hints may be in columns 'canny_file_name', 'depth_file_name'; "
            "say in which with .*condition_column=canny"
        )
        with pytest.raises(DataError, match=words):
            load(tmp_path)
        assert hint_shows(load(tmp_path, condition_column="depth").records, 0, HINT + 1)
        assert load(tmp_path, condition_column="none").condition == "canny"
        assert load(tmp_path, condition="blur").condition == "blur"

    def test_pictures_in_several_columns_must_be_chosen(self, tmp_path: Path) -> None:
        fill(tmp_path, 2)
        jsonl(tmp_path, {"input_file_name": "000.png", "output_file_name": "001.png", "text": "x"})
        with pytest.raises(
            DataError, match=r"say which are the records with .*image_column=input_file_name"
        ):
            load(tmp_path)
        found = load(tmp_path, image_column="output")
        assert shows(found.records, 0, 1)
        assert hint_shows(found.records, 0, 0)
        assert found.said("hints are taken from column 'input_file_name'")

    @pytest.mark.parametrize(
        "parameter", ["image_column", "caption_column", "condition_column", "identity_column"]
    )
    def test_a_column_that_is_not_there_is_refused(self, parameter: str, tmp_path: Path) -> None:
        with_metadata(tmp_path)
        words = f"no column 'nothing' for {parameter}; it has 'file_name', 'text'"
        with pytest.raises(DataError, match=words):
            load(tmp_path, **{parameter: "nothing"})

    def test_a_condition_in_words_is_no_picture(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        jsonl(tmp_path, {"file_name": "000.png", "text": "x", "condition": "healthy"})
        found = load(tmp_path)
        assert found.condition == "canny"
        assert found.said("column 'condition' not used")

    def test_the_layout_of_the_controlnet_tutorial(self, tmp_path: Path) -> None:
        fill(tmp_path / "target")
        fill(tmp_path / "source", 4, HINT)
        rows = [
            {"source": f"source/{i:03d}.png", "target": f"target/{i:03d}.png", "prompt": f"p{i}"}
            for i in range(4)
        ]
        (tmp_path / "prompt.json").write_text("\n".join(map(json.dumps, rows)))
        found = load(tmp_path)
        assert found.records.prompts == ("p0", "p1", "p2", "p3")
        assert all(
            shows(found.records, i, i) and hint_shows(found.records, i, HINT + i) for i in range(4)
        )
        (tmp_path / "prompt.json").unlink()
        found = load(tmp_path)
        assert all(
            shows(found.records, i, i) and hint_shows(found.records, i, HINT + i) for i in range(4)
        )


class TestSubFoldersWithoutMetadata:
    @pytest.mark.parametrize(
        "hints", ["conditioning_images", "hints", "canny", "depth-maps", "control"]
    )
    @pytest.mark.parametrize("images", ["images", "", "train/images"])
    def test_pictures_and_hints_are_paired_by_name(
        self, images: str, hints: str, tmp_path: Path
    ) -> None:
        fill(tmp_path / images)
        place = tmp_path / images.replace("images", "") / hints
        fill(place, 5, HINT, name="{:03d}.jpg")  # one hint too many
        found = load(tmp_path)
        assert len(found.records) == 4
        assert found.condition == "own"
        assert all(
            shows(found.records, i, i) and hint_shows(found.records, i, HINT + i) for i in range(4)
        )
        assert found.said("hints are taken from", hints)
        assert found.said("1 hints (the first is", "have no picture and are left out")
        assert (
            len(load(tmp_path, condition="blur").records) == 4
        )  # hints are no records, wanted or not

    def test_hints_may_end_with_the_word_for_them(self, tmp_path: Path) -> None:
        fill(tmp_path / "images")
        fill(tmp_path / "canny", 4, HINT, name="{:03d}_canny.png")
        found = load(tmp_path)
        assert all(hint_shows(found.records, i, HINT + i) for i in range(4))

    def test_classes_below_pictures_and_hints(self, tmp_path: Path) -> None:
        for number, kind in enumerate(("cat", "dog")):
            fill(tmp_path / "images" / kind, 2, 10 * number)
            fill(tmp_path / "conditioning_images" / kind, 2, HINT + 10 * number)
        found = load(tmp_path)
        assert [hint_shows(found.records, i, HINT + n) for i, n in enumerate((0, 1, 10, 11))] == [
            True
        ] * 4

    def test_a_picture_without_its_hint_is_refused(self, tmp_path: Path) -> None:
        fill(tmp_path / "images")
        fill(tmp_path / "conditioning_images", 3, HINT)
        words = (
            r"1 pictures \(the first is 'images/003.png'\) have no hint of their name "
            "in 'conditioning_images/'"
        )
        with pytest.raises(DataError, match=words):
            load(tmp_path)

    def test_two_folders_of_one_set_of_names_must_be_explained(self, tmp_path: Path) -> None:
        fill(tmp_path / "a")
        fill(tmp_path / "b", 4, HINT)
        with pytest.raises(
            DataError, match=r"'a' and 'b' hold pictures of the same names; .*condition_column=b"
        ):
            load(tmp_path)
        assert len(load(tmp_path, condition_column="none").records) == 8
        found = load(tmp_path, condition_column="b")
        assert len(found.records) == 4
        assert hint_shows(found.records, 2, HINT + 2)

    def test_several_folders_of_hints_must_be_chosen(self, tmp_path: Path) -> None:
        fill(tmp_path / "images")
        fill(tmp_path / "canny", 4, HINT)
        fill(tmp_path / "depth", 4, HINT + 10)
        with pytest.raises(
            DataError, match=r"'canny', 'depth' may all hold hints; .*condition_column=canny"
        ):
            load(tmp_path)
        found = load(tmp_path, condition_column="depth", image_column="images")
        assert len(found.records) == 4
        assert hint_shows(found.records, 1, HINT + 11)
        assert found.said(
            "4 pictures (the first is 'canny/000.png') outside of 'images' are left out"
        )

    def test_hints_beside_their_pictures_are_refused(self, tmp_path: Path) -> None:
        fill(tmp_path)
        fill(tmp_path, 4, HINT, name="{:03d}_canny.png")
        with pytest.raises(
            DataError, match=r"'000_canny.png' is called as a hint of '000.png'; move hints into"
        ):
            load(tmp_path)
        assert len(load(tmp_path, condition_column="none").records) == 8

    def test_classes_are_records_and_their_names_unused(self, tmp_path: Path) -> None:
        for number, kind in enumerate(("cat", "dog", "owl")):
            fill(tmp_path / kind, 2, 10 * number)
        found = load(tmp_path)
        assert len(found.records) == 6
        assert found.said(
            "pictures lie in 3 folders ('cat', 'dog', 'owl')",
            "neither for labels nor for identities",
        )

    def test_a_sub_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        fill(tmp_path / "a")
        fill(tmp_path / "b", 3, 10)
        with pytest.raises(
            DataError,
            match="no sub-folder 'c' with pictures for condition_column; there are 'a', 'b'",
        ):
            load(tmp_path, condition_column="c")


class TestCaptionsBesidePictures:
    @pytest.mark.parametrize("name", ["{}.txt", "{}.caption", "captions/{}.txt", "{}.png.txt"])
    def test_a_text_file_of_the_same_name_is_the_prompt(self, name: str, tmp_path: Path) -> None:
        fill(tmp_path)
        for i in range(3):
            file = tmp_path / name.format(f"{i:03d}")
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"\ufeffpicture {i},\nof colours\n", encoding="utf-8")
        found = load(tmp_path)
        assert found.records.prompts == (*(f"picture {i}, of colours" for i in range(3)), "")
        assert found.said("1 of 4 prompts are empty (the first is that of '003.png')")

    def test_without_any_the_name_is_the_prompt_and_that_is_said(self, tmp_path: Path) -> None:
        fill(tmp_path, 1, name="red_car-{}.png")
        (tmp_path / "README.txt").write_text("read me")
        found = load(tmp_path)
        assert found.records.prompts == ("a photo of red car 0",)
        assert found.said("no captions", "'a photo of red car 0'")

    def test_a_caption_that_is_no_utf8_is_named(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        (tmp_path / "000.txt").write_bytes(b"caf\xe9")
        with pytest.raises(DataError, match=r"000\.txt: not UTF-8 text"):
            load(tmp_path)
