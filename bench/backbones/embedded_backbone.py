"""The backbone that this project includes, so that every metric has a value on a new machine.

It is small and was trained on this project's procedural portraits. Its numbers rank results against
each other under its own name; they are no LPIPS, FID or CLIP score of the literature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from bench.backbones.portrait_attributes import CLASSES, WIDTHS
from bench.backbones.towers import FEATURES, Towers, tokens
from bench.interfaces.backbone import EMBEDDED, BackboneSet
from bench.types.images import ImageBatch
from bench.util.errors import DataError

WEIGHTS = Path(__file__).parent / "weights" / "embedded.safetensors"
TRAINING_COMMAND = "python -m bench.backbones.recipe.train --out DIR"
CHUNK = 64


class EmbeddedBackbone:
    """Identity, distribution, perceptual and prompt backbone in one; computes on the CPU.

    It computes in float32.

    Attributes:
        name: ``embedded-v2``; a new training gets a new name.
        dim: size of the distribution features.
    """

    name = EMBEDDED
    dim = FEATURES

    def __init__(self, towers: Towers) -> None:
        self._towers = towers.float().eval().requires_grad_(False)

    @torch.no_grad()
    def embed(self, images: ImageBatch) -> Tensor:
        """Return unit-length identity embeddings, ``(N, 128)``, alike for photos of one person."""
        tower = self._towers.image
        return _chunked(
            lambda pixels: functional.normalize(tower.person(tower.maps(pixels)[-1]), dim=1), images
        )

    @torch.no_grad()
    def attributes(self, images: ImageBatch) -> dict[str, Tensor]:
        """Return the probabilities of every attribute's values, ``(N, classes)`` by attribute.

        The values are those of ``CLASSES``.
        """
        tower = self._towers.image
        logits = _chunked(
            lambda pixels: torch.cat(tower.attributes(tower.hidden(tower.maps(pixels)[-1])), 1),
            images,
        )
        return {
            name: part.softmax(dim=1)
            for name, part in zip(CLASSES, torch.split(logits, list(WIDTHS), dim=1), strict=True)
        }

    @torch.no_grad()
    def features(self, images: ImageBatch) -> Tensor:
        """Return principal components of channel statistics and of the hidden layer, ``(N, 64)``.

        The statistics are taken at four scales.
        """
        return _chunked(
            lambda pixels: self._towers.features(self._towers.image.maps(pixels)), images
        )

    @torch.no_grad()
    def distance(self, first: ImageBatch, second: ImageBatch) -> Tensor:
        """Return the distance of each pair, ``(N,)`` in [0, 4]; 0 for equal images.

        As in Zhang et al. 2018 (arXiv:1801.03924) without learned weights, channels are scaled to
        unit length at every position, and squared differences averaged over positions, then over
        scales.

        Raises:
            DataError: the two batches differ in number or size.
        """
        one, two = _on_cpu(first), _on_cpu(second)
        if one.shape != two.shape:
            raise DataError(
                f"{self.name}: cannot compare images {tuple(one.shape)} with {tuple(two.shape)}"
            )
        stacked = ImageBatch(torch.stack([one, two], dim=1).flatten(0, 1))
        return _chunked(self._pair_distance, stacked)

    def _pair_distance(self, pixels: Tensor) -> Tensor:
        """Return the distances of neighbours, ``(N / 2,)``."""
        scales = []
        for level in self._towers.image.maps(pixels):
            unit = functional.normalize(level, dim=1)
            scales.append((unit[0::2] - unit[1::2]).square().sum(dim=1).mean(dim=(1, 2)))
        return torch.stack(scales).mean(dim=0)

    @torch.no_grad()
    def prompt_score(self, images: ImageBatch, prompts: tuple[str, ...]) -> Tensor:
        """Return the cosine between each image and its prompt, ``(N,)`` in [-1, 1].

        Raises:
            DataError: images and prompts differ in number.
        """
        if len(images) != len(prompts):
            raise DataError(f"{self.name}: {len(images)} images but {len(prompts)} prompts")
        if not prompts:
            return torch.zeros(0)
        pictured = self.prompt_embed(images)
        cosine: Tensor = (pictured * self.text_embed(prompts)).sum(dim=1)
        return cosine.clamp(-1.0, 1.0)

    @torch.no_grad()
    def prompt_embed(self, images: ImageBatch) -> Tensor:
        """Return unit-length image embeddings in the space of the prompts, ``(N, 128)``."""
        tower = self._towers.image
        return _chunked(lambda pixels: tower.pictured(tower.hidden(tower.maps(pixels)[-1])), images)

    @torch.no_grad()
    def text_embed(self, prompts: tuple[str, ...]) -> Tensor:
        """Return unit-length embeddings of prompts, ``(N, 128)``."""
        return self._towers.text(tokens(prompts)) if prompts else torch.zeros(0, 128)


def _on_cpu(images: ImageBatch) -> Tensor:
    return images.pixels.detach().cpu()


def _chunked(compute: Callable[[Tensor], Tensor], images: ImageBatch) -> Tensor:
    """Apply a network to a bounded number of images at a time; a chunk holds whole pairs."""
    return torch.cat([compute(part) for part in torch.split(_on_cpu(images), CHUNK)])


def embedded_set(backbone: EmbeddedBackbone) -> BackboneSet:
    """Return one backbone in all four roles."""
    return BackboneSet(backbone, backbone, backbone, backbone)


@lru_cache(maxsize=1)
def load_embedded() -> EmbeddedBackbone:
    """Return the included backbone, read once per process.

    Raises:
        DataError: the weights are missing or do not fit; the message says how to make them.
    """
    return read_embedded(WEIGHTS)


def read_embedded(path: Path) -> EmbeddedBackbone:
    """Return an embedded backbone from a file that ``bench.backbones.recipe.train`` wrote.

    Raises:
        DataError: the file is missing, damaged or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise DataError(f"backbone weights {path} are missing; make them with: {TRAINING_COMMAND}")
    try:
        state: Mapping[str, Tensor] = load_file(path)
        with torch.random.fork_rng(devices=[]):
            towers = Towers()
        towers.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"backbone weights {path} cannot be used ({first}); make them with: {TRAINING_COMMAND}"
        ) from error
    return EmbeddedBackbone(towers)
