"""No defence: the undefended victim."""

from __future__ import annotations

from bench.interfaces import Card, Defense


class NoDefense(Defense):
    """Every hook keeps its default."""

    name = "none"
    card = Card(
        summary="The undefended victim: uniform timesteps, fresh noise, tensors sent as they are.",
        source="this project",
    )
