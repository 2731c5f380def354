"""Refuses defences that train something on the client where no client trains."""

from __future__ import annotations

from bench.interfaces import CLIENT_WEIGHTS, CONTROL_FEATURES, Channel, RequestError


def refuse_untrained(name: str, channels: frozenset[Channel]) -> None:
    """Refuse a wire without features, or one whose client has no weights of its own to send at the
    end.

    Raises:
        RequestError: with the reason.
    """
    if CONTROL_FEATURES not in channels or CLIENT_WEIGHTS not in channels:
        raise RequestError(
            f"defence {name!r} learns along with a client that trains layers and sends their features; here no such "
            "client is: use split-controlnet's gradient or u-shaped, or split-cnn"
        )
