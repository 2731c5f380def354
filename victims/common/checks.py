"""Checks that several victims make of a request and of weights on the wire."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from bench.interfaces import DataError, RequestError, TrainingPlan, Victim

StemT = TypeVar("StemT", bound=nn.Module)


def check_protocol(victim: Victim, protocol: str) -> None:
    """Refuse a protocol that the victim does not have.

    Raises:
        RequestError: lists the protocols of the victim.
    """
    if protocol not in victim.protocols:
        raise RequestError(
            f"victim {victim.name!r} has no protocol {protocol!r}; it has "
            f"{', '.join(victim.protocols)}"
        )


def check_dtype(victim: Victim, plan: TrainingPlan, dtypes: tuple[str, ...] = ("fp32",)) -> None:
    """Refuse a computing type that the victim does not train in.

    Raises:
        RequestError: lists the computing types of the victim.
    """
    if plan.dtype not in dtypes:
        raise RequestError(f"victim {victim.name!r} trains in {' or '.join(dtypes)} only")


def with_client_weights(stem: StemT, weights: Mapping[str, Tensor]) -> StemT:
    """Return a copy of the client's stem with the weights that crossed the wire.

    Raises:
        DataError: the weights do not fit the stem.
    """
    fresh = copy.deepcopy(stem)
    try:
        fresh.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise DataError("the client weights on the wire do not fit this client") from error
    return fresh
