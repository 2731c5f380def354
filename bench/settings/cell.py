"""The specification of a cell: frozen, typed, with one canonical form and one hash.

Fields with a description are settings of the user: ``bench.settings.table`` names them, and the
options of ``bench run``, the settings of a suite and requests follow from them.
"""

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
        name: name under which the plugin is registered.
        params: every parameter, defaults included.
        label: ``name:key=value,…`` with the parameters that differ from their defaults.
        code: hash of its source, so that a changed plugin is not served from a cache.
    """

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    label: str = ""
    code: str = ""


class DataSpec(FrozenModel):
    """The data set, and how its records are made and divided.

    Attributes:
        condition: the kind of hint images.
        splits: how many records each part gets.
    """

    dataset: PluginSpec
    condition: str = "canny"
    image_size: int = Field(
        default=64, ge=16, description="Pictures have this height and width, in pixels."
    )
    splits: SplitSizes = SplitSizes()


class TrainSpec(FrozenModel):
    """How the victim trains."""

    epochs: int = Field(
        default=5, ge=1, description="The victim trains for this many passes over its records."
    )
    batch_size: int = Field(
        default=8, ge=1, description="Each training step takes this many records."
    )
    learning_rate: float = Field(
        default=5e-4,
        gt=0,
        allow_inf_nan=False,
        description="The optimiser of the training, AdamW, takes this learning rate.",
    )
    dtype: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="The server half computes in this number format (bf16 by autocast).",
    )


class UtilitySpec(FrozenModel):
    """How the trained model's quality is measured.

    Attributes:
        seed: of the sampling noise.
    """

    steps: int = Field(
        default=12, ge=1, description="Each sample for the utility takes this many denoising steps."
    )
    guidance: float = Field(
        default=2.0,
        ge=1.0,
        allow_inf_nan=False,
        description="Samples for the utility take this classifier-free guidance scale; 1 is none.",
    )
    seed: int = 0


class AttackSpec(FrozenModel):
    """The attack, what it may spend, and what it is aimed at."""

    attack: PluginSpec
    iterations: int = Field(ge=0, description="The attack may take this many optimiser steps.")
    batch_size: int = Field(
        default=32, ge=1, description="The attack takes this many records a step."
    )
    targets: int = Field(
        default=64, ge=2, description="The attack claims, and is scored on, this many releases."
    )
    epoch: int = Field(
        default=-1, description="The releases of this epoch are attacked; -1 is the last epoch."
    )


class CaptureSpec(FrozenModel):
    """Everything that shapes a capture: transcript, secrets and trained model.

    Attributes:
        model: name or path of the model that the victim starts from; empty where it takes none.
        model_hash, data_hash: hashes of the model's files and of the records.
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
    def _omit_absent_adversary(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out an adversary that is None: the hash of an honest server names none."""
        fields: dict[str, Any] = handler(self)
        if self.adversary is None:
            del fields["adversary"]
        return fields


class CellSpec(FrozenModel):
    """One cell: victim x protocol x defence x attack x threat model x data x model x seed.

    Attributes:
        backbones: feature extractors of the metrics, as ``role=name``.
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
        """The first 16 hex digits of the content hash, by which the ledger knows the cell."""
        return self.content_hash()[:16]
