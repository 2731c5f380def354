"""The paper's three defences together, under one name."""

from __future__ import annotations

from bench.interfaces import Card, Defense


class Published(Defense):
    """Stands for ``timestep+activation+prompt``; a row names the parts."""

    name = "published"
    stands_for = "timestep+activation+prompt"
    card = Card(
        summary="The whole published stack: timestep + activation + prompt.",
        source="arXiv:2409.08503, the variant its slides call Ours++, with prompts kept on the client",
    )
