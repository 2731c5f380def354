"""What every plugin has: a name, typed parameters, and a card that describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.util.errors import RequestError


@dataclass(frozen=True)
class Card:
    """Description of a plugin for ``bench describe`` and the tables of the documentation.

    Attributes:
        summary: one sentence.
        source: paper with arXiv id and section or equation, or "this project".
        needs: what the plugin requires, such as a channel.
        cost: what dominates its run time or bytes.
        notes: caveats that a user must know before quoting a number.
    """

    summary: str
    source: str
    needs: str = ""
    cost: str = ""
    notes: str = ""


class Params(BaseModel):
    """Typed, immutable parameters of a plugin; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


BaseParams = Params  # the module's class, under a name that the class attribute does not hide


class Plugin:
    """Base class of attacks, defences, victims, data sets and metrics.

    A subclass sets ``name`` and ``card`` and may replace ``Params`` by a subclass of it.

    Attributes:
        name: the name of the plugin, equal to that of its entry point.
        card: the description of the plugin.
        Params: the class of the plugin's parameters.
        params: the parameters of this instance.
    """

    name: ClassVar[str]
    card: ClassVar[Card]
    Params: ClassVar[type[BaseParams]] = Params

    def __init__(self, params: BaseParams | None = None) -> None:
        self.params: Any = self.Params() if params is None else params

    @classmethod
    def build(cls, values: dict[str, Any]) -> Any:
        """Return an instance from plain values, as a command line or a stored spec gives them.

        Raises:
            RequestError: a parameter is unknown or has an impossible value.
        """
        return cls(cls.parse(values))

    @classmethod
    def parse(cls, values: dict[str, Any]) -> BaseParams:
        """Return validated parameters from plain values.

        Raises:
            RequestError: a parameter is unknown or invalid; the message names plugin, parameter and
                fault.
        """
        try:
            return cls.Params(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "parameters"
            known = ", ".join(cls.Params.model_fields) or "none"
            raise RequestError(
                f"{cls.name}: {field}: {first['msg'].lower()} (parameters: {known})"
            ) from error
