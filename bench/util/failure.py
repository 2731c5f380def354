"""What is kept of an exception: one line for the row, and the traceback in a log file."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

from bench.util.errors import BenchError
from bench.util.files import disk_errors, write_text

_LONGEST = 400  # characters of an exception's first line that go into a row


@dataclass(frozen=True)
class Failure:
    """An exception as text.

    Attributes:
        reason: one line: the message alone for errors of this project, else with the exception's
            type and the file and line that raised it.
        trace: the whole traceback.
    """

    reason: str
    trace: str

    @classmethod
    def from_error(cls, error: BaseException) -> Failure:
        """Return the text of an exception."""
        trace = "".join(traceback.format_exception(error))
        said = next(iter(str(error).strip().splitlines()), "")[:_LONGEST]
        if isinstance(error, BenchError) and said:
            return cls(said, trace)
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        return cls(f"{type(error).__name__}: {said or 'no message'}{place}", trace)


def log_file(results: Path, cell_id: str) -> Path:
    """Return the path of the log file for a cell's traceback."""
    return results / "logs" / f"{cell_id}.txt"


def keep_trace(results: Path, cell_id: str, failure: Failure) -> str:
    """Write the traceback of a cell to its log file, and return the reason for the row.

    The reason ends with the log's path below ``results``.
    """
    file = log_file(results, cell_id)
    with disk_errors(file):
        write_text(file, failure.trace)
    return f"{failure.reason}; traceback in {file.relative_to(results)}"


def forget_trace(results: Path, cell_id: str) -> None:
    """Remove the log of an earlier failure of a cell."""
    log_file(results, cell_id).unlink(missing_ok=True)
