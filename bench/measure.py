"""The seam that a metric fills: comparing claims with the truth, record by record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from bench.errors import BenchError
from bench.facts import Labels, Lineup
from bench.images import ImageBatch
from bench.interfaces import Estimate
from bench.plugin import Plugin
from bench.public_text import PublicText
from bench.targets import ATTRIBUTE, IDENTITY
from bench.wording import Wording

if TYPE_CHECKING:
    from bench.backbones.base import BackboneSet


@dataclass(frozen=True, eq=False)
class ScoringContext:
    """What metrics may compare against besides the truth of the record itself.

    Attributes:
        gallery: true pictures of the scored records, then distractors.
        calibration: pictures of yet other records, for thresholds.
        backbones: feature extractors, each with a name for the row.
        prompts: true prompts of the scored records, then those of the distractors.
        text: the victim's text encoder with its tokenizer, where it has one.
    """

    gallery: ImageBatch
    calibration: ImageBatch
    backbones: BackboneSet
    prompts: tuple[str, ...] = ()
    text: PublicText | None = None
    _known: dict[tuple[Hashable, ...], Tensor] = field(default_factory=dict, repr=False)

    def once(self, key: tuple[Hashable, ...], compute: Callable[[], Tensor]) -> Tensor:
        """``compute()``, or what it gave before for this key: metrics share features of the same pictures.

        Put the pictures themselves into the key; batches are told apart by identity.
        """
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


class Metric(Plugin, ABC):
    """Compares a claim with the truth, record by record."""

    targets: ClassVar[frozenset[str]] = frozenset({"image", "condition"})
    higher_is_closer: ClassVar[bool]  # closer to the truth: the attack did better

    @abstractmethod
    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """``(N,)`` float64, one value a record, or None where this claim cannot be scored so."""

    def backbone(self, context: ScoringContext) -> str | None:
        """Name of the feature extractor used, for the row."""
        return None


class TextMetric(Metric):
    """Compares claimed texts with true ones; never sees a picture."""

    targets: ClassVar[frozenset[str]] = frozenset({"prompt"})

    @abstractmethod
    def compare(self, claim: Wording, truth: Wording, context: ScoringContext) -> Tensor | None:
        """``(N,)`` float64, one value a record, or None where this claim cannot be scored so."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        raise BenchError(f"{self.name} compares texts, not pictures")


class LabelMetric(Metric):
    """Compares claimed attributes with true ones."""

    targets: ClassVar[frozenset[str]] = frozenset({ATTRIBUTE})

    @abstractmethod
    def compare(self, claim: Labels, truth: Labels, context: ScoringContext) -> Tensor | None:
        """``(N,)`` float64, one value a record, or None where this claim cannot be scored so."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        raise BenchError(f"{self.name} compares attributes, not pictures")


class LineupMetric(Metric):
    """Compares who is claimed to be shown with who is."""

    targets: ClassVar[frozenset[str]] = frozenset({IDENTITY})

    @abstractmethod
    def compare(self, claim: Lineup, truth: Lineup, context: ScoringContext) -> Tensor | None:
        """``(N,)`` float64, one value a record, or None where this claim cannot be scored so."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        raise BenchError(f"{self.name} compares identities, not pictures")
