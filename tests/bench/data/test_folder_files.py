"""Files of a folder besides plain pictures: of systems and tools, links, odd hints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.interfaces import DataError
from tests.support.folders import fill, hint_shows, jsonl, load, picture, png

HINT = 500  # hints show pictures from this number on


def with_metadata(folder: Path, count: int = 4, first: int = 0) -> Path:
    fill(folder, count, first)
    jsonl(
        folder,
        *({"file_name": f"{i:03d}.png", "text": f"picture {first + i}"} for i in range(count)),
    )
    return folder


class TestFilesOfSystemsAndTools:
    def test_they_are_skipped_with_a_count(self, tmp_path: Path) -> None:
        fill(tmp_path)
        for name in (
            "._000.png",
            ".ipynb_checkpoints/000-checkpoint.png",
            "__MACOSX/._000.png",
            "@eaDir/000.png/S.jpg",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"no picture")
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "metadata.jsonl").write_text("{")
        (tmp_path / ".DS_Store").write_bytes(b"")
        (tmp_path / "Thumbs.db").write_bytes(b"")
        found = load(tmp_path)
        assert len(found.records) == 4
        assert found.said("5 files of the system or of tools", "are skipped")

    def test_a_folder_below_a_hidden_one_is_read(self, tmp_path: Path) -> None:
        assert len(load(fill(tmp_path / ".cache" / "mine")).records) == 4

    def test_pictures_of_other_kinds_are_counted(self, tmp_path: Path) -> None:
        fill(tmp_path)
        (tmp_path / "a.heic").write_bytes(b"x")
        assert load(tmp_path).said(
            "1 pictures (the first is 'a.heic') are of a kind that is not read, convert them"
        )

    def test_metadata_under_another_name_are_named(self, tmp_path: Path) -> None:
        fill(tmp_path)
        (tmp_path / "train.jsonl").write_text("{}")
        assert load(tmp_path).said(
            "1 files (the first is 'train.jsonl') are not read", "metadata.jsonl"
        )

    @pytest.mark.parametrize("name", ["pictures.zip", "data-00000-of-00001.arrow"])
    def test_archives_are_refused_with_the_way_out(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(
            DataError, match=r"no pictures, but 1 archives or Arrow files .* unpack archives"
        ):
            load(tmp_path)


class TestLinks:
    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        """As the hub's cache keeps a data set: every file a link into ``blobs``."""
        blobs = fill(tmp_path / "datasets--me--mine" / "blobs", 3, name="{:x}0ffee")
        snapshot = tmp_path / "datasets--me--mine" / "snapshots" / "abc123"
        (snapshot / "images").mkdir(parents=True)
        for i in range(3):
            (snapshot / "images" / f"{i:03d}.png").symlink_to(f"../../../blobs/{i:x}0ffee")
        rows = [
            json.dumps({"file_name": f"images/{i:03d}.png", "text": f"picture {i}"})
            for i in range(3)
        ]
        (blobs / "fee").write_text("\n".join(rows))
        (snapshot / "metadata.jsonl").symlink_to("../../blobs/fee")
        return snapshot

    def test_links_of_a_cache_are_followed(self, cache: Path) -> None:
        for root in (cache, cache.parent.parent):
            assert load(root).records.prompts == ("picture 0", "picture 1", "picture 2")

    def test_links_to_nothing_are_counted(self, cache: Path) -> None:
        (cache / "images" / "009.png").symlink_to("../../../blobs/gone")
        assert load(cache).said(
            "1 links (the first is 'images/009.png') point to files that are not there"
        )

    def test_linked_folders_are_not_followed(self, tmp_path: Path) -> None:
        fill(tmp_path / "private")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "in").symlink_to(tmp_path / "private")
        with pytest.raises(
            DataError, match=r"no pictures .*1 linked folders .* give the folder that they point to"
        ):
            load(tmp_path / "mine")
        fill(tmp_path / "mine", 1)
        jsonl(tmp_path / "mine", {"file_name": "in/000.png", "text": "x"})
        with pytest.raises(DataError, match=r"line 1: file 'in/000.png' does not exist"):
            load(tmp_path / "mine")

    def test_no_name_leads_out(self, tmp_path: Path) -> None:
        fill(tmp_path / "private")
        mine = fill(tmp_path / "mine", 1)
        for name in (
            "../private/000.png",
            str(tmp_path / "private" / "000.png"),
            "sub/../../private/000.png",
        ):
            jsonl(mine, {"file_name": name, "text": "x"})
            with pytest.raises(DataError, match="leads out of the folder"):
                load(mine)
            jsonl(mine, {"file_name": "000.png", "text": "x", "conditioning_image": name})
            with pytest.raises(DataError, match="leads out of the folder"):
                load(mine)


class TestHintsOfAnotherShape:
    def pair(
        self, tmp_path: Path, size: tuple[int, int], hint: tuple[int, int], orientation: int = 1
    ) -> Path:
        exif = picture(0).getexif()
        exif[0x0112] = orientation
        picture(0, size).save(tmp_path / "a.png", exif=exif)
        (tmp_path / "hint.png").write_bytes(png(HINT, hint))
        jsonl(tmp_path, {"file_name": "a.png", "text": "x", "conditioning_image": "hint.png"})
        return tmp_path

    @pytest.mark.parametrize("hint", [(60, 40), (30, 20), (121, 80)])
    def test_the_same_shape_is_resized(self, hint: tuple[int, int], tmp_path: Path) -> None:
        found = load(self.pair(tmp_path, (60, 40), hint))
        assert hint_shows(found.records, 0, HINT, hint)
        assert found.notes == []

    @pytest.mark.parametrize("hint", [(40, 40), (64, 32)])
    def test_another_shape_is_cropped_as_trainers_do_and_said(
        self, hint: tuple[int, int], tmp_path: Path
    ) -> None:
        found = load(self.pair(tmp_path, (60, 40), hint))
        assert hint_shows(found.records, 0, HINT, hint)
        assert found.said(
            "1 hints are of another shape than their picture; the centre square of each", "'a.png'"
        )
        with pytest.raises(DataError, match="with crops=2 both need the same shape"):
            load(tmp_path, crops=2)

    def test_another_orientation_is_refused_with_both_sizes(self, tmp_path: Path) -> None:
        with pytest.raises(
            DataError,
            match=r"line 1: a\.png: the hint is 40 x 60, its picture 60 x 40; turn the hint",
        ):
            load(self.pair(tmp_path, (60, 40), (40, 60)))

    def test_exif_is_considered(self, tmp_path: Path) -> None:
        words = "hint is 60 x 40, its picture 40 x 60 after EXIF turned it, which the hint lacks"
        with pytest.raises(DataError, match=words):
            load(self.pair(tmp_path, (60, 40), (60, 40), orientation=6))
        assert load(self.pair(tmp_path, (60, 40), (40, 60), orientation=6)).said(
            "pictures are turned by their EXIF"
        )
        assert load(self.pair(tmp_path, (60, 40), (60, 40), orientation=3)).said(
            "pictures are turned by their EXIF"
        )

    def test_a_picture_that_is_its_own_hint_is_said(self, tmp_path: Path) -> None:
        fill(tmp_path, 1)
        jsonl(tmp_path, {"file_name": "000.png", "text": "x", "conditioning_image": "000.png"})
        assert load(tmp_path).said("1 pictures are their own hint")
