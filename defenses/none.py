"""Leave the victim undefended."""

from __future__ import annotations

from bench.interfaces import Card, Defense


class NoDefense(Defense):
    """Every hook keeps its default."""

    name = "none"
    card = Card(
        summary="Leaves the victim undefended: uniform timesteps, fresh noise, unchanged tensors.",
        source="this project",
    )
