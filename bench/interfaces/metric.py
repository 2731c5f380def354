"""The seam that a metric fills: comparing claims with the truth, record by record."""

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
    """What metrics may compare against besides the truth of the record itself.

    Attributes:
        gallery: true pictures of the scored records, then distractors.
        gallery_identities: who or what each gallery picture shows, None where the data set does not
            say.
        calibration: pictures of yet other records, for thresholds.
        calibration_identities: the same of the calibration pictures.
        backbones: feature extractors, each with a name for the row.
        prompts: true prompts of the scored records, then those of the distractors.
        text: the victim's text encoder with its tokenizer, where it has one.

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
        """``compute()``, or what it gave before for this key: metrics share features of the same
        pictures.

        Put the pictures themselves into the key; batches are told apart by identity.
        """
        if key not in self._known:
            self._known[key] = compute()
        return cast(T, self._known[key])


class Metric(Plugin, ABC):
    """Compares a claim with the truth, record by record."""

    targets: ClassVar[frozenset[str]] = frozenset({"image", "condition"})
    higher_is_closer: ClassVar[bool]  # closer to the truth: the attack did better
    share: ClassVar[bool] = False  # its values are 0 or 1, so that its mean is a share

    @abstractmethod
    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """``(N,)`` float64, one value a record, or None where this claim cannot be scored so."""

    def backbone(self, context: ScoringContext) -> str | None:
        """Name of the feature extractor used, for the row."""
        return None

    def basis(
        self, claim: Estimate, truth: Estimate, context: ScoringContext
    ) -> Mapping[str, float]:
        """Numbers that the values rest on, such as a threshold; the row has each as
        ``<metric>_<key>``.

        Asked only where :meth:`score` gives values.
        """
        return {}

    def unscored(self, context: ScoringContext) -> str | None:
        """Why these data do not support the metric, or None where they do.

        With a reason, :meth:`score` gives None, and the row has the reason as ``<metric>_reason``.
        """
        return None


class TextMetric(Metric):
    """Compares claimed texts with true ones; never sees a picture."""

    targets: ClassVar[frozenset[str]] = frozenset({"prompt"})

    @abstractmethod
    def compare(self, claim: Texts, truth: Texts, context: ScoringContext) -> Tensor | None:
        """``(N,)`` float64, one value a record, or None where this claim cannot be scored so."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        raise BenchError(f"{self.name} compares texts, not pictures")


class AttributeMetric(Metric):
    """Compares claimed attributes with true ones."""

    targets: ClassVar[frozenset[str]] = frozenset({ATTRIBUTE})

    @abstractmethod
    def compare(
        self, claim: AttributeOdds, truth: AttributeOdds, context: ScoringContext
    ) -> Tensor | None:
        """``(N,)`` float64, one value a record, or None where this claim cannot be scored so."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        raise BenchError(f"{self.name} compares attributes, not pictures")


class IdentityMetric(Metric):
    """Compares who is claimed to be shown with who is."""

    targets: ClassVar[frozenset[str]] = frozenset({IDENTITY})

    @abstractmethod
    def compare(
        self, claim: IdentityScores, truth: IdentityScores, context: ScoringContext
    ) -> Tensor | None:
        """``(N,)`` float64, one value a record, or None where this claim cannot be scored so."""

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        raise BenchError(f"{self.name} compares identities, not pictures")
