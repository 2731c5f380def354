"""Keeps captures by content: a victim is trained once and attacked many times."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from bench.spec.cell import CaptureSpec
from bench.util.errors import DataError
from bench.util.files import (
    disk_errors,
    process_alive,
    read_json,
    remove_tree,
    tree_manifest,
    write_text,
)
from bench.util.locks import hold_lock, try_lock
from bench.util.progress import Progress
from bench.wire.capture import Capture

_MANIFEST = "manifest.json"
_PARTIAL = ".partial-"


class CaptureStore:
    """Captures under ``results/captures``, each in a folder named by its spec's hash.

    A capture appears whole or not at all: it is made in a folder of its own and renamed when
    complete. Whoever asks for a capture that another process is training waits for it. Folders that
    killed runs left behind are removed by the next run.
    """

    def __init__(self, results: Path) -> None:
        self.root = results / "captures"
        self._locks = results / "locks"

    def path(self, spec: CaptureSpec) -> Path:
        """Where the capture of ``spec`` is, or would be."""
        return self.root / spec.content_hash()[:16]

    def get(
        self,
        spec: CaptureSpec,
        train: Callable[[Path], Capture],
        *,
        fresh: bool,
        progress: Progress,
    ) -> tuple[Capture, bool]:
        """The capture of ``spec``, and whether it was reused.

        Args:
            train: makes the capture in an empty directory.
            fresh: train anew even where a capture exists; the old one is kept until the new one is
                complete.
        """
        path = self.path(spec)
        with hold_lock(self._lock(path.name)):
            if not fresh and path.exists():
                try:
                    return self.open(path), True
                except DataError as error:
                    aside = _aside(path)
                    with disk_errors(self.root):
                        path.rename(aside)
                    progress.note(
                        f"damaged capture ({error}); moved to {aside.name}, training anew"
                    )
            self._train(path, spec, train)
            return Capture.open(path), False

    def _train(self, path: Path, spec: CaptureSpec, train: Callable[[Path], Capture]) -> None:
        """Make the capture; its lock is held."""
        partial = self.root / f"{_PARTIAL}{path.name}-{os.getpid()}"
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep(path.name)
            try:
                partial.mkdir()
                train(partial)
                content = {"spec": spec.model_dump(mode="json"), "files": tree_manifest(partial)}
                write_text(partial / _MANIFEST, json.dumps(content, indent=1))
                if path.exists():
                    old = self.root / f"{_PARTIAL}old-{path.name}-{os.getpid()}"
                    path.rename(old)
                    remove_tree(old)
                partial.rename(path)
            finally:
                remove_tree(partial)

    def _lock(self, name: str) -> Path:
        return self._locks / f"capture-{name}"

    def open(self, path: Path) -> Capture:
        """Open a stored capture, every file checked.

        Raises:
            DataError: a file is missing, added or changed.
        """
        manifest = read_json(path / _MANIFEST)
        files = manifest.get("files") if isinstance(manifest, dict) else None
        if not isinstance(files, dict):
            raise DataError(f"{path / _MANIFEST}: malformed")
        found = tree_manifest(path)
        found.pop(_MANIFEST, None)
        for name in sorted(files.keys() | found.keys()):
            if files.get(name) != found.get(name):
                state = (
                    "missing"
                    if name not in found
                    else "unexpected"
                    if name not in files
                    else "changed"
                )
                raise DataError(f"{path / name}: {state}")
        return Capture.open(path)

    def _sweep(self, held: str) -> None:
        """Remove what killed processes left: all of the capture ``held`` by our lock, and of others
        what nobody holds.

        A process id alone does not tell: it may be used again, or be of another machine.
        """
        for partial in self.root.glob(f"{_PARTIAL}*"):
            name, _, pid = partial.name.removeprefix(_PARTIAL).removeprefix("old-").rpartition("-")
            if name == held:
                remove_tree(partial)
            elif pid.isdigit() and not process_alive(int(pid)):
                with try_lock(self._lock(name)) as free:
                    if free:
                        remove_tree(partial)


def _aside(path: Path) -> Path:
    """A free name beside ``path``."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside
