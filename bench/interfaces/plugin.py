"""What every plugin has: a name, typed parameters, and a card that describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.util.errors import RequestError


@dataclass(frozen=True)
class Card:
    """What a plugin is, for ``bench describe`` and the documentation's tables.

    Attributes:
        summary: one sentence.
        source: paper with arXiv id and section or equation, or "this project".
        needs: what must be there for it to work.
        cost: what dominates its run time or bytes.
        notes: caveats a user must know before quoting a number.
    """

    summary: str
    source: str
    needs: str = ""
    cost: str = ""
    notes: str = ""


class Params(BaseModel):
    """Typed, frozen parameters; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


BaseParams = Params  # the module's class, under a name that the class attribute does not hide


class Plugin:
    """Base of every attack, defence, victim, data set and metric.

    A subclass sets ``name`` and ``card`` and may replace ``Params`` with its own subclass.
    """

    name: ClassVar[str]
    card: ClassVar[Card]
    Params: ClassVar[type[BaseParams]] = Params

    def __init__(self, params: BaseParams | None = None) -> None:
        self.params: Any = self.Params() if params is None else params

    @classmethod
    def build(cls, values: dict[str, Any]) -> Any:
        """An instance from plain values, as a command line or a stored spec gives them.

        Raises:
            RequestError: a parameter is unknown or has an impossible value.
        """
        return cls(cls.parse(values))

    @classmethod
    def parse(cls, values: dict[str, Any]) -> BaseParams:
        """Validated parameters.

        Raises:
            RequestError: names the plugin, the parameter and what is wrong with it.
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
