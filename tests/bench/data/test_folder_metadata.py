"""Metadata of a folder in every form that trainers take, captions, and pictures in Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bench.interfaces import DataError
from tests.support.folders import as_csv, fill, hint_shows, jsonl, load, png, shows

HINT = 500  # hints show pictures from this number on


def with_metadata(folder: Path, count: int = 4, first: int = 0) -> Path:
    fill(folder, count, first)
    jsonl(
        folder,
        *({"file_name": f"{i:03d}.png", "text": f"picture {first + i}"} for i in range(count)),
    )
    return folder


def packed(number: int) -> dict[str, object]:
    return {"bytes": png(number), "path": f"{number}.png"}


def shard(folder: Path, name: str, count: int, first: int = 0, **columns: list[object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = {
        "image": [packed(first + i) for i in range(count)],
        "conditioning_image": [packed(HINT + first + i) for i in range(count)],
        "text": [f"picture {first + i}" for i in range(count)],
        **columns,
    }
    parquet.write_table(pa.table(table), folder / name, row_group_size=2)


class TestMetadata:
    def test_metadata_shorter_than_the_folder_are_counted(self, tmp_path: Path) -> None:
        with_metadata(tmp_path, 3)
        fill(tmp_path / "more", 2, 10)
        found = load(tmp_path)
        assert len(found.records) == 3
        assert found.said(
            "2 pictures (the first is 'more/000.png') in its folder are not named in it and left "
            "out"
        )

    @pytest.mark.parametrize(
        ("delimiter", "start"), [(",", ""), (";", "\ufeff"), ("\t", ""), (";", "\ufeffsep=;\r\n")]
    )
    def test_csv_as_excel_writes_it(self, delimiter: str, start: str, tmp_path: Path) -> None:
        fill(tmp_path, 3)
        columns = ["file_name", "text", "identity"]
        rows = [
            ["000.png", "one, two; three", "7"],
            ["001.png", 'a "quoted"\nword', ""],
            ["002.png", "", ""],
        ]
        as_csv(tmp_path, columns, *rows, delimiter=delimiter, start=start)
        found = load(tmp_path)
        assert found.records.prompts == ("one, two; three", 'a "quoted"\nword', "")
        assert found.records.identities == ("7", None, None)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (
                b"file_name,text\n000.png,x,y\n",
                "line 2: has 3 fields, but the header names 2 columns",
            ),
            (b"file_name,text\n000.png,caf\xe9\n", "line 2: not UTF-8 text"),
            (b"\xff\xfef\x00", "line 1: not UTF-8 text"),
            (b"file_name,file_name\n", "every column needs a name, and each another"),
            (b'file_name,text\n000.png,"x\n', "not valid CSV"),
            (b"file_name,text\n", "names no picture"),
            (b"", "names no picture"),
            (b"file_name,text\n000.png," + b"x" * 1_000_001, "not valid CSV"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                "Git LFS pointer .* run `git lfs pull`",
            ),
        ],
    )
    def test_damaged_csv_is_named_with_its_line(
        self, content: bytes, words: str, tmp_path: Path
    ) -> None:
        fill(tmp_path, 1)
        (tmp_path / "metadata.csv").write_bytes(content)
        with pytest.raises(DataError, match=rf"^{tmp_path}/metadata\.csv.*{words}"):
            load(tmp_path)

    def test_metadata_in_parquet(self, tmp_path: Path) -> None:
        fill(tmp_path, 3)
        names = [f"{i:03d}.png" for i in range(3)]
        table = {
            "file_name": names,
            "text": ["x", None, "z"],
            "identity": [1, 1, None],
            "vector": [[0.5]] * 3,
        }
        parquet.write_table(pa.table(table), tmp_path / "metadata.parquet")
        found = load(tmp_path)
        assert found.records.prompts == ("x", "", "z")
        assert found.records.identities == ("1", "1", None)
        assert found.said("column 'vector' not used")

    def test_names_written_on_other_systems_are_found(self, tmp_path: Path) -> None:
        fill(tmp_path / "images", 1)
        (tmp_path / "images" / "caf\u00e9.png").write_bytes(png(1))
        rows = [
            {"file_name": "images\\000.png", "text": "x"},
            {"file_name": "./images/cafe\u0301.png", "text": "y"},
        ]
        jsonl(tmp_path, *rows)
        assert load(tmp_path).records.ids == ("images/000.png", "images/caf\u00e9.png")


class TestCaptions:
    def captions(self, tmp_path: Path, *values: object) -> Path:
        fill(tmp_path, len(values))
        jsonl(
            tmp_path,
            *({"file_name": f"{i:03d}.png", "text": value} for i, value in enumerate(values)),
        )
        return tmp_path

    def test_long_ones_are_cut_with_a_count(self, tmp_path: Path) -> None:
        long = "  ".join(f"w{i}" for i in range(90))
        found = load(self.captions(tmp_path, long, "short", " ".join(["w"] * 75), "x" * 5000))
        assert found.records.prompts[0] == "  ".join(f"w{i}" for i in range(75))
        assert found.records.prompts[2] == " ".join(["w"] * 75)
        assert len(found.records.prompts[3]) == 4000
        assert found.said("2 of 4 prompts are longer than 75 words", "'000.png'")

    def test_empty_ones_and_null_are_empty_prompts_with_a_count(self, tmp_path: Path) -> None:
        found = load(self.captions(tmp_path, "", None, "  ", [], ["", None], "x"))
        assert found.records.prompts == ("",) * 5 + ("x",)
        assert found.said("5 of 6 prompts are empty")

    def test_no_column_with_prompts(self, tmp_path: Path) -> None:
        fill(tmp_path, 2)
        jsonl(tmp_path, {"file_name": "000.png"}, {"file_name": "001.png", "title": "x"})
        found = load(tmp_path)
        assert found.records.prompts == ("", "")
        assert found.said(
            "no column with prompts (text, caption, prompt), so that all prompts are empty"
        )

    def test_one_of_a_list_is_drawn_by_the_seed(self, tmp_path: Path) -> None:
        lists = [[f"{i}a", f"{i}b", f"{i}c"] for i in range(20)]
        self.captions(tmp_path, *lists, "x", ["y"])
        found = load(tmp_path)
        assert all(found.records.prompts[i] in lists[i] for i in range(20))
        assert len({prompt[-1] for prompt in found.records.prompts[:20]}) == 3
        assert found.records.prompts[20:] == ("x", "y")
        assert found.said("20 of 22 prompts are one of several captions, drawn by seed=0")
        assert load(tmp_path).records.prompts == found.records.prompts
        assert load(tmp_path, limit=3).records.prompts == found.records.prompts[:3]
        assert load(tmp_path, seed=1).records.prompts != found.records.prompts


class TestParquetWithPictures:
    def test_shards_are_read_in_order(self, tmp_path: Path) -> None:
        shard(tmp_path / "data", "train-00000-of-00002.parquet", 5)
        shard(tmp_path / "data", "train-00001-of-00002.parquet", 3, 5)
        (tmp_path / "README.md").write_text("---")
        found = load(tmp_path)
        assert found.condition == "own"
        assert found.records.prompts == tuple(f"picture {i}" for i in range(8))
        assert all(
            shows(found.records, i, i) and hint_shows(found.records, i, HINT + i) for i in range(8)
        )
        assert len(set(found.records.ids)) == 8
        assert found.notes == []
        assert load(tmp_path, limit=3).records.ids == found.records.ids[:3]

    def test_splits_must_be_chosen(self, tmp_path: Path) -> None:
        shard(tmp_path / "data", "train-00000-of-00001.parquet", 3)
        shard(tmp_path / "data", "test-00000-of-00001.parquet", 2, 5)
        with pytest.raises(
            DataError, match=r"has Parquet files in 'data/test', 'data/train'; choose one .*split="
        ):
            load(tmp_path)
        assert len(load(tmp_path, split="train").records) == 3
        assert load(tmp_path, split="test").records.prompts == ("picture 5", "picture 6")

    def test_missing_shards_are_said(self, tmp_path: Path) -> None:
        shard(tmp_path / "data", "train-00001-of-00003.parquet", 3)
        assert load(tmp_path).said("1 of 3 Parquet files of this split are here")

    def test_plain_bytes_unknown_columns_nulls_and_lists(self, tmp_path: Path) -> None:
        table = {
            "image": [png(i) for i in range(3)],
            "edges": [packed(HINT), None, packed(HINT + 2)],
            "prompt": [["a", "a"], None, ["c"]],
            "aesthetic": [0.5, 0.1, 0.2],
        }
        parquet.write_table(pa.table(table), tmp_path / "train.parquet")
        found = load(tmp_path)
        assert found.condition == "own+canny"
        assert found.records.prompts == ("a", "", "c")
        assert hint_shows(found.records, 2, HINT + 2)
        assert not hint_shows(found.records, 1, HINT + 1)
        assert found.said("hints are taken from column 'edges'")
        assert found.said("column 'aesthetic' not used")
        assert found.said("1 pictures (the first is", "have no hint; it is extracted by canny")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"PAR1 nothing", "not a readable Parquet file"),
            (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
        ],
    )
    def test_damaged_shards_are_named(self, content: bytes, words: str, tmp_path: Path) -> None:
        (tmp_path / "train-00000-of-00001.parquet").write_bytes(content)
        with pytest.raises(DataError, match=words):
            load(tmp_path)

    def test_a_row_without_bytes_is_named(self, tmp_path: Path) -> None:
        table = {"image": [packed(0), {"bytes": None, "path": "x.png"}], "text": ["x", "y"]}
        parquet.write_table(pa.table(table), tmp_path / "train.parquet")
        with pytest.raises(
            DataError, match=r"train\.parquet, row 1: column 'image' holds no bytes of a picture"
        ):
            load(tmp_path)

    def test_shards_that_differ_in_columns_are_refused(self, tmp_path: Path) -> None:
        shard(tmp_path, "train-00000-of-00002.parquet", 2)
        shard(tmp_path, "train-00001-of-00002.parquet", 2, 5, more=[1, 2])
        with pytest.raises(
            DataError, match="column 'more' is in some of the 2 files and not in others"
        ):
            load(tmp_path)

    def test_too_large_a_row_group_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shard(tmp_path, "train.parquet", 2)
        monkeypatch.setattr("bench.data.folder.parquet.MOST_GROUP_BYTES", 100)
        with pytest.raises(
            DataError, match=r"row group 0 holds .* write it anew with smaller row groups"
        ):
            load(tmp_path)

    def test_too_many_rows_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shard(tmp_path, "train.parquet", 3)
        monkeypatch.setattr("bench.data.folder.parquet.MOST_ROWS", 2)
        with pytest.raises(DataError, match=r"3 rows .* are too many"):
            load(tmp_path)
