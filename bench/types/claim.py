"""The claim: what an attack says the secrets behind the target releases are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from bench.types.facts import Fact
from bench.types.texts import Texts

if TYPE_CHECKING:
    from bench.types.links import Links
from bench.types.estimate import Estimate


@dataclass(frozen=True, eq=False)
class Claim:
    """What an attack says the secrets behind the view's target releases are, in their order.

    Attributes:
        estimates: by target: pictures of ``"image"`` and ``"condition"``, texts of ``"prompt"``,
            ``AttributeOdds`` of ``"attribute"``, a ``IdentityScores`` of ``"identity"``. A target left out is not
            claimed.
        diagnostics: numbers the attack wants in its row, such as its final loss; the columns are
            ``attack_*`` (``bench.ledger.diagnostics``).
        labels: where clients learn classes, how much speaks for each class, ``(N, K)``; a plain
            answer is one-hot.
        links: which releases of the view, all of them, are of one record; None is not claimed.
    """

    estimates: Mapping[str, Estimate | Texts | Fact]
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    labels: Tensor | None = None
    links: Links | None = None
