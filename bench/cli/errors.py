"""Turn an error of a command into one sentence."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from bench.util.errors import BenchError, RequestError


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """End the block in one sentence and an exit code; keep the traceback of unknown errors."""
    try:
        yield
    except BenchError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(error.exit_code)
    except RuntimeError as error:
        if "home directory" not in str(error):  # pathlib's words where ~ cannot be resolved
            raise
        click.echo(
            "bench: a path begins with ~, which names no home directory here; write it in full",
            err=True,
        )
        sys.exit(RequestError.exit_code)
    except KeyboardInterrupt:
        click.echo(
            "bench: interrupted; finished captures and rows are kept, "
            "run the command again to continue",
            err=True,
        )
        sys.exit(130)
