"""Train a ControlNet from the pocket model and measure how well it follows hints.

Run it with ``python -m victims.pocket.follow``. The whole, undivided network is trained (victim
``centralised``). It then samples pictures for held-out hints and prompts twice from equal noise:
with its control residuals, and without them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from bench.interfaces import Defense, ImageBatch, Progress, Records, TrainingPlan
from bench.metrics.fidelity import condition_fidelity
from bench.planning.planner import Planner
from bench.planning.request import Request
from bench.util.progress import terminal_progress
from bench.util.stats import loss_ends
from victims.diffusion.parts.sampling import SamplingPlan, sample
from victims.pocket.figures import picture

GRID_COLUMNS = 8
"""How many records a grid of pictures shows."""


@dataclass(frozen=True)
class FollowSettings:
    """Sets the training and the sampling; the defaults are those of the model card.

    Attributes:
        data: the data set.
        condition: kind of the hints.
        model: ``pocket`` or a directory in diffusers layout.
        records: how many records are trained on.
        held_out: how many records pictures are sampled for.
        steps: optimiser steps.
        batch_size: records in one step.
        learning_rate: learning rate of AdamW.
        sampler_steps: DDIM steps.
        guidance: guidance scale of the sampler.
        seed: seed of training and sampling.
    """

    data: str = "fill"
    condition: str = "auto"
    model: str = "pocket"
    records: int = 800
    held_out: int = 64
    steps: int = 500
    batch_size: int = 8
    learning_rate: float = 1e-3
    sampler_steps: int = 20
    guidance: float = 2.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FollowResult:
    """Holds sampled pictures and their agreement with the hints.

    Attributes:
        held_out: the records whose hints and prompts were used.
        samples: the pictures, by control scale (0 is without ControlNet).
        fidelity: scores of the pictures' agreement with the hints, by control scale.
        losses: the loss of every training step.
        seconds: seconds of the training.
    """

    held_out: Records
    samples: dict[float, ImageBatch]
    fidelity: dict[float, dict[str, float]]
    losses: tuple[float, ...]
    seconds: float


def run(s: FollowSettings, progress: Progress) -> FollowResult:
    """Train a ControlNet, and sample with and without its control residuals."""
    per_epoch = -(-s.records // s.batch_size)
    # A job needs an attack; this one is not run.
    request = Request(victim="centralised", attack="closed-form", seed=s.seed).replace(
        model=s.model,
        data=s.data,
        condition=s.condition,
        records=s.records,
        auxiliary=16,
        calibration=16,
        evaluation=s.held_out,
        epochs=-(-s.steps // per_epoch),
        batch_size=s.batch_size,
        learning_rate=s.learning_rate,
        dtype="fp32",
    )
    job = Planner(progress).plan(request)
    spec = job.cell.capture
    plan = TrainingPlan(
        epochs=spec.training.epochs,
        batch_size=s.batch_size,
        learning_rate=s.learning_rate,
        seed=s.seed,
        device=spec.device,
        dtype="fp32",
    )
    victim: Any = job.new_victim()
    held_out = job.splits.evaluation
    with TemporaryDirectory() as folder:
        began = time.monotonic()
        capture = victim.train(
            job.splits.victim,
            Defense(),
            plan,
            protocol=spec.protocol,
            out=Path(folder),
            progress=progress,
        )
        seconds = time.monotonic() - began
        trained = victim.load_trained(capture.model_dir, Defense(), spec.protocol, spec.device)
        losses = capture.costs.losses
    how = SamplingPlan(steps=s.sampler_steps, guidance=s.guidance, seed=s.seed)
    samples = {scale: sample(trained, held_out, how, progress, scale=scale) for scale in (0.0, 1.0)}
    hints = held_out.condition_batch()
    fidelity = {
        scale: condition_fidelity(images, hints, spec.data.condition)
        for scale, images in samples.items()
    }
    return FollowResult(held_out, samples, fidelity, losses, seconds)


def write_grid(result: FollowResult, path: Path) -> None:
    """Write a PNG with rows of hints, samples with control, samples without, and true pictures."""

    def pixels(images: ImageBatch) -> Tensor:
        return images.take(slice(GRID_COLUMNS)).uint8().cpu()

    r = result
    rows = (r.held_out.condition_batch(), r.samples[1.0], r.samples[0.0], r.held_out.image_batch())
    picture([pixels(images) for images in rows], path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    d = FollowSettings()
    p = argparse.ArgumentParser(prog="python -m victims.pocket.follow", description=__doc__)
    p.add_argument("--data", default=d.data)
    p.add_argument("--condition", default=d.condition)
    p.add_argument("--model", default=d.model)
    p.add_argument("--records", type=int, default=d.records)
    p.add_argument("--steps", type=int, default=d.steps)
    p.add_argument("--learning-rate", type=float, default=d.learning_rate)
    p.add_argument("--guidance", type=float, default=d.guidance)
    p.add_argument("--grid", type=Path, help="PNG file to write a grid of pictures to.")
    chosen = vars(p.parse_args(arguments))
    grid = chosen.pop("grid")
    result = run(FollowSettings(**chosen), terminal_progress())
    loss_first, loss_last = loss_ends(result.losses)
    report = {
        "training_seconds": round(result.seconds, 1),
        "steps": len(result.losses),
        "loss_first": round(loss_first, 4),
        "loss_last": round(loss_last, 4),
        "without_control": {k: round(v, 4) for k, v in result.fidelity[0.0].items()},
        "with_control": {k: round(v, 4) for k, v in result.fidelity[1.0].items()},
    }
    print(json.dumps(report, indent=2))
    if grid is not None:
        write_grid(result, grid)


if __name__ == "__main__":
    main()
