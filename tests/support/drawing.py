"""Prints digests of a little of everything that is drawn, as JSON, to compare processors.

``python -m tests.support.drawing`` prints one sha256 for each group of arrays or words; with
``--keep FILE`` it also writes the arrays as a NumPy archive, and with ``--golden`` it rewrites
``tests/golden/drawing.json``. Entries that start with ``library:`` are digests of numbers that
libraries compute inexactly: they show whether a setting reached the code, and may differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.backbones.embedded_backbone import load_embedded
from bench.data.conditions import CHOICES, extract, hints_from_pixels
from bench.data.fill import Fill
from bench.data.photos.dataset import Photos
from bench.data.portraits.dataset import Portraits
from bench.data.portraits.people import person, shot, stream
from bench.data.portraits.render import paint
from bench.interfaces.dataset import Dataset
from bench.planning.planner import Planner
from bench.planning.request import Request
from bench.planning.settings import Settings
from bench.types.records import Records
from bench.util.progress import Silent
from tests.support.paths import ROOT
from victims.pocket import tokenizer as tokens
from victims.pocket.figures import WEIGHTS

Arrays = dict[str, NDArray[Any]]
Words = dict[str, object]

GOLDEN = ROOT / "tests" / "golden" / "drawing.json"
PROCEDURAL = ("canvases", "fill", "gallery", "large portraits", "portraits")
"""First words of the groups that need no file of another package; their digests are committed."""
SIZES = {"records": 16, "auxiliary": 24, "calibration": 8, "evaluation": 16}


def load(dataset: Dataset, limit: int, condition: str, size: int = 64) -> Records:
    return dataset.load(limit, image_size=size, condition=condition, progress=Silent())


def portraits(arrays: Arrays, words: Words) -> None:
    dataset: Portraits = Portraits.build({})
    records = load(dataset, 120, "canny")
    arrays["portraits"] = records.images.numpy()
    arrays |= {f"portraits {name}": extract(name, records.images).numpy() for name in CHOICES}
    arrays["portraits outline"] = hints_from_pixels("outline", records.images).numpy()
    for name in ("segmentation", "depth"):
        arrays[f"portraits {name}"] = load(dataset, 40, name).conditions.numpy()
    # Before rounding to grey levels the smallest difference shows.
    people = [(person(i, 1), shot(i, 0, 1)) for i in range(60)]
    arrays["canvases"] = np.stack(
        [paint(p, s, 64, stream(s.texture_seed, "scene"), None) for p, s in people]
    )
    large = load(dataset, 12, "canny", 128)
    arrays["large portraits"], arrays["large portraits canny"] = (
        large.images.numpy(),
        large.conditions.numpy(),
    )
    gallery = dataset.gallery(["p00000", "p00003"], 20, image_size=64)
    arrays["gallery"] = gallery.images.uint8().numpy()
    words["gallery order"] = gallery.shuffled(0).names
    words["text of portraits"] = text(records)


def fill(arrays: Arrays, words: Words) -> None:
    dataset: Fill = Fill.build({})
    records = load(dataset, 48, "outline")
    arrays["fill"], arrays["fill outline"] = records.images.numpy(), records.conditions.numpy()
    arrays["fill canny"] = extract("canny", records.images).numpy()
    arrays["fill outline found again"] = hints_from_pixels("outline", records.images).numpy()
    words["text of fill"] = text(records)


def photos(arrays: Arrays, words: Words) -> None:
    for name, values in (("photos", {}), ("held-out photos", {"held_out": True})):
        dataset: Photos = Photos.build(values)
        records = load(dataset, 44, "canny")
        arrays[name], arrays[f"{name} canny"] = records.images.numpy(), records.conditions.numpy()
        arrays[f"{name} scribble"] = extract("scribble", records.images).numpy()
        words[f"text of {name}"] = text(records)


def text(records: Records) -> object:
    """What records hold besides pixels, with the prompts as the pocket model takes them."""
    ids = tokens.encode(tokens.load(WEIGHTS / "tokenizer"), list(records.prompts)).tolist()
    return [
        records.ids,
        records.prompts,
        records.identities,
        [dict(a) for a in records.attributes],
        ids,
    ]


def planned() -> Words:
    """Splits, ids and hashes of a small cell on the shipped model."""
    settings = Settings(**SIZES, targets=4, backbones="embedded", device="cpu")
    request = Request(settings=settings)
    job = Planner(Silent()).plan(request)
    return {
        "splits": job.splits.manifest(),
        "cell": job.cell.cell_id,
        "capture": job.cell.capture.content_hash(),
        "model": job.cell.capture.model_hash,
        "backbones": [load_embedded().name, *job.cell.backbones],
    }


def library() -> Words:
    """Bits of functions that processors compute differently."""
    line = np.linspace(-3.0, 3.0, 4099)
    square = line[:4096].reshape(64, 64).astype(np.float32)
    tensor = torch.from_numpy(square)
    return {
        "library:numpy float64": [sha256(f(line)) for f in (np.exp, np.sin, np.arctan)],
        "library:numpy float32": [sha256(f(square)) for f in (np.exp, np.sin)],
        "library:blas": sha256(square @ square),
        "library:libm": [f(float(x)).hex() for f in (math.exp, math.sin, math.atan) for x in line],
        "library:torch": [sha256(f(tensor, dim=1).numpy()) for f in (torch.softmax, torch.sum)],
    }


def sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--golden", action="store_true")
    given = parser.parse_args()
    arrays: Arrays = {}
    words: Words = {}
    for draw in (portraits, fill, photos):
        draw(arrays, words)
    words |= planned() | library()
    assert not set(arrays) & set(words)
    if given.keep is not None:
        np.savez(given.keep, **arrays)
    digests = {name: sha256(array) for name, array in arrays.items()}
    if given.golden:
        committed = {
            name: digest for name, digest in sorted(digests.items()) if name.startswith(PROCEDURAL)
        }
        GOLDEN.write_text(json.dumps(committed, indent=1) + "\n")
    digests |= {
        name: hashlib.sha256(json.dumps(w).encode()).hexdigest() for name, w in words.items()
    }
    print(json.dumps(digests, indent=1))


if __name__ == "__main__":
    main()
