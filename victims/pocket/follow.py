"""Trains a ControlNet from the pocket model and shows whether it follows hints: ``python -m
victims.pocket.follow``.

The whole, undivided network is trained (victim ``centralised``), then draws pictures for held-out
hints and prompts twice from the same noise: with its control residuals, and without them.
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
from victims.diffusion.parts.sampling import SamplingPlan, sample
from victims.pocket.figures import picture

SHOWN = 8


@dataclass(frozen=True)
class Settings:
    """What is trained on what; the defaults are those of the model card.

    Attributes:
        model: ``pocket`` or a directory in diffusers layout.
        steps: optimiser steps.
        guidance: of the sampler.
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
class Outcome:
    """Pictures and their agreement with the hints, by control scale (0: without ControlNet)."""

    held_out: Records
    samples: dict[float, ImageBatch]
    fidelity: dict[float, dict[str, float]]
    losses: tuple[float, ...]
    seconds: float


def run(s: Settings, progress: Progress) -> Outcome:
    """Train, then draw with and without the trained control."""
    per_epoch = -(-s.records // s.batch_size)
    # A job needs an attack; it is not run.
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
        trained = victim.trained(capture.model_dir, Defense(), spec.protocol, spec.device)
        losses = capture.costs.losses
    how = SamplingPlan(steps=s.sampler_steps, guidance=s.guidance, seed=s.seed)
    samples = {scale: sample(trained, held_out, how, progress, scale=scale) for scale in (0.0, 1.0)}
    hints = held_out.condition_batch()
    fidelity = {
        scale: condition_fidelity(images, hints, spec.data.condition)
        for scale, images in samples.items()
    }
    return Outcome(held_out, samples, fidelity, losses, seconds)


def show(outcome: Outcome, path: Path) -> None:
    """Hints, samples with control, samples without, true pictures: one row each."""

    def pixels(images: ImageBatch) -> Tensor:
        return images.take(slice(SHOWN)).uint8().cpu()

    o = outcome
    rows = (o.held_out.condition_batch(), o.samples[1.0], o.samples[0.0], o.held_out.image_batch())
    picture([pixels(images) for images in rows], path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    d = Settings()
    p = argparse.ArgumentParser(prog="python -m victims.pocket.follow", description=__doc__)
    p.add_argument("--data", default=d.data)
    p.add_argument("--condition", default=d.condition)
    p.add_argument("--model", default=d.model)
    p.add_argument("--records", type=int, default=d.records)
    p.add_argument("--steps", type=int, default=d.steps)
    p.add_argument("--learning-rate", type=float, default=d.learning_rate)
    p.add_argument("--guidance", type=float, default=d.guidance)
    p.add_argument("--grid", type=Path, help="PNG to write")
    chosen = vars(p.parse_args(arguments))
    grid = chosen.pop("grid")
    outcome = run(Settings(**chosen), terminal_progress())
    tenth = max(1, len(outcome.losses) // 10)
    report = {
        "training_seconds": round(outcome.seconds, 1),
        "steps": len(outcome.losses),
        "loss_first": round(sum(outcome.losses[:tenth]) / tenth, 4),
        "loss_last": round(sum(outcome.losses[-tenth:]) / tenth, 4),
        "without_control": {k: round(v, 4) for k, v in outcome.fidelity[0.0].items()},
        "with_control": {k: round(v, 4) for k, v in outcome.fidelity[1.0].items()},
    }
    print(json.dumps(report, indent=2))
    if grid is not None:
        show(outcome, grid)


if __name__ == "__main__":
    main()
