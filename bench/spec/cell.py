"""What a cell is: frozen, typed, with one canonical form and one hash."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from bench.data.split_sizes import SplitSizes
from bench.interfaces.threat import ThreatModel
from bench.util.frozen_model import FrozenModel

SCHEMA_VERSION = 1


class PluginSpec(FrozenModel):
    """A plugin with all its parameters resolved.

    Attributes:
        label: ``name:key=value,…`` with the parameters that differ from their defaults.
        code: hash of its source, so that a changed plugin is not served from a cache.
    """

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    label: str = ""
    code: str = ""


class DataSpec(FrozenModel):
    """The data set, and how its records are made and divided."""

    dataset: PluginSpec
    condition: str = "canny"
    image_size: int = Field(default=64, ge=16)
    splits: SplitSizes = SplitSizes()


class TrainSpec(FrozenModel):
    """How the victim trains."""

    epochs: int = Field(default=5, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    dtype: Literal["fp32", "bf16"] = "fp32"


class UtilitySpec(FrozenModel):
    """How the trained model's quality is measured."""

    steps: int = Field(default=12, ge=1)
    guidance: float = Field(default=2.0, ge=1.0)
    seed: int = 0


class AttackSpec(FrozenModel):
    """The attack, what it may spend, and what it is aimed at.

    Attributes:
        targets: how many releases of the attacked epoch are claimed and scored.
        epoch: which epoch of the transcript is attacked; -1 is the last.
    """

    attack: PluginSpec
    iterations: int = Field(ge=0)
    batch_size: int = Field(default=32, ge=1)
    targets: int = Field(default=64, ge=2)
    epoch: int = -1


class CaptureSpec(FrozenModel):
    """Everything that shapes a capture: transcript, secrets and trained model.

    Attributes:
        code: hash of what trains and records besides the plugins.
        versions: of the libraries whose code shapes a result.
        adversary: the attack whose server misbehaved during the training, or None.
    """

    schema_version: int = SCHEMA_VERSION
    victim: PluginSpec
    protocol: str
    model: str
    model_hash: str
    defense: tuple[PluginSpec, ...]
    data: DataSpec
    data_hash: str
    training: TrainSpec
    seed: int
    device: str
    code: str = ""
    versions: dict[str, str]
    adversary: PluginSpec | None = None

    @model_serializer(mode="wrap")
    def _without_nobody(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An honest server is not mentioned, so that captures made before there were others keep their hashes."""
        found: dict[str, Any] = handler(self)
        return (
            found
            if self.adversary is not None
            else {k: v for k, v in found.items() if k != "adversary"}
        )


class CellSpec(FrozenModel):
    """One cell: victim x protocol x defence x attack x threat model x data x model x seed.

    Attributes:
        code: hash of what chooses targets, runs the attack and scores its claim besides the
            plugins.
    """

    capture: CaptureSpec
    code: str = ""
    attack: AttackSpec
    threat: ThreatModel
    utility: UtilitySpec
    backbones: tuple[str, ...]
    metrics: tuple[PluginSpec, ...]

    @property
    def cell_id(self) -> str:
        """The first 16 hex digits of the content hash."""
        return self.content_hash()[:16]
