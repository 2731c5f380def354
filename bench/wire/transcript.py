"""Everything that crossed the wire, in order, as files.

A transcript is a directory with one safetensors file per message, whose size is the message's size
on the wire, and ``transcript.json``, which lists the messages. No file in it names a record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bench.types.channels import Channel
from bench.util.errors import DataError

SCHEMA_VERSION = 1
HEADER = "transcript.json"

Direction = Literal["up", "down"]
S = TypeVar("S", bound=str)


@dataclass(frozen=True, order=True)
class Release:
    """The place of one record on the wire: the step that sent it, and its row in the batch.

    Where a step sends an update that many records went into, the row only counts them.

    Attributes:
        epoch: pass over the private records, from 0.
        step: number of the step.
        row: row in the batch of the step.
    """

    epoch: int
    step: int
    row: int


class Message(BaseModel):
    """One entry of the header: a message, its file and its sender.

    Attributes:
        file: name within the transcript's directory.
        step: number of the step.
        epoch: pass over the private records.
        direction: ``up`` to the server or ``down`` to the client.
        sender: who sent the message.
        receiver: who received it.
        rows: how many records the batch held; 0 where tensors are not aligned with records.
        records: how many records went into an update whose tensors are not aligned with them; 0 for
            other messages.
        tensors: names in the file: a channel, or ``channel/part`` for weights.
        bytes: size of the serialised message.
        sha256: hash of the serialised message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    step: int
    epoch: int
    direction: Direction
    sender: str
    receiver: str
    rows: int
    records: int = 0
    tensors: tuple[str, ...]
    bytes: int
    sha256: str

    def channels(self) -> frozenset[Channel]:
        """Return the channels that the message carries."""
        return frozenset(Channel(name.partition("/")[0]) for name in self.tensors)


@dataclass(frozen=True, eq=False)
class NamedTensors:
    """The named tensors that one message carries on one channel.

    Attributes:
        step: the step that sent the message.
        tensors: tensors by name, without the channel's prefix.
    """

    step: int
    tensors: Mapping[str, Tensor]


