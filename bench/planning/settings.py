"""Settings as users give them: flat, each with the name of its option, and None for its default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeVar

from pydantic import Field, ValidationError, create_model

from bench.settings.table import SETTINGS, Setting
from bench.util.frozen_model import FrozenModel

SpecT = TypeVar("SpecT", bound=FrozenModel)


def first_fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found, after the name of its setting."""
    fault = error.errors()[0]
    return f"{fault['loc'][-1]}: {fault['msg'].lower()}"


class SettingValues(FrozenModel):
    """The methods of :class:`Settings`, whose fields are made from ``bench.settings.table``."""

    def given(self) -> dict[str, Any]:
        """Return the settings that are not left at their default."""
        return {name: value for name, value in self.model_dump().items() if value is not None}

    def under(self, other: SettingValues) -> Settings:
        """Return these settings, replaced by those that ``other`` gives."""
        return Settings(**{**self.given(), **other.given()})

    def build(self, spec: type[SpecT], **fixed: Any) -> SpecT:
        """Return a specification with the settings that are its fields.

        Args:
            spec: such as ``TrainSpec``.
            fixed: fields that are no settings, and defaults that the declaration does not know.

        Raises:
            ValidationError: a field of ``fixed`` is missing or impossible.
        """
        given = self.given()
        values = {
            setting.field: given[name]
            for name, setting in SETTINGS.items()
            if setting.model is spec and name in given
        }
        return spec.model_validate({**fixed, **values})


def _optional(setting: Setting) -> tuple[Any, Any]:
    """Return type and declaration of a setting that may be left at its default, None."""
    info = setting.info
    bounded = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    return Optional[bounded], Field(default=None, description=info.description)  # noqa: UP045


if TYPE_CHECKING:

    class Settings(SettingValues):
        """Every setting of a cell that is not an axis of a grid; None is its default."""

        def __init__(self, **values: Any) -> None: ...

else:
    Settings = create_model(
        "Settings",
        __base__=SettingValues,
        __module__=__name__,
        __doc__="Every setting of a cell that is not an axis of a grid; None is its default.",
        **{name: _optional(setting) for name, setting in SETTINGS.items()},
    )
