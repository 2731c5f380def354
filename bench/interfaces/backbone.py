"""The feature extractors that metrics use, each for one role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from bench.types.images import ImageBatch

EMBEDDED = "embedded-v2"
"""Name of the extractor that this package includes; a new training gets a new name."""

ROLES = ("identity", "distribution", "perceptual", "prompt")
"""The roles of extractors in a run: the fields of ``BackboneSet``."""


@runtime_checkable
class ImageBackbone(Protocol):
    """An image encoder for identification."""

    name: str

    def embed(self, images: ImageBatch) -> Tensor:
        """Return unit-length embeddings, ``(N, D)`` float32."""


@runtime_checkable
class FeatureBackbone(Protocol):
    """A feature extractor for distances between distributions, such as FID."""

    name: str
    dim: int

    def features(self, images: ImageBatch) -> Tensor:
        """Return features, ``(N, dim)`` float32, not normalized."""


@runtime_checkable
class PerceptualBackbone(Protocol):
    """A perceptual distance between two images, such as LPIPS."""

    name: str

    def distance(self, first: ImageBatch, second: ImageBatch) -> Tensor:
        """Return the distance of each pair, ``(N,)``, at least 0; equal images have distance 0."""


@runtime_checkable
class PromptBackbone(Protocol):
    """A measure of how well an image fits a prompt."""

    name: str

    def prompt_score(self, images: ImageBatch, prompts: tuple[str, ...]) -> Tensor:
        """Return the cosine between each image and its prompt, ``(N,)`` in [-1, 1]."""


@runtime_checkable
class TextBackbone(Protocol):
    """A text encoder; a prompt backbone may also be one."""

    name: str

    def text_embed(self, prompts: tuple[str, ...]) -> Tensor:
        """Return embeddings of prompts, ``(N, D)``."""


@dataclass(frozen=True, eq=False)
class BackboneSet:
    """The extractors of one run; every row names the extractor behind each of its scores."""

    identity: ImageBackbone
    distribution: FeatureBackbone
    perceptual: PerceptualBackbone
    prompt: PromptBackbone
