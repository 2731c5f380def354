"""The wire between the server and one client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from bench.interfaces import TranscriptWriter
from bench.wire.transcript import Direction

NameT = TypeVar("NameT", bound=str)


@dataclass(frozen=True, eq=False)
class Link:
    """Sends messages between the server and one client.

    Attributes:
        writer: keeps every message.
        client: the name of the client.
    """

    writer: TranscriptWriter
    client: str = "client"

    def send(
        self,
        tensors: Mapping[NameT, Tensor],
        direction: Direction,
        *,
        epoch: int,
        step: int,
        rows: int,
        records: int = 0,
    ) -> dict[str, Tensor]:
        """Send one message and return the tensors that the receiver reads.

        Args:
            tensors: the tensors of the message, by name.
            direction: ``up`` to the server or ``down`` to the client.
            epoch: the epoch of the message.
            step: the step of the message.
            rows: how many records the message has one row for; 0 for weights and updates.
            records: how many records are behind a message without rows.
        """
        ends = ("server", self.client)
        return self.writer.send(
            tensors,
            step=step,
            epoch=epoch,
            direction=direction,
            sender=ends[direction == "up"],
            receiver=ends[direction == "down"],
            rows=rows,
            records=records,
        )
