"""Refuse defences that train on the client where no client trains."""

from __future__ import annotations

from bench.interfaces import CLIENT_WEIGHTS, CONTROL_FEATURES, Channel, RequestError


def refuse_untrained(name: str, channels: frozenset[Channel]) -> None:
    """Refuse a wire without control features or without client weights.

    Client weights cross the wire at the end where the client trains layers.

    Args:
        name: the name of the defence.
        channels: the channels that cross the wire.

    Raises:
        RequestError: the client does not train layers whose features it sends.
    """
    if CONTROL_FEATURES not in channels or CLIENT_WEIGHTS not in channels:
        raise RequestError(
            f"defence {name!r} needs a client that trains layers and sends their features, and "
            "this victim has none; use split-cnn, or split-controlnet with protocol gradient or "
            "u-shaped"
        )
