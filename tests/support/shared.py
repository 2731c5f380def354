"""Files that one worker of a test run makes and all of its workers read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock


@dataclass(frozen=True)
class SharedFiles:
    """A directory of the whole test run, whatever the number of its workers.

    Attributes:
        root: the directory; it goes with the temporary directories of pytest.
    """

    root: Path

    @classmethod
    def of_run(cls, factory: pytest.TempPathFactory) -> SharedFiles:
        """Return the directory that all workers of this run have in common."""
        base = factory.getbasetemp()
        root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
        root.mkdir(exist_ok=True)
        return cls(root)

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return ``root/name``, made by the first worker that asks for it; the others wait.

        Args:
            make: writes the file or directory at the path that it is given.
        """
        path, done = self.root / name, self.root / f"{name}.done"
        with FileLock(self.root / f"{name}.lock"):
            if not done.exists():
                make(path)
                done.touch()
        return path
