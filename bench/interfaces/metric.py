"""The contract of a metric: it compares claims with the truth, record by record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from torch import Tensor

from bench.interfaces.plugin import Plugin
from bench.interfaces.public_text import PublicText
from bench.types.estimate import Estimate
from bench.types.facts import AttributeOdds, IdentityScores
from bench.types.images import ImageBatch
from bench.types.targets import ATTRIBUTE, IDENTITY
from bench.types.texts import Texts
from bench.util.errors import BenchError

if TYPE_CHECKING:
    from bench.interfaces.backbone import BackboneSet


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ScoringContext:
    """What a metric may compare with besides the truth of the record itself.

    Attributes:
        gallery: true pictures of the scored records, then distractors.
        gallery_identities: the person or thing that each gallery picture shows; None where the data
            set does not give it.
        calibration: pictures of other records, from which thresholds are set.
        calibration_identities: the person or thing that each calibration picture shows, or None.
        backbones: feature extractors, each with a name for the row.
        prompts: true prompts of the scored records, then those of the distractors.
        text: the text encoder of the victim with its tokenizer, or None.

    Raises:
        BenchError: pictures and identities differ in number.
    """

    gallery: ImageBatch
    gallery_identities: tuple[str | None, ...]
    calibration: ImageBatch
    calibration_identities: tuple[str | None, ...]
    backbones: BackboneSet
    prompts: tuple[str, ...] = ()
    text: PublicText | None = None
    _known: dict[tuple[Hashable, ...], object] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for part, images, identities in (
            ("gallery", self.gallery, self.gallery_identities),
            ("calibration", self.calibration, self.calibration_identities),
        ):
            if len(images) != len(identities):
                raise BenchError(
                    f"scoring: {len(images)} {part} pictures but {len(identities)} identities"
                )

    def once(self, key: tuple[Hashable, ...], compute: Callable[[], T]) -> T:
        """Return ``compute()``, or its earlier result for this key.

        Metrics share features of the same pictures in this way. Put the picture batches themselves
        into the key: two batches are equal keys only if they are one object.
        """
        if key not in self._known:
            self._known[key] = compute()
        return cast(T, self._known[key])


class Metric(Plugin, ABC):
    """Base class of metrics on pictures.

    Attributes:
        targets: the targets whose pictures the metric scores.
        higher_is_closer: whether a higher value means that the claim is closer to the truth, so
            that the attack did better.
        share: whether each value is 0 or 1, so that the mean is a share of the records.
    """

    targets: ClassVar[frozenset[str]] = frozenset({"image", "condition"})
    higher_is_closer: ClassVar[bool]
    share: ClassVar[bool] = False

    @abstractmethod
    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """Return one value per record, ``(N,)`` float64, or None for claims without a score."""

    def backbone(self, context: ScoringContext) -> str | None:
        """Return the name of the feature extractor that the metric uses, for the row, or None."""
        return None

    def basis(
        self, claim: Estimate, truth: Estimate, context: ScoringContext
    ) -> Mapping[str, float]:
        """Return numbers on which the values depend, such as a threshold.

        The row has each of them as ``<metric>_<key>``. The method is called only where
        :meth:`score` gives values.
        """
        return {}

    def unscored(self, context: ScoringContext) -> str | None:
        """Return why the metric cannot be computed on these data, or None where it can.

        Where there is a reason, :meth:`score` returns None, and the row has the reason as
        ``<metric>_reason``.
        """
        return None


class TextMetric(Metric):
    """Base class of metrics that compare claimed texts with true ones and see no picture."""

    targets: ClassVar[frozenset[str]] = frozenset({"prompt"})

    @abstractmethod
    def compare(self, claim: Texts, truth: Texts, context: ScoringContext) -> Tensor | None:
        """Return one value per record, ``(N,)`` float64, or None for claims without a score."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """Refuse pictures."""
        raise BenchError(f"{self.name} compares texts, not pictures")


class AttributeMetric(Metric):
    """Base class of metrics that compare claimed attributes with true ones."""

    targets: ClassVar[frozenset[str]] = frozenset({ATTRIBUTE})

    @abstractmethod
    def compare(
        self, claim: AttributeOdds, truth: AttributeOdds, context: ScoringContext
    ) -> Tensor | None:
        """Return one value per record, ``(N,)`` float64, or None for claims without a score."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """Refuse pictures."""
        raise BenchError(f"{self.name} compares attributes, not pictures")


class IdentityMetric(Metric):
    """Base class of metrics that compare claimed identities with true ones."""

    targets: ClassVar[frozenset[str]] = frozenset({IDENTITY})

    @abstractmethod
    def compare(
        self, claim: IdentityScores, truth: IdentityScores, context: ScoringContext
    ) -> Tensor | None:
        """Return one value per record, ``(N,)`` float64, or None for claims without a score."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """Refuse pictures."""
        raise BenchError(f"{self.name} compares identities, not pictures")
