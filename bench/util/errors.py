"""The one family of errors whose message is shown to the user as it stands.

Anything else that escapes is a bug and keeps its traceback. Exit codes follow the command line's
contract: 0 done, 1 a check failed, 2 the request was wrong, 3 some cells failed, 4 a check could
not say.
"""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class BenchError(Exception):
    """A problem with one clear sentence: what was wrong, where, and what to do.

    As text it is one line, whatever a damaged file put into it.
    """

    exit_code: int = 2

    def __str__(self) -> str:
        return _CONTROL.sub(" ", super().__str__())


class RequestError(BenchError):
    """The request cannot be met: unknown name, impossible combination, unusable input."""


class DataError(BenchError):
    """A data set, transcript or model directory on disk is missing, malformed or damaged."""


class NotGrantedError(BenchError):
    """An attack read a channel that its threat model does not grant."""


class NotApplicableError(BenchError):
    """An attack and a victim do not fit; the cell is recorded as ``not_applicable``."""


class CheckFailedError(BenchError):
    """A comparison came out wrong: a regression, or a row that cannot be made again."""

    exit_code = 1


class CellFailedError(BenchError):
    """One or more cells failed; their rows say why."""

    exit_code = 3


class CannotSayError(BenchError):
    """A check could not compare all that it was asked to compare, and found nothing worse in the rest."""

    exit_code = 4
