"""The wire on disk: what was sent is what is read, and damage is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.interfaces import (
    CLIENT_WEIGHTS,
    GRADIENT_DOWN,
    TIMESTEP,
    UNET_FEATURES,
    DataError,
    Release,
    Transcript,
    TranscriptWriter,
)
from bench.wire.transcript import HEADER, with_channel_prefix

UP: dict[str, Any] = {"direction": "up", "sender": "client", "receiver": "server"}
DOWN: dict[str, Any] = {"direction": "down", "sender": "server", "receiver": "client"}


def write(path: Path) -> Transcript:
    """Two steps up of 3 and 2 rows, an answer to the first, and weights twice."""
    writer = TranscriptWriter(path, victim="v", protocol="p")
    for step, rows in enumerate((3, 2)):
        values = torch.arange(rows) + 10 * step
        writer.send(
            {TIMESTEP: values, UNET_FEATURES: values.float().view(rows, 1, 1, 1)},
            step=step,
            epoch=step,
            rows=rows,
            **UP,
        )
        if step == 0:
            writer.send(
                {GRADIENT_DOWN: torch.ones(rows, 1)}, step=step, epoch=step, rows=rows, **DOWN
            )
        writer.send(
            with_channel_prefix(
                CLIENT_WEIGHTS,
                [("a.weight", torch.full((2,), float(step))), ("bias", torch.zeros(1))],
            ),
            step=step,
            epoch=step,
            rows=0,
            **UP,
        )
    return writer.close()


@pytest.fixture
def transcript(tmp_path: Path) -> Transcript:
    return write(tmp_path / "wire")


def edit(transcript: Transcript, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the header on disk."""
    file = transcript.path / HEADER
    header = json.loads(file.read_text())
    change(header)
    file.write_text(json.dumps(header))


def test_bytes_are_those_of_the_files(transcript: Transcript) -> None:
    for message in Transcript(transcript.path).messages:
        blob = (transcript.path / message.file).read_bytes()
        assert message.bytes == len(blob)
        assert message.sha256 == hashlib.sha256(blob).hexdigest()
    up = [m for m in transcript.messages if m.direction == "up"]
    assert transcript.bytes("up") == sum(m.bytes for m in up)
    assert transcript.bytes("up", rows_only=True) == sum(m.bytes for m in up if m.rows)
    assert transcript.bytes("up") + transcript.bytes("down") == sum(
        f.stat().st_size for f in transcript.path.glob("*.safetensors")
    )
    assert {f.name for f in transcript.path.iterdir()} == {m.file for m in transcript.messages} | {
        HEADER
    }


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.uint8]
)
def test_the_other_side_reads_what_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    writer = TranscriptWriter(tmp_path / "wire", victim="v", protocol="p")
    sent = (torch.arange(12).view(3, 4) * 3).to(dtype).t()  # not contiguous
    received = writer.send(
        {"x": sent.requires_grad_(dtype.is_floating_point)}, step=0, epoch=0, rows=4, **UP
    )
    opened = writer.close()
    for copy in (received["x"], opened.read(opened.messages[0])["x"]):
        assert copy.dtype == dtype
        assert torch.equal(copy, sent.detach())
        assert not copy.requires_grad
        assert copy.data_ptr() != sent.data_ptr()


def test_messages_keep_their_order_and_names(transcript: Transcript) -> None:
    assert [m.direction for m in transcript.messages] == ["up", "down", "up", "up", "up"]
    assert [m.rows for m in transcript.messages] == [3, 3, 0, 2, 0]
    assert transcript.channels() == {TIMESTEP, UNET_FEATURES, GRADIENT_DOWN, CLIENT_WEIGHTS}
    assert transcript.is_row_channel(TIMESTEP)
    assert not transcript.is_row_channel(CLIENT_WEIGHTS)
    assert transcript.epochs() == [0, 1]


def test_releases_are_counted_once_a_record(transcript: Transcript) -> None:
    assert transcript.releases() == [
        Release(0, 0, 0),
        Release(0, 0, 1),
        Release(0, 0, 2),
        Release(1, 1, 0),
        Release(1, 1, 1),
    ]
    assert transcript.releases(1) == [Release(1, 1, 0), Release(1, 1, 1)]
    assert transcript.releases(7) == []
    assert [transcript.batch_size(r) for r in transcript.releases()] == [3, 3, 3, 2, 2]


def test_rows_follow_the_order_asked_for(transcript: Transcript) -> None:
    wanted = [Release(1, 1, 1), Release(0, 0, 2), Release(1, 1, 0), Release(0, 0, 0)]
    assert transcript.rows(TIMESTEP, wanted).tolist() == [11, 2, 10, 0]
    assert transcript.rows(UNET_FEATURES, wanted).flatten().tolist() == [11.0, 2.0, 10.0, 0.0]
    assert len(transcript.rows(TIMESTEP, [])) == 0


