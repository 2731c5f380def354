"""The photographs that scikit-image, scikit-learn and matplotlib install.

``python -m bench.data.photos.photographs DIR`` writes them as a folder for ``--data folder:DIR``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

PROMPTS = {
    "astronaut": "a photo of an astronaut",
    "cat": "a photo of a cat",
    "cells": "a photo of cells",
    "coffee": "a photo of a cup of coffee",
    "flower": "a photo of a flower",
    "hopper": "a photo of an officer",
    "hubble": "a photo of galaxies",
    "motorcycle": "a photo of a motorcycle",
    "retina": "a photo of a retina",
    "rocket": "a photo of a rocket",
    "temple": "a photo of a temple",
}
"""The colour photographs."""
GREY_PROMPTS = {
    "brick": "a black and white photo of bricks",
    "camera": "a black and white photo of a man with a camera",
    "coins": "a black and white photo of coins",
    "grass": "a black and white photo of grass",
    "gravel": "a black and white photo of gravel",
    "moon": "a black and white photo of the moon",
}
POCKET_TRAINING = (
    "astronaut",
    "coffee",
    "rocket",
    "hubble",
    "retina",
    "cells",
    "motorcycle",
    "flower",
)
"""Photographs on which the pocket model was pre-trained; their order determines its crops."""

_SKIMAGE = {
    "cat": "chelsea",
    "hubble": "hubble_deep_field",
    "cells": "immunohistochemistry",
    "motorcycle": "stereo_motorcycle",
}
_SKLEARN = {"flower": "flower.jpg", "temple": "china.jpg"}


def photograph(name: str) -> NDArray[np.uint8]:
    """Return one of ``PROMPTS`` or ``GREY_PROMPTS``, ``(H, W, 3)`` uint8.

    Raises:
        KeyError: the name is unknown.
    """
    loaded: Any
    if name not in PROMPTS | GREY_PROMPTS:
        raise KeyError(name)
    if name in _SKLEARN:
        from sklearn.datasets import load_sample_image

        loaded = load_sample_image(_SKLEARN[name])
    elif name == "hopper":
        from matplotlib import cbook
        from PIL import Image

        loaded = np.asarray(
            Image.open(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))).convert(
                "RGB"
            )
        )
    else:
        from skimage import data

        loaded = getattr(data, _SKIMAGE.get(name, name))()
        # The motorcycle is a stereo pair with its disparity.
        loaded = loaded[0] if isinstance(loaded, tuple) else loaded
    pixels = np.asarray(loaded)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3], dtype=np.uint8)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write the colour photographs and their metadata.jsonl into FOLDER."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, prompt in PROMPTS.items():
        Image.fromarray(photograph(name)).save(folder / f"{name}.png")
        lines.append(json.dumps({"file_name": f"{name}.png", "text": prompt, "identity": name}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    click.echo(f"{len(lines)} photographs in {folder}")


if __name__ == "__main__":
    main()
