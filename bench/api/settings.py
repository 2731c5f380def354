"""Settings of a cell as keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bench.planning.settings import Settings, first_fault
from bench.settings.table import SETTINGS
from bench.util.errors import RequestError
from bench.util.text import suggestion


def checked_settings(values: Mapping[str, Any]) -> Settings:
    """Return settings, each by the name of its option on the command line.

    Raises:
        RequestError: a name is unknown, with the nearest known name; or a value is impossible.
    """
    for name in values:
        if name not in SETTINGS:
            raise RequestError(f"there is no setting {name!r}{suggestion(name, SETTINGS)}")
    try:
        return Settings(**values)
    except ValidationError as error:
        raise RequestError(first_fault(error)) from error
