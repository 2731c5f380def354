"""What a suite is: named blocks, each a grid of cells, from a YAML file or from the options of ``bench run``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from bench.planning.yaml_lines import Document, Place, read_yaml
from bench.util.errors import RequestError
from bench.util.frozen_model import FrozenModel
from bench.util.text import suggestion

SHIPPED = Path(__file__).parent / "suites"


class Settings(FrozenModel):
    """Everything of a cell that is not an axis of the grid; None is the default of ``bench run``."""

    model: str | None = None
    data: str | None = None
    condition: str | None = None
    image_size: int | None = Field(default=None, ge=16)
    records: int | None = Field(default=None, ge=2)
    auxiliary: int | None = Field(default=None, ge=2)
    calibration: int | None = Field(default=None, ge=8)
    evaluation: int | None = Field(default=None, ge=2)
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    dtype: Literal["fp32", "bf16"] | None = None
    iterations: int | None = Field(default=None, ge=0)
    attack_batch_size: int | None = Field(default=None, ge=1)
    targets: int | None = Field(default=None, ge=2)
    epoch: int | None = None
    utility_steps: int | None = Field(default=None, ge=1)
    utility_guidance: float | None = Field(default=None, ge=1.0, allow_inf_nan=False)
    device: str | None = None
    backbones: str | None = None

    def given(self) -> dict[str, Any]:
        """The settings that are not left at their default."""
        return {name: value for name, value in self.model_dump().items() if value is not None}

    def under(self, other: Settings) -> Settings:
        """These, where ``other`` says nothing else."""
        return Settings(**{**self.given(), **other.given()})


def _several(value: object) -> object:
    """One value stands for a list of one."""
    return [value] if isinstance(value, str | int | float) else value


def _channels(value: object) -> object:
    """``a,b``, a list or nothing at all, as sorted channels."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return (
        sorted(set(value))
        if isinstance(value, list) and all(isinstance(v, str) for v in value)
        else value
    )


Words = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
Channels = Annotated[tuple[str, ...], BeforeValidator(_channels)]
Views = Annotated[tuple[Channels, ...], BeforeValidator(_several), Field(min_length=1)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_several), Field(min_length=1)
]


@dataclass(frozen=True)
class Point:
    """One combination of a block's axes.

    Attributes:
        protocol: None is the victim's first.
    """

    victim: str
    protocol: str | None
    defense: str
    seed: int
    attack: str
    threat: str
    withhold: tuple[str, ...]


class Exclusion(FrozenModel):
    """Combinations to leave out: those that have one of the values of every axis named."""

    victim: Words | None = None
    protocol: Words | None = None
    defense: Words | None = None
    attack: Words | None = None
    threat: Words | None = None
    withhold: Views | None = None
    seed: Seeds | None = None

    def matches(self, point: Point) -> bool:
        """Whether ``point`` is to be left out."""
        named = {
            axis: values
            for axis in Exclusion.model_fields
            if (values := getattr(self, axis)) is not None
        }
        return bool(named) and all(getattr(point, axis) in values for axis, values in named.items())


class Block(FrozenModel):
    """A grid: every combination of its axes, less what it excludes."""

    attacks: Words
    defenses: Words = ("none",)
    victims: Words = ("split-controlnet",)
    protocols: Words | None = None
    threats: Words = ("server",)
    withhold: Views = ((),)
    seeds: Seeds = (0,)
    settings: Settings = Settings()
    exclude: tuple[Exclusion, ...] = ()

    def points(self) -> Iterator[Point]:
        """The combinations; those that share a capture stand together."""
        axes = (
            *(self.victims, self.protocols or (None,), self.defenses, self.seeds),
            *(self.attacks, self.threats, self.withhold),
        )
        for values in itertools.product(*axes):
            point = Point(*values)
            if not any(exclusion.matches(point) for exclusion in self.exclude):
                yield point


