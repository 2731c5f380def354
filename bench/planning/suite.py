"""A suite: named blocks, each a grid of cells, from a YAML file or the options of ``bench run``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from bench.planning.settings import Settings, first_fault
from bench.planning.yaml_lines import Document, Place, read_yaml
from bench.util.errors import RequestError
from bench.util.frozen_model import FrozenModel
from bench.util.text import suggestion

SHIPPED = Path(__file__).parent / "suites"


def _as_list(value: object) -> object:
    """Return a list with ``value`` where it is a single value."""
    return [value] if isinstance(value, str | int | float) else value


def _channels(value: object) -> object:
    """Return ``a,b``, a list or None as sorted channels."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return (
        sorted(set(value))
        if isinstance(value, list) and all(isinstance(v, str) for v in value)
        else value
    )


Words = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
Channels = Annotated[tuple[str, ...], BeforeValidator(_channels)]
Views = Annotated[tuple[Channels, ...], BeforeValidator(_as_list), Field(min_length=1)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_as_list), Field(min_length=1)
]


@dataclass(frozen=True)
class Point:
    """One combination of the axes of a block.

    Attributes:
        protocol: None is the victim's first.
        withhold: channels that the attacker does not see though they are sent.
    """

    victim: str
    protocol: str | None
    defense: str
    seed: int
    attack: str
    threat: str
    withhold: tuple[str, ...]


AXES: Mapping[str, str] = {
    "attack": "attacks",
    "defense": "defenses",
    "victim": "victims",
    "protocol": "protocols",
    "threat": "threats",
    "withhold": "withhold",
    "seed": "seeds",
}
"""The axes of a grid: by the field of a point, the field of a block."""


class Exclusion(FrozenModel):
    """Combinations to leave out: those with one of the given values on every axis given."""

    victim: Words | None = None
    protocol: Words | None = None
    defense: Words | None = None
    attack: Words | None = None
    threat: Words | None = None
    withhold: Views | None = None
    seed: Seeds | None = None

    def matches(self, point: Point) -> bool:
        """Return whether ``point`` is to be left out."""
        named = {
            axis: values
            for axis in Exclusion.model_fields
            if (values := getattr(self, axis)) is not None
        }
        return bool(named) and all(getattr(point, axis) in values for axis, values in named.items())


class Block(FrozenModel):
    """A grid: every combination of its axes, except those that it excludes."""

    attacks: Words = Field(description="This attack runs: name[:key=value,…].")
    defenses: Words = Field(
        default=("none",),
        description="The victim trains under this defence: name[:key=value,…]; + stacks several.",
    )
    victims: Words = Field(
        default=("split-controlnet",), description="This training pipeline is attacked."
    )
    protocols: Words | None = Field(
        default=None, description="The victim follows this protocol of the wire, such as u-shaped."
    )
    threats: Words = Field(
        default=("server",), description="The attacker follows this threat model."
    )
    withhold: Views = Field(
        default=((),),
        description="The attacker does not see these channels, a,b, though they are sent.",
    )
    seeds: Seeds = Field(default=(0,), description="Training and attack draw from this seed.")
    settings: Settings = Settings()
    exclude: tuple[Exclusion, ...] = ()

    def points(self) -> Iterator[Point]:
        """Yield the combinations; those that share a capture follow each other."""
        axes = (
            *(self.victims, self.protocols or (None,), self.defenses, self.seeds),
            *(self.attacks, self.threats, self.withhold),
        )
        for values in itertools.product(*axes):
            point = Point(*values)
            if not any(exclusion.matches(point) for exclusion in self.exclude):
                yield point


def block_of(axes: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> Block:
    """Return a block of axes and settings; an axis without values keeps its default.

    Raises:
        RequestError: a setting is impossible.
    """
    try:
        given = {axis: tuple(values) for axis, values in axes.items() if values}
        return Block.model_validate({**given, "settings": dict(settings)})
    except ValidationError as error:
        raise RequestError(first_fault(error)) from error


class SuiteFile(FrozenModel):
    """The content of a suite's file.

    Attributes:
        description: one sentence, which ``bench ls suites`` shows.
        settings: for every block, where the block does not give others.
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
    """A suite, and the file that it was read from.

    Attributes:
        document: None where it was made from options.
    """

    name: str
    content: SuiteFile
    document: Document | None = field(default=None, repr=False)

    def where(self, *place: str | int) -> str:
        """Return ``file, line N: `` of a part; empty where there is no file."""
        return "" if self.document is None else f"{self.document.where(place)}: "


def suite_of_options(axes: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> Suite:
    """Return a suite of one block, with every combination of the given values.

    Raises:
        RequestError: a setting is impossible.
    """
    return Suite("options", SuiteFile(blocks={"options": block_of(axes, settings)}))


def shipped() -> dict[str, str]:
    """Return the suites that come with the package, with their descriptions by name."""
    return {
        path.stem: read_suite(path).content.description for path in sorted(SHIPPED.glob("*.yaml"))
    }


def find_suite(name: str) -> Suite:
    """Return the suite of a file, or a shipped suite by its name.

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
    """Return the first mistake with its place; a misspelt field goes before a missing one."""
    mistakes = error.errors()
    first = next((one for one in mistakes if one["type"] == "extra_forbidden"), mistakes[0])
    place: Place = first["loc"]
    while place not in document.lines:  # pydantic also names the members of unions
        place = place[:-1]
    dotted = ".".join(str(part) for part in place) or "suite"
    if first["type"] == "extra_forbidden":
        known = _known_fields(place[:-1])
        hint = suggestion(str(place[-1]), known)
        return f"{document.where(place)}: {dotted}: there is no such field{hint}"
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
    """Refuse an exclusion that excludes nothing, and a block without cells.

    Raises:
        RequestError: names file and line.
    """
    points = list(block.model_copy(update={"exclude": ()}).points())
    for i, exclusion in enumerate(block.exclude):
        if not any(exclusion.matches(point) for point in points):
            raise RequestError(
                f"{suite.where('blocks', name, 'exclude', i)}this exclusion leaves out no cell"
            )
    if not any(True for _ in block.points()):
        raise RequestError(f"{suite.where('blocks', name)}block {name!r} excludes all its cells")