def test_rows_missing_from_a_channel_are_an_error_and_not_a_shorter_answer(
    transcript: Transcript,
) -> None:
    with pytest.raises(DataError, match="'gradient_down' is missing for 2 releases"):
        transcript.rows(GRADIENT_DOWN, transcript.releases())


def test_parts_come_by_message_and_name(transcript: Transcript) -> None:
    first, second = (parts.tensors for parts in transcript.parts(CLIENT_WEIGHTS))
    assert first.keys() == second.keys() == {"a.weight", "bias"}
    assert first["a.weight"].tolist() == [0.0, 0.0]
    assert second["a.weight"].tolist() == [1.0, 1.0]


def test_verify_reads_everything(transcript: Transcript) -> None:
    transcript.verify()
    (transcript.path / transcript.messages[-1].file).unlink()
    with pytest.raises(DataError, match="missing"):
        transcript.verify()


def test_one_flipped_bit_is_noticed(transcript: Transcript) -> None:
    message = transcript.messages[0]
    file = transcript.path / message.file
    blob = bytearray(file.read_bytes())
    blob[-1] ^= 1
    file.write_bytes(blob)
    with pytest.raises(DataError, match="damaged") as caught:
        transcript.read(message)
    assert message.file in str(caught.value)


def test_a_truncated_and_a_missing_file_are_noticed(transcript: Transcript) -> None:
    message = transcript.messages[0]
    file = transcript.path / message.file
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged"):
        transcript.rows(TIMESTEP, [Release(0, 0, 0)])
    file.unlink()
    with pytest.raises(DataError, match="missing"):
        transcript.rows(TIMESTEP, [Release(0, 0, 0)])


def test_a_header_that_lists_other_tensors_is_noticed(transcript: Transcript) -> None:
    edit(transcript, lambda h: h["messages"][0].update(tensors=["timestep"]))
    opened = Transcript(transcript.path)
    with pytest.raises(DataError, match="other tensors"):
        opened.read(opened.messages[0])


def test_a_file_that_is_no_safetensors_is_refused_even_with_a_fitting_hash(
    transcript: Transcript,
) -> None:
    blob = b"\x80\x04not safetensors"
    file = transcript.messages[0].file
    (transcript.path / file).write_bytes(blob)
    edit(
        transcript,
        lambda h: h["messages"][0].update(bytes=len(blob), sha256=hashlib.sha256(blob).hexdigest()),
    )
    opened = Transcript(transcript.path)
    with pytest.raises(DataError, match="not a safetensors file"):
        opened.read(opened.messages[0])


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "sub/x.safetensors", "..", ".", ""])
def test_a_header_cannot_point_outside(transcript: Transcript, name: str) -> None:
    edit(transcript, lambda h: h["messages"][0].update(file=name))
    with pytest.raises(DataError, match="points outside the transcript"):
        Transcript(transcript.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(schema_version=99), "transcript schema 99, expected 1"),
        (lambda h: h.pop("protocol"), "not a valid transcript header"),
        (lambda h: h.update(extra=1), "not a valid transcript header"),
        (lambda h: h["messages"][0].update(direction="sideways"), "not a valid transcript header"),
        (lambda h: h["messages"][0].update(rows="many"), "not a valid transcript header"),
    ],
)
def test_a_foreign_header_is_refused(
    transcript: Transcript, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit(transcript, change)
    with pytest.raises(DataError, match=message):
        Transcript(transcript.path)


def test_what_was_not_closed_is_no_transcript(tmp_path: Path) -> None:
    TranscriptWriter(tmp_path / "torn", victim="v", protocol="p").send(
        {"x": torch.ones(1)}, step=0, epoch=0, rows=1, **UP
    )
    with pytest.raises(DataError, match="not a transcript"):
        Transcript(tmp_path / "torn")
    (tmp_path / "torn" / HEADER).write_text("{")
    with pytest.raises(DataError, match="not a valid transcript header"):
        Transcript(tmp_path / "torn")


def test_an_existing_transcript_is_never_written_over(transcript: Transcript) -> None:
    with pytest.raises(FileExistsError):
        TranscriptWriter(transcript.path, victim="v", protocol="p")


def test_an_empty_wire_is_a_transcript(tmp_path: Path) -> None:
    empty = TranscriptWriter(tmp_path / "empty", victim="v", protocol="p").close()
    assert empty.channels() == frozenset()
    assert empty.releases() == []
    assert empty.epochs() == []
    assert empty.bytes("up") == 0


def test_the_same_messages_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    assert (one.path / HEADER).read_bytes() == (two.path / HEADER).read_bytes()
