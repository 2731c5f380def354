"""Damages every row and column of a baseline under a run that leaks more there: no damage ends in "no worse"."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.interfaces import BenchError
from bench.reports.check.baseline import Baseline, read_baseline, write_baseline
from bench.reports.check.baseline_rows import COLUMNS
from bench.reports.check.compare import current_rows, judge
from bench.reports.check.plan import SuiteState, suite_state
from bench.reports.check.verdict import Tolerances
from tests.support.rows import SyntheticLedger

BaselineTable = list[list[str]]

CELLS = (
    ("none", "inversion"),
    ("strong", "inversion"),
    ("strong", "posterior"),
    ("weak", "inversion"),
)
LEAK = 0.15
VALUES = {
    "empty": "",
    "nan": "nan",
    "inf": "inf",
    "text": "much",
    "more": "1e9",
    "less": "-1e9",
    "zero": "0",
    "one": "1",
}


def cells(leaking: int | None = None) -> SyntheticLedger:
    """Four cells and one that does not apply; one of the four leaks more."""
    made = SyntheticLedger()
    for i, (defense, attack) in enumerate(CELLS):
        level = 0.3 + 0.05 * i
        # An undefended victim leaks what it can: there an attack gets worse by getting weaker.
        level += (LEAK if defense != "none" else -LEAK) * (leaking == i)
        made.add(
            defense,
            attack,
            level=level,
            noise=i + 1,
            ssim_floor=0.1 + 0.03 * i,
            ssim_ceiling=0.9 - 0.03 * i,
            utility={"fid": 100.0 + 9 * len(defense), "ssim": 0.2 + 0.05 * len(defense)},
        )
    made.add("strong", "closed-form", status="not_applicable")
    return made


def present_of(made: SyntheticLedger) -> SuiteState:
    return suite_state(made.plan(), made.rows)


@pytest.fixture(scope="module")
def runs() -> list[tuple[SyntheticLedger, SuiteState]]:
    """By the cell that leaks more."""
    return [(made, present_of(made)) for made in map(cells, range(len(CELLS)))]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a sound baseline."""
    path = tmp_path_factory.mktemp("sound") / "baseline.csv"
    made = cells()
    current = current_rows(present_of(made), made.read, measure="ssim")
    write_baseline(path, Baseline(current, "made", Tolerances()), reason="first", accepted=0)
    return {file.name: file.read_text() for file in path.parent.iterdir()}


def table(text: dict[str, str]) -> BaselineTable:
    return list(csv.reader(io.StringIO(text["baseline.csv"])))


def row_of(lines: BaselineTable, cell: int) -> int:
    """The line of one of the four cells."""
    defense, attack = CELLS[cell]
    names = lines[0].index("defense"), lines[0].index("attack")
    return next(
        i for i, line in enumerate(lines) if (line[names[0]], line[names[1]]) == (defense, attack)
    )


def of_fields(lines: BaselineTable, row: int) -> Iterator[tuple[str, BaselineTable]]:
    """Every field of a row, damaged in every way."""
    others = [i for i in range(1, len(lines)) if i != row]
    for column, name in enumerate(lines[0]):
        before = lines[row][column]
        changed = {**VALUES, "doubled": before * 2}
        changed |= {f"of row {other}": lines[other][column] for other in others}
        for kind, value in changed.items():
            if value != before:
                yield (
                    f"{name} {kind}",
                    [
                        *lines[:row],
                        [*lines[row][:column], value, *lines[row][column + 1 :]],
                        *lines[row + 1 :],
                    ],
                )
        for other in others:
            if lines[other][column] != before:
                swapped = [list(line) for line in lines]
                swapped[row][column], swapped[other][column] = (
                    before_of(lines, other, column),
                    before,
                )
                yield f"{name} swapped with row {other}", swapped


def before_of(lines: BaselineTable, row: int, column: int) -> str:
    return lines[row][column]


