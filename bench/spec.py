"""What a cell is: frozen, typed, with one canonical form and one hash."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from bench.errors import RequestError
from bench.threat import ThreatModel

SCHEMA_VERSION = 1


class Frozen(BaseModel):
    """Immutable, refusing unknown fields, with a canonical JSON form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def canonical(self) -> str:
        """JSON with sorted keys and no blanks: equal specs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def content_hash(self) -> str:
        """sha256 of the canonical form, 64 hex digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


class PluginSpec(Frozen):
    """A plugin with all its parameters resolved.

    Attributes:
        label: ``name:key=value,…`` with the parameters that differ from their defaults.
        code: hash of its source, so that a changed plugin is not served from a cache.
    """

    name: str
    params: dict[str, Any] = {}
    label: str = ""
    code: str = ""


class SplitSizes(Frozen):
    """How many records each disjoint part gets.

    Attributes:
        victim: the client's private records.
        auxiliary: records of the attacker's own.
        calibration: for thresholds.
        evaluation: held out for the trained model's utility, and distractors of the gallery.
    """

    victim: int = Field(default=160, ge=2)
    auxiliary: int = Field(default=384, ge=2)
    calibration: int = Field(default=64, ge=8)
    evaluation: int = Field(default=72, ge=2)

    def total(self) -> int:
        """Records needed for all parts."""
        return self.victim + self.auxiliary + self.calibration + self.evaluation


class DataSpec(Frozen):
    """The data set, and how its records are made and divided."""

    dataset: PluginSpec
    condition: str = "canny"
    image_size: int = Field(default=64, ge=16)
    splits: SplitSizes = SplitSizes()


class TrainSpec(Frozen):
    """How the victim trains."""

    epochs: int = Field(default=5, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    dtype: Literal["fp32", "bf16"] = "fp32"


class UtilitySpec(Frozen):
    """How the trained model's quality is measured."""

    steps: int = Field(default=12, ge=1)
    guidance: float = Field(default=2.0, ge=1.0)
    seed: int = 0


class AttackSpec(Frozen):
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


class CaptureSpec(Frozen):
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
        return found if self.adversary is not None else {k: v for k, v in found.items() if k != "adversary"}


class CellSpec(Frozen):
    """One cell: victim x protocol x defence x attack x threat model x data x model x seed.

    Attributes:
        code: hash of what chooses targets, runs the attack and scores its claim besides the plugins.
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


def parse_plugin(text: str) -> tuple[str, dict[str, Any]]:
    """``name`` or ``name:key=value,key=value``; values are read as JSON where they can be, else as text.

    A list is written in brackets: ``name:groups=[3,4]``, ``name:words=[red,blue]``. A comma, or a ``+`` between
    defences, does not divide what stands in brackets or quotation marks.

    Raises:
        RequestError: a part has no ``=``, the name is empty or a bracket is not closed.
    """
    name, _, rest = text.strip().partition(":")
    if not name:
        raise RequestError(f"{text!r}: a plugin name is missing")
    values: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in _divided(rest, ","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise RequestError(f"{text!r}: {part!r} must be key=value")
        if key.strip() in values:
            raise RequestError(f"{text!r}: {key.strip()!r} is given twice")
        values[key.strip()] = _value(value.strip())
    return name, values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        if text.startswith("[") and text.endswith("]"):
            return [_value(part.strip()) for part in _divided(text[1:-1], ",") if part.strip()]
        return text


_OPEN, _CLOSE = "[{", "]}"


def _divided(text: str, mark: str) -> list[str]:
    """Divide at ``mark`` wherever it stands outside brackets and quotation marks, and is not in a number (``1e+3``).

    Raises:
        RequestError: a bracket is not closed, or never opened.
    """
    parts, begin, depth, quoted = [], 0, 0, False
    for i, sign in enumerate(text):
        if sign == '"' and text[i - 1 : i] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif sign in _OPEN or sign in _CLOSE:
            depth += 1 if sign in _OPEN else -1
            if depth < 0:
                break
        elif sign == mark and not depth and not (mark == "+" and _EXPONENT.search(text[:i])):
            parts.append(text[begin:i])
            begin = i + 1
    if depth:
        raise RequestError(f"{text!r}: brackets do not match")
    return [*parts, text[begin:]]


_EXPONENT = re.compile(r"[=,\[]\s*-?\d+(\.\d*)?[eE]$")


def parse_dataset(text: str) -> tuple[str, dict[str, Any]]:
    """As :func:`parse_plugin`, but ``folder:PATH`` is short for ``folder:path=PATH``.

    Raises:
        RequestError: as ``parse_plugin``.
    """
    name, _, location = text.strip().partition(":")
    if name == "folder" and location and ("=" not in location or Path(location).expanduser().is_dir()):
        return name, {"path": location}
    return parse_plugin(text)


def parse_stack(text: str) -> list[tuple[str, dict[str, Any]]]:
    """``a+b:key=value`` as a list of plugins.

    Raises:
        RequestError: as ``parse_plugin``.
    """
    return [parse_plugin(part) for part in _divided(text, "+")]