def block_of(axes: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> Block:
    """A block of axes and settings as options give them; an axis without values keeps its default.

    Raises:
        RequestError: a setting is impossible.
    """
    try:
        given = {axis: tuple(values) for axis, values in axes.items() if values}
        return Block.model_validate({**given, "settings": dict(settings)})
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{first['loc'][-1]}: {first['msg'].lower()}") from error


class SuiteFile(FrozenModel):
    """The content of a suite's file.

    Attributes:
        time_limit: seconds that a cell may take, the training of its capture included; None is no
            limit.
        memory_limit: MiB that a cell's process may hold; None is no limit.
    """

    description: str = ""
    settings: Settings = Settings()
    time_limit: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    memory_limit: int | None = Field(default=None, gt=0)
    blocks: dict[str, Block] = Field(min_length=1)


@dataclass(frozen=True)
class Suite:
    """A suite and where it was read.

    Attributes:
        document: None where it was made from options.
    """

    name: str
    content: SuiteFile
    document: Document | None = field(default=None, repr=False)

    def where(self, *place: str | int) -> str:
        """``file, line N: `` of a part; empty where there is no file."""
        return "" if self.document is None else f"{self.document.where(place)}: "


def shipped() -> dict[str, str]:
    """Names of the suites that come with the package, with the first sentence of each."""
    return {
        path.stem: read_suite(path).content.description for path in sorted(SHIPPED.glob("*.yaml"))
    }


def find_suite(name: str) -> Suite:
    """The suite of a file, or a shipped one by its name.

    Raises:
        RequestError: there is none, or it breaks the schema; the sentence names file and line.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return read_suite(path)
    names = [file.stem for file in SHIPPED.glob("*.yaml")]
    if name not in names:
        raise RequestError(
            f"no suite {name!r}{suggestion(name, names)}, or give the path of a .yaml file"
        )
    return read_suite(SHIPPED / f"{name}.yaml")


def read_suite(path: Path) -> Suite:
    """Read and check a suite's file.

    Raises:
        RequestError: it breaks the schema; the sentence names file and line.
    """
    document = read_yaml(path)
    if not isinstance(document.content, dict):
        raise RequestError(f"{document.where(())}: a suite is a mapping with 'blocks'")
    try:
        suite = Suite(path.stem, SuiteFile.model_validate(document.content), document)
    except ValidationError as error:
        raise RequestError(_sentence(document, error)) from error
    for name, block in suite.content.blocks.items():
        _check_exclusions(suite, name, block)
    return suite


def _sentence(document: Document, error: ValidationError) -> str:
    """The first mistake, with its place; a misspelt field tells more than that the right one is missing."""
    found = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    place: Place = first["loc"]
    while place not in document.lines:  # pydantic's way also names the members of unions
        place = place[:-1]
    dotted = ".".join(str(part) for part in place) or "suite"
    if first["type"] == "extra_forbidden":
        known = _known_fields(place[:-1])
        return f"{document.where(place)}: {dotted}: there is no such field{suggestion(str(place[-1]), known)}"
    if first["type"] == "missing":
        return f"{document.where(place)}: {dotted}: {first['loc'][-1]!r} is missing"
    return f"{document.where(place)}: {dotted}: {first['msg'].lower()}"


def _known_fields(place: Place) -> list[str]:
    if place and place[-1] == "settings":
        return list(Settings.model_fields)
    if len(place) >= 2 and place[-2] == "exclude":
        return list(Exclusion.model_fields)
    return list(Block.model_fields if place else SuiteFile.model_fields)


def _check_exclusions(suite: Suite, name: str, block: Block) -> None:
    """An exclusion that leaves nothing out is a slip of the pen."""
    points = list(block.model_copy(update={"exclude": ()}).points())
    for i, exclusion in enumerate(block.exclude):
        if not any(exclusion.matches(point) for point in points):
            raise RequestError(
                f"{suite.where('blocks', name, 'exclude', i)}this exclusion leaves out no cell"
            )
    if not any(True for _ in block.points()):
        raise RequestError(f"{suite.where('blocks', name)}block {name!r} excludes all its cells")
