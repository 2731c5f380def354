"""Turn what a plugin of another package raises while a cell is planned into one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.interfaces.plugin import Plugin
from bench.util.code_identity import is_ours
from bench.util.errors import BenchError, RequestError
from bench.util.failure import Failure


@contextmanager
def guest_errors(kind: str, cls: type[Plugin]) -> Iterator[None]:
    """Name the plugin in errors of the block.

    Errors of this project's plugins are bugs, and pass as they are.

    Args:
        kind: the kind of the plugin, such as ``dataset``.

    Raises:
        RequestError: the plugin raised.
    """
    try:
        yield
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        if is_ours(cls):
            raise
        raise RequestError(f"{kind} {cls.name!r}: {Failure.from_error(error).reason}") from error