def of_rows(lines: BaselineTable, row: int) -> Iterator[tuple[str, BaselineTable]]:
    """The row removed, repeated, cut short, or put in another's place."""
    yield "row removed", lines[:row] + lines[row + 1 :]
    yield "row repeated", [*lines, lines[row]]
    yield "row cut short", [*lines[:row], lines[row][:-1], *lines[row + 1 :]]
    yield "row with a field more", [*lines[:row], [*lines[row], "1"], *lines[row + 1 :]]
    yield "row empty", [*lines[:row], [""] * len(lines[row]), *lines[row + 1 :]]
    yield "only this row", [lines[0], lines[row]]
    yield "header only", lines[:1]
    yield "nothing", []
    yield "no header", lines[1:]
    for other in range(1, len(lines)):
        if other != row:
            yield f"row {other} in its place", [*lines[:row], lines[other], *lines[row + 1 :]]


def of_columns(lines: BaselineTable) -> Iterator[tuple[str, BaselineTable]]:
    """Every column renamed, removed, repeated, emptied or exchanged with its neighbour."""
    for column, name in enumerate(lines[0]):
        for new in (
            f"{name}_x",
            name.upper(),
            "",
            f"utility_{name}",
            name.removeprefix("utility_"),
        ):
            if new != name:
                yield (
                    f"{name} renamed {new!r}",
                    [[*lines[0][:column], new, *lines[0][column + 1 :]], *lines[1:]],
                )
        yield f"{name} removed", [[*line[:column], *line[column + 1 :]] for line in lines]
        yield f"{name} repeated", [[*line, line[column]] for line in lines]
        for value in ("", "nan", "inf", "1"):
            if any(line[column] != value for line in lines[1:]):
                filled = [[*line[:column], value, *line[column + 1 :]] for line in lines[1:]]
                yield f"{name} all {value!r}", [lines[0], *filled]
        if column:
            heads = list(lines[0])
            heads[column - 1], heads[column] = heads[column], heads[column - 1]
            yield f"{name} exchanged with {lines[0][column - 1]}", [heads, *lines[1:]]


Mutations = Callable[[BaselineTable, int], Iterator[tuple[str, BaselineTable]]]


def survivors(
    text: dict[str, str],
    runs: list[tuple[SyntheticLedger, SuiteState]],
    mutations: Mutations,
    path: Path,
    *,
    signed: bool,
    check_read: Callable[[Path], Baseline] = read_baseline,
) -> tuple[int, list[str]]:
    """How many mutations were tried, and which of them end in 0.

    Args:
        signed: also write the hash and the columns of the damaged files into the description, as
            somebody would who knows the format.
    """
    import bench.reports.check.baseline as module

    lines, tried, found = table(text), 0, []
    for name, content in text.items():
        (path.parent / name).write_text(content)
    about = json.loads(text["baseline.json"])
    for cell, (made, present) in enumerate(runs):
        for words, damaged in mutations(lines, row_of(lines, cell)):
            tried += 1
            stream = io.StringIO()
            csv.writer(stream, lineterminator="\n").writerows(damaged)
            path.write_text(stream.getvalue())
            if signed:
                scores = module.read_scores(path.with_name("baseline.scores.jsonl"))
                content = module.BaselineTable(damaged, scores)
                signature = {"sha256": module._digest(content), "columns": list(content.header)}
                path.with_suffix(".json").write_text(json.dumps({**about, **signature}))
            try:
                baseline = check_read(path)
                verdict = judge(
                    baseline, present, made.read, suite="made", name="b.csv", allow_new=True
                )
            except BenchError:
                continue
            if verdict.exit_code == 0:
                found.append(f"{words} of {' on '.join(reversed(CELLS[cell]))}")
    return tried, found


