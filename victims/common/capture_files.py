"""Write the files that every capture holds besides its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.interfaces import Capture, Costs, Records, SecretsWriter, TranscriptWriter
from bench.wire.capture import COSTS_FILE, SECRETS_DIR
from victims.common.measure import peak_memory_mib


@dataclass(frozen=True)
class TrainingMeasurements:
    """Holds the measurements of one training run.

    Attributes:
        releases: how many rows were trained on: records times epochs.
        losses: the loss of every step.
        client_seconds: seconds that the clients computed.
        server_seconds: seconds that the server computed.
        device: the device of the training, whose memory is measured.
    """

    releases: int
    losses: Sequence[float]
    client_seconds: float
    server_seconds: float
    device: str


def seal_capture(
    out: Path,
    records: Records,
    writer: TranscriptWriter,
    secrets: SecretsWriter,
    measurements: TrainingMeasurements,
) -> Capture:
    """Write transcript, secrets and costs under ``out``, and return the capture.

    Args:
        out: folder of the capture; the model is there already.
        records: the records as the client trains on them.
        writer: every message of the training.
        secrets: the ground truth of every release.
        measurements: the measurements of the training.
    """
    secrets.close(out / SECRETS_DIR, records)
    transcript = writer.close()
    costs = Costs(
        bytes_up=transcript.bytes("up", rows_only=True) / measurements.releases,
        bytes_down=transcript.bytes("down", rows_only=True) / measurements.releases,
        bytes_once=sum(message.bytes for message in transcript.messages if message.rows == 0),
        client_seconds=measurements.client_seconds,
        server_seconds=measurements.server_seconds,
        peak_memory_mib=peak_memory_mib(measurements.device),
        steps=len(measurements.losses),
        losses=tuple(measurements.losses),
    )
    (out / COSTS_FILE).write_text(costs.model_dump_json())
    return Capture.open(out)
