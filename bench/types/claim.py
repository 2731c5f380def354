"""The claim: what an attack asserts about the secrets behind the target releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from bench.types.estimate import Estimate
from bench.types.facts import Fact
from bench.types.texts import Texts

if TYPE_CHECKING:
    from bench.types.links import Links


@dataclass(frozen=True, eq=False)
class Claim:
    """What an attack asserts about the target releases of a view, in their order.

    Attributes:
        estimates: by target, ``Estimate`` for ``"image"`` and ``"condition"``, ``Texts`` for
            ``"prompt"``, ``AttributeOdds`` for ``"attribute"``, ``IdentityScores`` for
            ``"identity"``. A target without an entry is not claimed.
        diagnostics: numbers that the attack adds to its row, such as its final loss, in the columns
            ``attack_*`` (``bench.ledger.diagnostics``).
        labels: where clients learn classes, the evidence for each class, ``(N, K)``; a plain answer
            is one-hot.
        links: which releases of the whole view are of one record, or None for no such claim.
    """

    estimates: Mapping[str, Estimate | Texts | Fact]
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    labels: Tensor | None = None
    links: Links | None = None