def test_the_runs_leak_more_and_the_sound_baseline_says_so(text, runs, tmp_path):
    def nothing(lines: BaselineTable, row: int) -> Iterator[tuple[str, BaselineTable]]:
        yield "nothing", lines

    assert survivors(text, runs, nothing, tmp_path / "baseline.csv", signed=False) == (4, [])
    made = cells()
    for name, content in text.items():
        (tmp_path / name).write_text(content)
    verdict = judge(
        read_baseline(tmp_path / "baseline.csv"),
        present_of(made),
        made.read,
        suite="made",
        name="b.csv",
    )
    assert verdict.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_no_damaged_field_ends_in_0(text, runs, tmp_path, signed):
    tried, found = survivors(text, runs, of_fields, tmp_path / "baseline.csv", signed=signed)
    assert tried > 4 * len(COLUMNS) * len(VALUES)
    assert found == []


@pytest.mark.parametrize("signed", [False, True])
def test_no_damaged_row_ends_in_0(text, runs, tmp_path, signed):
    tried, found = survivors(text, runs, of_rows, tmp_path / "baseline.csv", signed=signed)
    assert tried >= 4 * 13
    assert found == []


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_no_damaged_column_ends_in_0(text, runs, tmp_path, signed):
    tried, found = survivors(
        text, runs, lambda lines, row: of_columns(lines), tmp_path / "baseline.csv", signed=signed
    )
    assert tried > 4 * 8 * len(COLUMNS)
    assert found == []


def of_scores(text: str) -> Iterator[tuple[str, str]]:
    """The scores file, line by line and record by record."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        content = json.loads(line)
        rest = [*lines[:i], *lines[i + 1 :]]
        yield "line removed", "\n".join(rest)
        yield "line repeated", "\n".join([*lines, line])
        yield "line cut", "\n".join([*rest, line[: len(line) // 2]])
        for name in content:
            yield (
                f"{name} removed",
                "\n".join([*rest, json.dumps({k: v for k, v in content.items() if k != name})]),
            )
            for value in (None, "", "nan", 7, {}, [], {"r0": 0.9}):
                yield (
                    f"{name} is {value!r}",
                    "\n".join([*rest, json.dumps({**content, name: value})]),
                )
        for value in (float("nan"), float("inf"), "much", None, 5.0):
            scores = {**content["scores"], "r0": value}
            yield f"r0 is {value!r}", "\n".join([*rest, json.dumps({**content, "scores": scores})])
    yield "file empty", ""
    yield "no JSON", "scores"


def test_no_damaged_scores_end_in_0(text, runs, tmp_path):
    path = tmp_path / "baseline.csv"
    for name, content in text.items():
        (tmp_path / name).write_text(content)
    found, tried = [], 0
    for words, damaged in of_scores(text["baseline.scores.jsonl"]):
        (tmp_path / "baseline.scores.jsonl").write_text(damaged)
        for made, present in runs:
            tried += 1
            try:
                verdict = judge(
                    read_baseline(path),
                    present,
                    made.read,
                    suite="made",
                    name="b.csv",
                    allow_new=True,
                )
            except BenchError:
                continue
            if verdict.exit_code == 0:
                found.append(words)
    assert tried > 400
    assert found == []


@pytest.mark.parametrize(
    "words",
    [
        ("score", "", "row 1: score is empty"),
        ("score", "nan", "row 1: score 'nan' is not a finite number"),
        ("floor", "inf", "row 1: floor 'inf' is not a finite number"),
        ("ceiling", "=floor", "row 1: floor and ceiling are equal"),
        ("score", "0.9", "row 1: score 0.9 contradicts the scores by record"),
        ("status", "good", "row 1: status 'good' is unknown"),
        ("utility_fid", "much", "row 1: utility_fid 'much' is not a finite number"),
    ],
)
def test_a_damaged_row_is_named(text, tmp_path, words):
    column, value, sentence = words
    lines = table(text)
    place = lines[0].index(column)
    lines[1][place] = lines[1][lines[0].index("floor")] if value == "=floor" else value
    for name, content in text.items():
        (tmp_path / name).write_text(content)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    (tmp_path / "baseline.csv").write_text(stream.getvalue())
    with pytest.raises(BenchError, match=sentence):
        read_baseline(tmp_path / "baseline.csv")
