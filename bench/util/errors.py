"""The family of errors whose message is shown to the user without a traceback.

Any other exception is a bug and keeps its traceback. Exit codes of the command line: 0 done, 1 a
check failed, 2 the request was wrong, 3 some cells failed, 4 a check could not reach a verdict.
"""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class BenchError(Exception):
    """A problem that one sentence describes: what was wrong, where, and what to do.

    Its text is one line, whatever a damaged file put into it.
    """

    exit_code: int = 2

    def __str__(self) -> str:
        return _CONTROL.sub(" ", super().__str__())


class RequestError(BenchError):
    """The request cannot be met: an unknown name, an impossible combination, or unusable input."""


class DataError(BenchError):
    """A data set, transcript or model directory on disk is missing, malformed or damaged."""


class NotGrantedError(BenchError):
    """An attack read a channel that its threat model does not grant."""


class NotApplicableError(BenchError):
    """An attack and a victim do not fit; the cell is recorded as ``not_applicable``."""


class CheckFailedError(BenchError):
    """A comparison failed: a regression, or a row that cannot be reproduced."""

    exit_code = 1


class CellFailedError(BenchError):
    """One or more cells failed; their rows give the reasons."""

    exit_code = 3


class CannotSayError(BenchError):
    """A check could not compare everything that it should, and found nothing worse in the rest."""

    exit_code = 4
