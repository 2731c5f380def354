"""What the metrics ask of a feature extractor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from bench.types.images import ImageBatch

EMBEDDED = "embedded-v2"
"""Name of the extractor that this package ships; another training gets another name."""

ROLES = ("identity", "distribution", "perceptual", "prompt")
"""What a run needs an extractor for: the fields of ``BackboneSet``."""


@runtime_checkable
class ImageBackbone(Protocol):
    """An image tower under a name of its own."""

    name: str

    def embed(self, images: ImageBatch) -> Tensor:
        """``(N, D)`` unit-length embeddings, for identification and prompt scores."""


@runtime_checkable
class FeatureBackbone(Protocol):
    """A feature extractor for distribution distances."""

    name: str
    dim: int

    def features(self, images: ImageBatch) -> Tensor:
        """``(N, dim)`` unnormalized features."""


@runtime_checkable
class PerceptualBackbone(Protocol):
    """A perceptual distance."""

    name: str

    def distance(self, first: ImageBatch, second: ImageBatch) -> Tensor:
        """``(N,)`` non-negative; 0 for equal images."""


@runtime_checkable
class PromptBackbone(Protocol):
    """A judge of how well an image fits a prompt."""

    name: str

    def prompt_score(self, images: ImageBatch, prompts: tuple[str, ...]) -> Tensor:
        """``(N,)`` cosine between image and its prompt, in [-1, 1]."""


@runtime_checkable
class TextBackbone(Protocol):
    """A text tower; a prompt backbone may be one."""

    name: str

    def text_embed(self, prompts: tuple[str, ...]) -> Tensor:
        """``(N, D)`` embeddings of prompts."""


@dataclass(frozen=True, eq=False)
class BackboneSet:
    """The extractors of one run; which is which stands in every row."""

    identity: ImageBackbone
    distribution: FeatureBackbone
    perceptual: PerceptualBackbone
    prompt: PromptBackbone
