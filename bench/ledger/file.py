"""Opens ledger files that may be damaged, untrusted or on a read-only disk."""

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
    """Open a connection that writes nothing and runs no code of the file's schema.

    Raises:
        DataError: SQLite cannot read the file or answer a query of the caller.
    """
    uri = f"{source.resolve().as_uri()}?mode=ro"
    if _is_wal(source) and not source.with_name(f"{source.name}-wal").exists():
        uri += "&immutable=1"  # no process has it open; else SQLite would write a file beside it
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as db:
            db.execute("PRAGMA query_only = ON")
            db.execute("PRAGMA trusted_schema = OFF")
            yield db
    except sqlite3.OperationalError as error:
        side_files = [
            end for end in ("-wal", "-journal") if source.with_name(source.name + end).exists()
        ]
        if not side_files:
            raise DataError(f"{source}: not a readable ledger: {error}") from error
        raise DataError(
            f"{source}: {error}; {source.name}{side_files[0]} beside it holds unfinished writes, "
            "which bench run completes where the directory is writable"
        ) from error
    # Damaged texts raise UnicodeError, and damaged lengths OverflowError.
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise DataError(f"{source}: not a readable ledger: {error}") from error


def _is_wal(source: Path) -> bool:
    """Return whether the file is in WAL mode, which earlier versions used.

    SQLite cannot open such a file on a read-only disk.
    """
    try:
        with source.open("rb") as stream:
            return stream.read(20)[18:20] == b"\2\2"
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from error


def check_schema(source: Path, db: sqlite3.Connection) -> int:
    """Return the schema version of a ledger and refuse views and triggers.

    Raises:
        DataError: the file is no ledger, or this version does not know its schema.
    """
    kinds = dict(
        db.execute("SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    )
    unexpected = sorted(str(name) for name, kind in kinds.items() if kind in ("view", "trigger"))
    if unexpected or not set(kinds) >= _TABLES:
        problem = f"has {unexpected[0]}" if unexpected else "tables are missing"
        raise DataError(f"{source}: not a ledger: {problem}")
    stored = db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    known = [str(version) for version in range(1, SCHEMA_VERSION + 1)]
    if stored is None or stored[0] not in known:
        text = "none" if stored is None else str(stored[0])[:20]
        raise DataError(
            f"{source}: ledger schema {text}, but this version reads {' and '.join(known)}"
        )
    return int(stored[0])
