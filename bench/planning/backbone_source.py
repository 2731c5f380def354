"""Load feature extractors: each choice once for all cells that share it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.backbones.selection import FITS, backbone_names, load_backbones
from bench.interfaces.backbone import BackboneSet
from bench.util.errors import RequestError


class BackboneSource:
    """Feature extractors by the user's choice."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, Path | None], BackboneSet] = {}

    def load(self, choice: str, weights_dir: Path | None) -> BackboneSet:
        """Return the extractors of a choice such as ``auto`` or ``perceptual=alex``.

        Raises:
            RequestError: there is no such extractor.
            DataError: its weights cannot be used.
        """
        key = (choice, weights_dir)
        if key not in self._loaded:
            self._loaded[key] = load_backbones(choice, weights_dir)
        return self._loaded[key]

    def from_names(self, names: Sequence[str], weights_dir: Path | None) -> BackboneSet:
        """Return the extractors of a stored cell, which has them as ``role=name``.

        Raises:
            RequestError: other extractors are here.
        """
        choices = []
        for role, _, name in (entry.partition("=") for entry in names):
            known = next((file for file in FITS if file in name), "embedded")
            choices.append(f"{role}={known}")
        backbones = self.load(",".join(choices), weights_dir)
        if (here := backbone_names(backbones)) != tuple(names):
            raise RequestError(
                f"the cell was scored with {', '.join(names)}; here is {', '.join(here)}"
            )
        return backbones
