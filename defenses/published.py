"""Stack the paper's three defences under one name."""

from __future__ import annotations

from bench.interfaces import Card, Defense


class PublishedStack(Defense):
    """Stands for ``timestep+activation+prompt``; rows name the parts."""

    name = "published"
    stands_for = "timestep+activation+prompt"
    card = Card(
        summary="Stacks the published defences: timestep + activation + prompt.",
        source="arXiv:2409.08503, the variant that the slides call Ours++, with prompts kept on "
        "the client",
    )
