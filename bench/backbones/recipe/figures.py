"""Measures a backbone on people outside its training set.

Run it by ``python -m bench.backbones.recipe.figures [--weights FILE]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.backbones.embedded_backbone import EmbeddedBackbone, load_embedded, read_embedded
from bench.backbones.portrait_attributes import labels
from bench.backbones.recipe.distort import DISTORTIONS, Distortion
from bench.backbones.recipe.train import HELD_OUT_IDENTITY, photos
from bench.metrics.distribution import fid
from bench.metrics.identification import ranks
from bench.metrics.match_threshold import threshold
from bench.metrics.structural_similarity import ssim
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.util.progress import Progress, terminal_progress
from bench.util.rng import generator

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
GALLERY = 100
PROMPTS = 64
SET = 512


def distorted(images: ImageBatch, distortion: Distortion, strength: float) -> ImageBatch:
    """Return the images distorted by one strength, from an equal random state at every strength."""
    level = torch.full((len(images),), strength)
    return ImageBatch(distortion(images.pixels, level, generator(0, "figures")))


def identification(
    backbone: EmbeddedBackbone, first: ImageBatch, second: ImageBatch
) -> dict[str, float]:
    """Measure finding a person among :data:`GALLERY` from another photo, and verification.

    Verification allows 1 % false matches. The result is the mean over all whole galleries that the
    people make; a single gallery varies by 0.03.
    """
    found: dict[str, list[float]] = {}
    for start in range(0, len(first) - GALLERY + 1, GALLERY):
        people = slice(start, start + GALLERY)
        for name, value in _one_gallery(backbone, first.take(people), second.take(people)).items():
            found.setdefault(name, []).append(value)
    return {name: round(sum(values) / len(values), 4) for name, values in found.items()}


def _one_gallery(
    backbone: EmbeddedBackbone, first: ImageBatch, second: ImageBatch
) -> dict[str, float]:
    gallery, query = backbone.embed(first).double(), backbone.embed(second).double()
    found: dict[str, float] = {"identity_top1_other_photo": _share(ranks(query, gallery) == 0)}
    # The gallery has one photo per person, so every pair is of two people.
    limit = threshold(gallery, [None] * len(gallery), 0.01)
    found["identity_verified_at_1pct_fmr"] = _share((query * gallery).sum(dim=1) > limit)
    for name, distortion in DISTORTIONS.items():
        claimed = backbone.embed(distorted(first, distortion, 0.5)).double()
        found[f"identity_top1_same_photo_{name}_0.5"] = _share(ranks(claimed, gallery) == 0)
    return found


def retrieval(
    backbone: EmbeddedBackbone, images: ImageBatch, prompts: tuple[str, ...]
) -> dict[str, float]:
    """Measure finding an image by its prompt and a prompt by its image."""
    pictured, written = (
        backbone.prompt_embed(images).double(),
        backbone.text_embed(prompts).double(),
    )
    return {
        "prompt_to_image_top1": _share(ranks(written, pictured) == 0),
        "image_to_prompt_top1": _share(ranks(pictured, written) == 0),
    }


def ranking(backbone: EmbeddedBackbone, images: ImageBatch) -> dict[str, float]:
    """Measure how often the stronger of two adjacent distortions of an image is further away."""
    found = {}
    for name, distortion in DISTORTIONS.items():
        far = torch.stack(
            [backbone.distance(images, distorted(images, distortion, s)) for s in STRENGTHS]
        )
        found[f"perceptual_order_{name}"] = _share(far[1:] > far[:-1])
    return found


def agreement(backbone: EmbeddedBackbone, images: ImageBatch) -> dict[str, float]:
    """Return the Spearman correlation of the distance with 1 - SSIM and with -PSNR.

    It is taken over all pictures, distortions and strengths. A value below 1 is no fault by itself:
    SSIM and PSNR punish a shift or a change of light that people overlook.
    """
    from scipy.stats import spearmanr

    far, similar, ratio = [], [], []
    for distortion in DISTORTIONS.values():
        for strength in STRENGTHS:
            changed = distorted(images, distortion, strength)
            far.append(backbone.distance(images, changed).double())
            similar.append(ssim(changed, images))
            # PSNR falls as the squared error rises, and only orders count here.
            ratio.append(-(changed.pixels - images.pixels).double().square().mean(dim=(1, 2, 3)))
    distance = torch.cat(far).numpy()
    found = {}
    for name, values in (("ssim", similar), ("psnr", ratio)):
        found[f"perceptual_vs_{name}_spearman"] = round(
            float(-spearmanr(distance, torch.cat(values).numpy())[0]), 4
        )
        within = [
            -spearmanr(a.numpy(), b.numpy())[0]
            for a, b in zip(_sets(far), _sets(values), strict=True)
        ]
        found[f"perceptual_vs_{name}_spearman_within_a_picture"] = round(
            float(sum(within) / len(within)), 4
        )
    return found


def _sets(values: Sequence[Tensor]) -> list[Tensor]:
    """Return the values of each picture under every distortion and strength."""
    return list(torch.stack(list(values), dim=1))


def attribute_accuracy(
    backbone: EmbeddedBackbone, images: ImageBatch, truth: Sequence[Mapping[str, str]]
) -> dict[str, float]:
    """Return the share of pictures whose attribute is read correctly.

    The share of the commonest value is returned beside it.
    """
    found = {}
    wanted = labels(truth)
    for i, (name, probabilities) in enumerate(backbone.attributes(images).items()):
        found[f"attribute_{name}"] = _share(probabilities.argmax(dim=1) == wanted[:, i])
        found[f"attribute_{name}_commonest"] = _share(wanted[:, i] == wanted[:, i].mode().values)
    return found


def spread(
    backbone: EmbeddedBackbone, real: ImageBatch, other: ImageBatch
) -> dict[str, list[float]]:
    """Return the FID between two halves of the people, one of them distorted with rising strength.

    The first value is that without distortion.
    """
    found = {}
    for name, distortion in DISTORTIONS.items():
        values = [fid(real, distorted(other, distortion, s), backbone) for s in (0.0, *STRENGTHS)]
        found[f"fid_{name}"] = [round(v, 2) for v in values]
    return found


def figures(backbone: EmbeddedBackbone, progress: Progress) -> dict[str, Any]:
    """Return all figures by name, on held-out identities."""
    records = photos(HELD_OUT_IDENTITY, SET, 2, progress)
    first, second = _half(records, 0), _half(records, 1)
    named: dict[str, Any] = {
        "backbone": backbone.name,
        "gallery": GALLERY,
        "galleries": SET // GALLERY,
        "prompts": PROMPTS,
        "fid_images": SET // 2,
    }
    named |= identification(backbone, first, second)
    named |= retrieval(backbone, first.take(slice(PROMPTS)), records.prompts[0 : 2 * PROMPTS : 2])
    named |= ranking(backbone, first.take(slice(GALLERY)))
    named |= agreement(backbone, first.take(slice(GALLERY)))
    named |= attribute_accuracy(backbone, first, records.attributes[0::2])
    named |= spread(backbone, first.take(slice(SET // 2)), first.take(slice(SET // 2, SET)))
    rising = {
        name: values == sorted(values) for name, values in named.items() if isinstance(values, list)
    }
    return {**named, "fid_monotonic": all(rising.values())}


def _half(records: Records, photo: int) -> ImageBatch:
    return records.image_batch().take(slice(photo, None, 2))


def _share(hits: Tensor) -> float:
    return round(float(hits.double().mean()), 4)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.backbones.recipe.figures", description=__doc__
    )
    parser.add_argument(
        "--weights", type=Path, default=None, help="a trained file in place of the shipped one"
    )
    chosen = parser.parse_args()
    backbone = read_embedded(chosen.weights) if chosen.weights else load_embedded()
    print(json.dumps(figures(backbone, terminal_progress()), indent=2))


if __name__ == "__main__":
    main()
