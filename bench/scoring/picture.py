"""Draws the PNG of a cell: private records above reconstructions above controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.scoring.controls.images import NEAREST, ORACLE
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch

COLUMNS = 10
"""Most records that a PNG shows."""


@dataclass(frozen=True, eq=False)
class Panel:
    """The pictures of one target, aligned by record."""

    target: str
    truth: ImageBatch
    claim: ImageBatch
    controls: Mapping[str, Estimate]


def _strip(images: ImageBatch, columns: int) -> Tensor:
    """Return the first pictures side by side with white gaps, ``(H, W', 3)``.

    One axis for all of them draws faster than ten axes.
    """
    gap = torch.ones(3, images.size[0], max(2, images.size[1] // 20))
    parts = [part for picture in images.pixels[:columns] for part in (picture, gap)]
    return torch.cat(parts[:-1], 2).permute(1, 2, 0)


def save_picture(path: Path, panels: Sequence[Panel], title: str) -> None:
    """Write a PNG that shows the truth, the claim, the ceiling and the nearest record by target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    strips: list[tuple[str, ImageBatch]] = []
    for panel in panels:
        strips.append((f"private\n{panel.target}", panel.truth))
        strips.append(("attack", panel.claim))
        if ORACLE in panel.controls:
            strips.append(("round trip\n(ceiling)", panel.controls[ORACLE].images))
        strips.append(("nearest\nauxiliary", panel.controls[NEAREST].images))
    columns = min(COLUMNS, len(panels[0].truth))
    figure, axes = pyplot.subplots(
        len(strips), 1, figsize=(columns * 0.9 + 1.2, len(strips) * 0.95 + 0.5), squeeze=False
    )
    for (label, images), axis in zip(strips, axes[:, 0], strict=True):
        axis.imshow(_strip(images, columns).numpy(), interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title, fontsize=10, y=0.98)
    figure.subplots_adjust(hspace=0.06, top=0.95)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of matplotlib in its metadata the file depends on the pictures alone.
    figure.savefig(path, dpi=100, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})
    pyplot.close(figure)
