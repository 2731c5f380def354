"""Claims that are neither pictures nor texts: what a record is like, and who of a gallery it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.util.errors import BenchError


@dataclass(frozen=True, eq=False)
class AttributeOdds:
    """What records are said to be like.

    Attributes:
        values: by attribute, the values it may have.
        odds: by attribute, how likely each value is, ``(N, K)`` non-negative; a true one is
            one-hot, and all zero where the true value is not among ``values``.

    Raises:
        BenchError: the two do not fit each other, nothing is claimed, or a number is not finite.
    """

    values: Mapping[str, tuple[str, ...]]
    odds: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not self.odds or set(self.values) != set(self.odds):
            raise BenchError(
                f"odds of {', '.join(self.odds) or 'nothing'}, but values of {', '.join(self.values)}"
            )
        count = len(self)
        for name, odds in self.odds.items():
            if tuple(odds.shape) != (count, len(self.values[name])):
                raise BenchError(
                    f"odds of {name} are {tuple(odds.shape)}, expected {(count, len(self.values[name]))}"
                )
            if not bool(odds.isfinite().all()):
                raise BenchError(f"odds of {name} are not finite")

    @classmethod
    def one_hot(
        cls, attributes: Sequence[Mapping[str, str]], values: Mapping[str, tuple[str, ...]]
    ) -> AttributeOdds:
        """The true labels of records, among ``values``."""
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
        """Those of the records at ``index``, in that order."""
        return AttributeOdds(
            self.values, {name: odds[list(index)] for name, odds in self.odds.items()}
        )


@dataclass(frozen=True, eq=False)
class IdentityScores:
    """Who of a gallery each record is said to show.

    Attributes:
        likeness: of each record to each candidate, higher is more alike, ``(N, G)``; a true one is
            one-hot.

    Raises:
        BenchError: not a table, or a number is not finite.
    """

    likeness: Tensor

    def __post_init__(self) -> None:
        if self.likeness.ndim != 2 or not bool(self.likeness.isfinite().all()):
            raise BenchError(
                f"a lineup is a table of finite numbers, not {tuple(self.likeness.shape)}"
            )

    @classmethod
    def one_hot(cls, positions: Sequence[int], size: int) -> IdentityScores:
        """The truth: of each record the candidate at its position of a gallery of ``size``."""
        return cls(torch.nn.functional.one_hot(torch.tensor(list(positions)), size).double())

    def __len__(self) -> int:
        return len(self.likeness)

    def take(self, index: Sequence[int]) -> IdentityScores:
        """Those of the records at ``index``, in that order."""
        return IdentityScores(self.likeness[list(index)])

    def ranks(self, truth: IdentityScores) -> Tensor:
        """How many others look at least as much like record i as its own candidate does, ``(N,)``
        int64.

        Ties count against the attacker.

        Raises:
            BenchError: the two are of different galleries or records.
        """
        if self.likeness.shape != truth.likeness.shape:
            raise BenchError(
                f"a lineup of {tuple(self.likeness.shape)} for a truth of {tuple(truth.likeness.shape)}"
            )
        own = self.likeness.gather(1, truth.likeness.argmax(1, keepdim=True))
        return (self.likeness >= own).sum(1) - 1


Fact = AttributeOdds | IdentityScores


def agreement(claim: Fact, truth: Fact) -> Tensor:
    """How well claim j fits record i, ``(N, N)`` float64 in [0, 1].

    Of labels, the mean over attributes of the odds of i's true values; of lineups, the share of
    candidates that j says look less alike than i's own.

    Raises:
        BenchError: the two are not of one kind.
    """
    if isinstance(claim, AttributeOdds) and isinstance(truth, AttributeOdds):
        return torch.stack(
            [truth.odds[n].double() @ claim.odds[n].double().T for n in truth.odds]
        ).mean(0)
    if isinstance(claim, IdentityScores) and isinstance(truth, IdentityScores):
        own = claim.likeness[:, truth.likeness.argmax(1)].T
        return (claim.likeness.unsqueeze(0) < own.unsqueeze(2)).double().mean(2)
    raise BenchError(f"a {type(claim).__name__} and a {type(truth).__name__} cannot agree")
