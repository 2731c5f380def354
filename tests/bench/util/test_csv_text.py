"""Tables that a spreadsheet saved are read, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.summary import summary
from bench.interfaces import DataError
from bench.ledger.ledger import Ledger
from bench.ledger.merge import merge
from bench.util.csv_text import read_table
from tests.support.rows import SyntheticLedger

TABLE = 'cell_id,view,ssim\nab,"x,y",0.5\ncd,,0.25\n'
ROWS = [
    {"cell_id": "ab", "view": "x,y", "ssim": "0.5"},
    {"cell_id": "cd", "view": "", "ssim": "0.25"},
]
SEMICOLONS = "cell_id;view;ssim\nab;x,y;0.5\ncd;;0.25\n"


def as_spreadsheet(path: Path) -> None:
    """Rewrite a table as German Excel does: BOM, semicolons, CRLF, empty lines, decimal points."""
    rows = read_table(path)
    quoted = [
        ";".join('"' + str(value).replace('"', '""') + '"' for value in row.values())
        for row in rows
    ]
    text = "\r\n".join([";".join(rows[0]), *quoted, ";" * (len(rows[0]) - 1), ""])
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        b"\xef\xbb\xbf" + TABLE.encode(),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r").encode(),
        SEMICOLONS.encode(),
        b"\xef\xbb\xbfsep=;\r\n" + SEMICOLONS.replace("\n", "\r\n").encode(),
        SEMICOLONS.replace(";", "\t").encode(),
        (SEMICOLONS + ";;\n\n").encode(),
    ],
    ids=["plain", "bom", "crlf", "cr", "semicolons", "sep", "tabs", "empty lines"],
)
def test_a_saved_again_table_is_the_same(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert read_table(path, texts=frozenset({"view"})) == ROWS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            SEMICOLONS.replace("0.25", "0,25").encode(),
            "line 3: column 'ssim' has '0,25', a decimal comma",
        ),
        (TABLE.encode("utf-16"), "not in UTF-8; save it as CSV UTF-8"),
        (TABLE.replace("ab", "ä").encode("latin-1"), "not in UTF-8; save it as CSV UTF-8"),
        (b"a,b,a\n1,2,3\n", "column 'a' is given twice"),
        (b"a,b\n1\n", "line 2 has not as many fields as the header"),
        (b"sep=;\na;b\n1;2\n3\n", "line 4 has not as many fields as the header"),
        (b'a,b\n"1,2\n', "not a readable CSV file"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path, texts=frozenset({"view"}))
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file is missing"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path)


def test_commands_read_what_a_spreadsheet_saved(tmp_path: Path) -> None:
    made, ledger = SyntheticLedger(), Ledger(tmp_path / "theirs")
    for seed in (0, 1):
        row = made.add("timestep:t_min=5,snr=1", seed=seed)
        ledger.write(
            row["cell_id"],
            row["capture_id"],
            row["spec"],
            [row],
            made.record_scores(row["cell_id"]),
        )
    plain = CliRunner().invoke(summary, [str(ledger.csv)])
    as_spreadsheet(ledger.csv)
    saved = CliRunner().invoke(summary, [str(ledger.csv)])
    assert (saved.exit_code, saved.output) == (0, plain.output)
    assert "timestep:t_min=5,snr=1" in saved.output
    assert merge([ledger.csv], tmp_path / "mine").added == 2


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,size\na,1\n")
    done = CliRunner().invoke(summary, [str(tmp_path / "t.csv")])
    assert done.exit_code == 2
    assert "column 'victim' is missing; is it a rows.csv?" in done.output