class Header(BaseModel):
    """The content of ``transcript.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    victim: str
    protocol: str
    messages: tuple[Message, ...]


class TranscriptWriter:
    """Writes messages as they are sent, and the header last.

    A transcript without its header is refused, so that no partial transcript is read.
    """

    def __init__(self, path: Path, *, victim: str, protocol: str) -> None:
        self.path = path
        self._victim = victim
        self._protocol = protocol
        self._messages: list[Message] = []
        path.mkdir(parents=True)

    def send(
        self,
        tensors: Mapping[S, Tensor],
        *,
        step: int,
        epoch: int,
        direction: Direction,
        sender: str,
        receiver: str,
        rows: int,
        records: int = 0,
    ) -> dict[str, Tensor]:
        """Write a message, and return what the other side reads from the serialised bytes.

        Args:
            tensors: tensors by channel, or by ``channel/part``.
            step: number of the step.
            epoch: pass over the private records.
            direction: ``up`` to the server or ``down`` to the client.
            sender: who sends the message.
            receiver: who receives it.
            rows: records in the batch, or 0 where tensors are not aligned with records.
            records: records that went into an update, else 0.
        """
        blob = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        name = f"{len(self._messages):06d}-{direction}.safetensors"
        (self.path / name).write_bytes(blob)
        self._messages.append(
            Message(
                file=name,
                step=step,
                epoch=epoch,
                direction=direction,
                sender=sender,
                receiver=receiver,
                rows=rows,
                records=records,
                tensors=tuple(sorted(tensors)),
                bytes=len(blob),
                sha256=hashlib.sha256(blob).hexdigest(),
            )
        )
        return dict(load(blob))

    def close(self) -> Transcript:
        """Write the header and open the transcript."""
        header = Header(
            schema_version=SCHEMA_VERSION,
            victim=self._victim,
            protocol=self._protocol,
            messages=tuple(self._messages),
        )
        (self.path / HEADER).write_text(header.model_dump_json(indent=1))
        return Transcript(self.path)


class Transcript:
    """A transcript on disk.

    Raises:
        DataError: the header is missing, malformed or of another schema, or names a file outside
            the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.header = Header.model_validate(json.loads((path / HEADER).read_text()))
        except FileNotFoundError as error:
            raise DataError(f"{path}: not a transcript, {HEADER} is missing") from error
        except (ValidationError, ValueError) as error:
            raise DataError(f"{path / HEADER}: not a valid transcript header") from error
        if self.header.schema_version != SCHEMA_VERSION:
            raise DataError(
                f"{path}: transcript schema {self.header.schema_version}, expected {SCHEMA_VERSION}"
            )
        for message in self.header.messages:
            if Path(message.file).name != message.file or message.file in {"", ".", ".."}:
                raise DataError(
                    f"{path}: message file {message.file!r} points outside the transcript"
                )

        batches: dict[int, tuple[int, int]] = {}
        for message in self.header.messages:
            batch = (message.epoch, message.rows or message.records)
            if batch[1] and batches.setdefault(message.step, batch) != batch:
                raise DataError(
                    f"{path}: the messages of step {message.step} disagree on its epoch "
                    "or batch size"
                )
        self._batches = batches
        self._updates = frozenset(m.step for m in self.header.messages if m.records)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, in the order sent."""
        return self.header.messages

    def read(self, message: Message) -> dict[str, Tensor]:
        """Return the tensors of a message by name.

        Raises:
            DataError: the file is missing or differs from what was sent.
        """
        file = self.path / message.file
        try:
            blob = file.read_bytes()
        except FileNotFoundError as error:
            raise DataError(f"{file}: message file is missing") from error
        if len(blob) != message.bytes or hashlib.sha256(blob).hexdigest() != message.sha256:
            raise DataError(f"{file}: damaged, its content differs from what was recorded")
        try:
            tensors = dict(load(blob))
        except SafetensorError as error:
            raise DataError(f"{file}: not a safetensors file") from error
        if tuple(sorted(tensors)) != message.tensors:
            raise DataError(f"{file}: holds other tensors than the header lists")
        if message.rows and any(t.ndim == 0 or len(t) != message.rows for t in tensors.values()):
            raise DataError(f"{file}: does not hold the {message.rows} rows that the header lists")
        return tensors

    def verify(self) -> None:
        """Read every message once.

        Raises:
            DataError: a file is missing or differs from what was sent.
        """
        for message in self.messages:
            self.read(message)

    def channels(self) -> frozenset[Channel]:
        """Return every channel that was sent."""
        return (
            frozenset().union(*(m.channels() for m in self.messages))
            if self.messages
            else frozenset()
        )

    def is_row_channel(self, channel: Channel) -> bool:
        """Return whether the channel's tensors are aligned with the records of a batch."""
        return any(channel in m.tensors and m.rows > 0 for m in self.messages)

    def batch_size(self, release: Release) -> int:
        """Return how many records shared the step of a release."""
        return self._batches[release.step][1]

    def is_update(self, release: Release) -> bool:
        """Return whether the release went into an update together with the others of its step."""
        return release.step in self._updates

    def releases(self, epoch: int | None = None) -> list[Release]:
        """Return every release of every record in order, of one epoch or of all."""
        return [
            Release(e, step, row)
            for step, (e, rows) in sorted(self._batches.items())
            if epoch is None or e == epoch
            for row in range(rows)
        ]

    def epochs(self) -> list[int]:
        """Return the epochs with releases, in order."""
        return sorted({epoch for epoch, _ in self._batches.values()})

    def rows(self, channel: Channel, releases: Sequence[Release]) -> Tensor:
        """Return the rows of a record-aligned channel for the given releases, ``(R, ...)``.

        Raises:
            DataError: the channel is missing for some releases.
        """
        wanted: dict[int, list[int]] = {}
        for position, release in enumerate(releases):
            wanted.setdefault(release.step, []).append(position)
        found: dict[int, Tensor] = {}
        for message in self.messages:
            if message.step in wanted and channel in message.tensors and message.rows > 0:
                tensor = self.read(message)[channel]
                for position in wanted[message.step]:
                    found[position] = tensor[releases[position].row].clone()
        if len(found) != len(releases):
            raise DataError(
                f"{self.path}: channel {channel!r} is missing "
                f"for {len(releases) - len(found)} releases"
            )
        return torch.stack([found[i] for i in range(len(releases))]) if releases else torch.empty(0)

    def parts(self, channel: Channel, steps: frozenset[int] | None = None) -> list[NamedTensors]:
        """Return the messages of a channel with named tensors, such as weights, in order.

        Args:
            channel: the channel.
            steps: the steps whose updates are returned; messages outside updates are always
                returned. None is all steps.
        """
        prefix = f"{channel}/"
        return [
            NamedTensors(
                m.step,
                {
                    n.removeprefix(prefix): t
                    for n, t in self.read(m).items()
                    if n.startswith(prefix)
                },
            )
            for m in self.messages
            if channel in m.channels()
            and (steps is None or m.step in steps or m.step not in self._updates)
        ]

    def bytes(self, direction: Direction, *, rows_only: bool = False) -> int:
        """Return the bytes sent in one direction.

        Args:
            direction: ``up`` or ``down``.
            rows_only: count only messages that are aligned with records.
        """
        return sum(
            m.bytes
            for m in self.messages
            if m.direction == direction and (m.rows > 0 or not rows_only)
        )


def with_channel_prefix(
    channel: Channel, tensors: Iterable[tuple[str, Tensor]]
) -> dict[str, Tensor]:
    """Return weights as the tensors of a message, named ``channel/part``."""
    return {f"{channel}/{name}": tensor for name, tensor in tensors}
