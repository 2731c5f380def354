"""Keep captures by content: a victim is trained once and attacked many times."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from bench.settings.cell import CaptureSpec
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

    A capture appears whole or not at all: it is made in a separate folder, which is renamed when it
    is complete. A process that asks for a capture while another one trains it waits. Folders that
    killed runs have left are removed by the next run.
    """

    def __init__(self, results: Path) -> None:
        self.root = results / "captures"
        self._locks = results / "locks"

    def path(self, spec: CaptureSpec) -> Path:
        """Return where the capture of ``spec`` is, or would be."""
        return self.root / spec.content_hash()[:16]

    def get(
        self,
        spec: CaptureSpec,
        train: Callable[[Path], Capture],
        *,
        fresh: bool,
        progress: Progress,
    ) -> tuple[Capture, bool]:
        """Return the capture of ``spec``, and whether it was reused.

        A damaged capture is moved aside, with a note to ``progress``, and trained again.

        Args:
            train: makes the capture in an empty directory.
            fresh: train even where a capture exists; the old one is kept until the new one is
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
        """Make the capture; the caller holds its lock."""
        partial = self.root / f"{_PARTIAL}{path.name}-{os.getpid()}"
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self._remove_partial(path.name)
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
        present = tree_manifest(path)
        present.pop(_MANIFEST, None)
        for name in sorted(files.keys() | present.keys()):
            if name not in present:
                raise DataError(f"{path / name}: missing")
            if name not in files:
                raise DataError(f"{path / name}: unexpected")
            if files[name] != present[name]:
                raise DataError(f"{path / name}: changed")
        return Capture.open(path)

    def _remove_partial(self, locked_name: str) -> None:
        """Remove folders of killed processes.

        Those of the capture ``locked_name``, whose lock the caller holds, all go; those of other
        captures go where their process has ended and their lock is free. The process id alone does
        not decide, since it may be in use again, or belong to another machine.
        """
        for partial in self.root.glob(f"{_PARTIAL}*"):
            name, _, pid = partial.name.removeprefix(_PARTIAL).removeprefix("old-").rpartition("-")
            if name == locked_name:
                remove_tree(partial)
            elif pid.isdigit() and not process_alive(int(pid)):
                with try_lock(self._lock(name)) as free:
                    if free:
                        remove_tree(partial)


def _aside(path: Path) -> Path:
    """Return a free name beside ``path``."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside
