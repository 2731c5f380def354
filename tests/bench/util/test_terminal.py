"""Output on terminals and files of every kind: encodings, widths, no terminal at all."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cell.job import Job
from bench.cell.result import CellResult
from bench.reports.result_table import print_result
from bench.util.progress import Bars, Lines, terminal_progress
from bench.util.terminal import fit_output, is_terminal


@pytest.fixture
def result(make_job: Callable[..., Job]) -> tuple[Job, CellResult]:
    """A result with every metric of images, and a failed row whose text looks like rich markup."""
    job = make_job(attack="closed-form")
    row = {
        "target": "image",
        "status": "ok",
        "reason": "",
        "n": 4,
        "flags": "",
        "guarantee": "none",
    }
    row |= {"channels_read": "unet_features", "bytes_up": None}
    for metric in (one for one in job.metrics if "image" in one.targets):
        ends = ("", "_mean", "_random", "_nearest", "_low", "_high", "_ceiling", "_normalized")
        row |= {metric.name + end: 12.3456 for end in ends}
    bad = {"target": "condition", "status": "failed", "reason": "no [/tmp/x] → [bold]y"}
    return job, CellResult(rows=[row, bad])


def printed(
    result: tuple[Job, CellResult], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> bytes:
    raw = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        patch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        fit_output()
        print_result(*result, Path("results"))
        sys.stdout.flush()
        return raw.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_a_result_is_printed_in_any_encoding(encoding, result, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = printed(result, encoding, monkeypatch).decode(encoding)
    arrow = "↓" if encoding == "utf-8" else "v"
    assert f"lpips {arrow}" in text
    assert f"condition: failed: no [/tmp/x] {'→' if encoding == 'utf-8' else '->'} [bold]y" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_no_line_of_a_result_folds(columns, result, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = printed(result, "utf-8", monkeypatch).decode()
    table = text[text.index("image, 4 records") : text.index("condition: failed")]
    assert max(len(line) for line in table.splitlines()) <= columns
    assert "…" not in table
    assert ("normalized 12.346" in table) == (columns < 80)  # paragraphs where no table fits


def test_file_names_that_no_encoding_has_are_shown_with_question_marks(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    fit_output()
    print("a\udcffb")
    sys.stdout.flush()
    assert raw.getvalue().strip() == b"a?b"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "term", "moves"),
    [
        (Screen(), "xterm-256color", True),
        (Screen(), "dumb", False),
        (Screen(), None, False),
        (io.StringIO(), "xterm", False),
        (None, "xterm", False),
    ],
)
def test_bars_are_for_terminals_that_can_move_the_cursor(stream, term, moves, monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert is_terminal(stream) is moves
    monkeypatch.setattr(sys, "stderr", stream)
    assert isinstance(terminal_progress(), Bars if moves else Lines)


def test_without_a_terminal_short_work_says_nothing_but_its_notes() -> None:
    stream = io.StringIO()
    progress = Lines(stream)
    for _ in range(3):
        with progress.stage("training", 10) as advance:
            advance(10)
    progress.note("a [/note]")
    assert stream.getvalue() == "a [/note]\n"
    with Lines(None).stage("unseen", 1) as advance:
        advance(1)


def test_without_a_terminal_long_steps_are_told_too() -> None:
    """A line comes though nothing advances."""
    stream = io.StringIO()
    deadline = time.monotonic() + 60
    with Lines(stream, interval=0.01).stage("training", 10) as advance:
        advance(4)
        while stream.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert stream.getvalue().startswith("training: ")
    assert "training: 4/10 after 0 s\n" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
