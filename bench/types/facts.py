"""Claims that are neither images nor texts: a record's attributes, and the person that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.util.errors import BenchError


@dataclass(frozen=True, eq=False)
class AttributeOdds:
    """How likely each value of each attribute is for each record.

    Attributes:
        values: the possible values of each attribute.
        odds: by attribute, how likely each value is, ``(N, K)``, at least 0. The true odds are
            one-hot, or all zero where the true value is not among ``values``.

    Raises:
        BenchError: ``values`` and ``odds`` do not match, there is no attribute, or a number is not
            finite.
    """

    values: Mapping[str, tuple[str, ...]]
    odds: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not self.odds or set(self.values) != set(self.odds):
            raise BenchError(
                f"odds of {', '.join(self.odds) or 'nothing'}, "
                f"but values of {', '.join(self.values)}"
            )
        count = len(self)
        for name, odds in self.odds.items():
            if tuple(odds.shape) != (count, len(self.values[name])):
                raise BenchError(
                    f"odds of {name} are {tuple(odds.shape)}, "
                    f"expected {(count, len(self.values[name]))}"
                )
            if not bool(odds.isfinite().all()):
                raise BenchError(f"odds of {name} are not finite")

    @classmethod
    def one_hot(
        cls, attributes: Sequence[Mapping[str, str]], values: Mapping[str, tuple[str, ...]]
    ) -> AttributeOdds:
        """Return the true odds of records, over the given ``values``."""
        odds = {
            name: torch.tensor(
                [[float(row.get(name) == value) for value in known] for row in attributes]
            ).view(len(attributes), len(known))
            for name, known in values.items()
        }
        return cls(dict(values), odds)

    def __len__(self) -> int:
        return len(next(iter(self.odds.values())))

    def take(self, index: Sequence[int]) -> AttributeOdds:
        """Return the odds of the records at ``index``, in that order."""
        return AttributeOdds(
            self.values, {name: odds[list(index)] for name, odds in self.odds.items()}
        )


@dataclass(frozen=True, eq=False)
class IdentityScores:
    """How much each record resembles each candidate of a gallery.

    Attributes:
        likeness: similarity of each record to each candidate, ``(N, G)``; higher is more alike. The
            true scores are one-hot.

    Raises:
        BenchError: ``likeness`` is not two-dimensional, or a number is not finite.
    """

    likeness: Tensor

    def __post_init__(self) -> None:
        if self.likeness.ndim != 2 or not bool(self.likeness.isfinite().all()):
            raise BenchError(
                "identity scores must be a table (N, G) of finite numbers, "
                f"not {tuple(self.likeness.shape)}"
            )

    @classmethod
    def one_hot(cls, positions: Sequence[int], size: int) -> IdentityScores:
        """Return the true scores of records that show the candidates at ``positions``.

        Args:
            positions: position of each record's candidate in the gallery.
            size: number of candidates, G.
        """
        return cls(torch.nn.functional.one_hot(torch.tensor(list(positions)), size).double())

    def __len__(self) -> int:
        return len(self.likeness)

    def take(self, index: Sequence[int]) -> IdentityScores:
        """Return the scores of the records at ``index``, in that order."""
        return IdentityScores(self.likeness[list(index)])

    def ranks(self, truth: IdentityScores) -> Tensor:
        """Return how many others resemble record i at least as much as its true candidate.

        The ranks are ``(N,)`` int64, 0 for the best. Ties count against the attacker.

        Raises:
            BenchError: the two differ in their number of records or candidates.
        """
        if self.likeness.shape != truth.likeness.shape:
            raise BenchError(
                f"identity scores of {tuple(self.likeness.shape)} for a truth of "
                f"{tuple(truth.likeness.shape)}"
            )
        own = self.likeness.gather(1, truth.likeness.argmax(1, keepdim=True))
        return (self.likeness >= own).sum(1) - 1


Fact = AttributeOdds | IdentityScores
"""A claim or truth about attributes or identities."""


def agreement(claim: Fact, truth: Fact) -> Tensor:
    """Return how well claim j fits record i, ``(N, N)`` float64 in [0, 1].

    For attributes, this is the mean odds of the true values of record i; for identities, the share
    of candidates that claim j ranks below the true candidate of record i.

    Raises:
        BenchError: the two are of different kinds.
    """
    if isinstance(claim, AttributeOdds) and isinstance(truth, AttributeOdds):
        return torch.stack(
            [truth.odds[n].double() @ claim.odds[n].double().T for n in truth.odds]
        ).mean(0)
    if isinstance(claim, IdentityScores) and isinstance(truth, IdentityScores):
        own = claim.likeness[:, truth.likeness.argmax(1)].T
        return (claim.likeness.unsqueeze(0) < own.unsqueeze(2)).double().mean(2)
    raise BenchError(f"a {type(claim).__name__} and a {type(truth).__name__} cannot agree")
