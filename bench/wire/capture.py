"""Captures: what a trained victim leaves behind as transcript, sealed secrets, model and costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.util.errors import DataError
from bench.util.files import read_json
from bench.wire.secrets import Secrets
from bench.wire.transcript import Transcript

TRANSCRIPT_DIR = "transcript"
SECRETS_DIR = "secrets"
MODEL_DIR = "model"
COSTS_FILE = "costs.json"
FLAGS_FILE = "flags.json"


class Costs(BaseModel):
    """What training cost.

    Seconds depend on machine and run; only their ratios are comparable.

    Attributes:
        bytes_up: mean bytes that one record and step sends up, as serialised.
        bytes_down: mean bytes that one record and step receives, as serialised.
        bytes_once: bytes outside the steps (weights, updates), both ways, in total.
        client_seconds: time spent on the client.
        server_seconds: time spent on the server.
        peak_memory_mib: peak memory of the process, or of the GPU where one is used.
        steps: number of training steps.
        losses: the loss of every step; infinite or NaN where training diverged, which the row's
            flags report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    bytes_up: float
    bytes_down: float
    bytes_once: int
    client_seconds: float
    server_seconds: float
    peak_memory_mib: float
    steps: int
    losses: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Capture:
    """A capture on disk, opened.

    Attributes:
        transcript: everything that crossed the wire.
        secrets: the ground truth, which no attack sees.
        model_dir: files from which ``Victim.utility`` rebuilds the trained model.
        costs: what training cost.
        flags: reasons to doubt the training; every row on this capture repeats them.
    """

    transcript: Transcript
    secrets: Secrets
    model_dir: Path
    costs: Costs
    flags: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> Capture:
        """Open a capture directory.

        Raises:
            DataError: a part is missing or malformed.
        """
        try:
            costs = Costs.model_validate(read_json(path / COSTS_FILE))
        except ValidationError as error:
            raise DataError(f"{path / COSTS_FILE}: malformed") from error
        return cls(
            transcript=Transcript(path / TRANSCRIPT_DIR),
            secrets=Secrets.open(path / SECRETS_DIR),
            model_dir=path / MODEL_DIR,
            costs=costs,
            flags=tuple(map(str, read_json(path / FLAGS_FILE)))
            if (path / FLAGS_FILE).exists()
            else (),
        )
