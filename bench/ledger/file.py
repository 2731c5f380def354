"""Opens ledger files that may be damaged, made by others, or on a disk where nothing can be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.ledger.schema import SCHEMA_VERSION
from bench.util.errors import DataError

_TABLES = {"meta", "cells", "rows"}


@contextmanager
def read_only(source: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing and runs no code of the file's schema.

    Raises:
        DataError: SQLite cannot read the file, or what the caller asks of it.
    """
    uri = f"{source.resolve().as_uri()}?mode=ro"
    if _is_wal(source) and not source.with_name(f"{source.name}-wal").exists():
        uri += "&immutable=1"  # nobody has it open; SQLite would write a file beside it otherwise
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as db:
            db.execute("PRAGMA query_only = ON")
            db.execute("PRAGMA trusted_schema = OFF")
            yield db
    except sqlite3.OperationalError as error:
        left = [end for end in ("-wal", "-journal") if source.with_name(source.name + end).exists()]
        if not left:
            raise DataError(f"{source}: not a readable ledger: {error}") from error
        raise DataError(
            f"{source}: {error}; {source.name}{left[0]} beside it holds unfinished writes, which bench run "
            "settles where it may write"
        ) from error
    except (
        sqlite3.Error,
        UnicodeError,
        OverflowError,
    ) as error:  # the last two from damaged texts and lengths
        raise DataError(f"{source}: not a readable ledger: {error}") from error


def _is_wal(source: Path) -> bool:
    """Whether the file is in the mode of earlier versions, which cannot be opened where nothing can be written."""
    try:
        with source.open("rb") as stream:
            return stream.read(20)[18:20] == b"\2\2"
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from error


def check_schema(source: Path, db: sqlite3.Connection) -> int:
    """The ledger's version, of one that has plain tables only.

    Raises:
        DataError: it is of a version that is not known here, or no ledger.
    """
    kinds = dict(
        db.execute("SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    )
    strange = sorted(str(name) for name, kind in kinds.items() if kind in ("view", "trigger"))
    if strange or not set(kinds) >= _TABLES:
        raise DataError(
            f"{source}: not a ledger: {'has ' + strange[0] if strange else 'tables are missing'}"
        )
    found = db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    known = [str(version) for version in range(1, SCHEMA_VERSION + 1)]
    if found is None or found[0] not in known:
        shown = "none" if found is None else str(found[0])[:20]
        raise DataError(
            f"{source}: ledger schema {shown}, this version reads {' and '.join(known)}"
        )
    return int(found[0])
