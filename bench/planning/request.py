"""What a user may ask for: one cell, by names and settings that are not resolved yet."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.planning.settings import Settings
from bench.settings.table import SETTINGS


@dataclass(frozen=True)
class Request:
    """One cell as a user asks for it; the defaults are those of ``bench run``.

    Attributes:
        victim, defense, attack: ``name[:key=value,…]``; defences stack with ``+``.
        protocol: None is the victim's first.
        threat: name of a threat model.
        withhold: channels that the attacker does not see though they are sent.
        settings: everything else that shapes the cell.
        weights_dir: where the user's backbone weights are; None is the usual caches.
    """

    victim: str = "split-controlnet"
    protocol: str | None = None
    defense: str = "none"
    attack: str = "inversion"
    threat: str = "server"
    withhold: tuple[str, ...] = ()
    seed: int = 0
    settings: Settings = field(default_factory=Settings)
    weights_dir: Path | None = None

    def replace(self, **changes: Any) -> Request:
        """Return this request with other fields or other settings, by name.

        Raises:
            ValidationError: a setting is unknown or impossible.
        """
        settings = {name: changes.pop(name) for name in SETTINGS if name in changes}
        merged = Settings(**{**self.settings.given(), **settings})
        return dataclasses.replace(self, **{"settings": merged, **changes})
