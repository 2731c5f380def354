"""A restartable training loop with a budget in steps and in minutes."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SAVE_SECONDS = 150.0
LOG_EVERY = 25

Loss = Callable[[int, torch.Generator], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Plan:
    """Sets how long and how one stage trains.

    Attributes:
        steps: optimiser steps.
        minutes: wall-clock limit. The learning rate falls to zero at the limit that is reached
            first.
        learning_rate: peak of the cosine schedule.
        warmup: steps of linear rise.
        ema: decay of the averaged weights; 0 keeps no average.
        seed: seed of every draw; a restarted run repeats the draws of an uninterrupted run.
    """

    steps: int
    minutes: float
    learning_rate: float
    warmup: int = 100
    ema: float = 0.0
    seed: int = 0

    def fraction(self, step: int, elapsed: float) -> float:
        """Return the spent share of the budget."""
        return min(1.0, max(step / self.steps, elapsed / (60.0 * self.minutes)))

    def rate(self, step: int, elapsed: float) -> float:
        """Return the learning rate at ``step`` after ``elapsed`` seconds."""
        rise = min(1.0, (step + 1) / max(1, min(self.warmup, self.steps // 10)))
        return (
            self.learning_rate
            * rise
            * (0.5 + 0.5 * math.cos(math.pi * self.fraction(step, elapsed)))
        )


@dataclass(frozen=True)
class Compute:
    """Sets the batch size, the device and the computing type of a stage.

    Attributes:
        batch_size: examples in one step.
        device: device of the networks.
        bf16: whether to compute in bfloat16 by autocast.
    """

    batch_size: int
    device: str
    bf16: bool

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bf16)


class Average:
    """Keeps an exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = dict(module.named_parameters())
        self.values = {k: p.detach().clone() for k, p in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the current weights, faster in the first steps."""
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.values.values()), [p.detach() for p in self._live.values()], 1 - keep
        )


def is_finished(folder: Path) -> bool:
    """Return whether the stage in ``folder`` has spent its budget."""
    state = folder / "state.json"
    return state.exists() and bool(json.loads(state.read_text(encoding="utf-8"))["done"])


def load(folder: Path, module: nn.Module, *, averaged: bool = False) -> None:
    """Load the weights of the last checkpoint, or their average, into ``module``."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    name = "average.safetensors" if averaged else "weights.safetensors"
    module.load_state_dict(load_file(folder / state["checkpoint"] / name), strict=not averaged)


def fit(
    module: nn.Module,
    loss: Loss,
    plan: Plan,
    folder: Path,
    *,
    on_save: Callable[[], None] | None = None,
    stop_at: int | None = None,
) -> None:
    """Train ``module`` in place, from the last checkpoint in ``folder`` if there is one.

    Args:
        module: the networks.
        loss: maps step and generator to named losses; ``"loss"`` is minimised.
        plan: how long and how to train.
        folder: folder of the checkpoints and of the loss curve.
        on_save: called after every checkpoint.
        stop_at: the step at which to pause without counting the stage as done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    average = Average(module, plan.ema) if plan.ema else None
    step, spent = _restore(folder, module, optimizer, average)
    started = saved = time.monotonic()
    module.train()
    with (folder / "losses.jsonl").open("a", encoding="utf-8") as log:
        while True:
            elapsed = spent + time.monotonic() - started
            done = plan.fraction(step, elapsed) >= 1.0
            paused = stop_at is not None and step >= stop_at
            if done or paused or time.monotonic() - saved > SAVE_SECONDS:
                _save(folder, module, optimizer, average, step, elapsed, done)
                if on_save is not None:
                    on_save()
                    module.train()
                saved = time.monotonic()
            if done or paused:
                return
            rate = plan.rate(step, elapsed)
            for group in optimizer.param_groups:
                group["lr"] = rate
            rng = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
            values = loss(step, rng)
            optimizer.zero_grad(set_to_none=True)
            values["loss"].backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            if average is not None:
                average.update(step)
            if step % LOG_EVERY == 0 or step == 1:
                row = {k: round(float(v.detach()), 6) for k, v in values.items()}
                row |= {
                    "step": step,
                    "seconds": round(elapsed, 1),
                    "rate": rate,
                    "norm": round(float(norm), 4),
                }
                log.write(json.dumps(row) + "\n")
                log.flush()


def _restore(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None
) -> tuple[int, float]:
    path = folder / "state.json"
    if not path.exists():
        return 0, 0.0
    state = json.loads(path.read_text(encoding="utf-8"))
    checkpoint = folder / state["checkpoint"]
    module.load_state_dict(load_file(checkpoint / "weights.safetensors"))
    if average is not None:
        stored = load_file(checkpoint / "average.safetensors")
        for name, value in average.values.items():
            value.copy_(stored[name])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in load_file(checkpoint / "optimizer.safetensors").items():
        index, key = name.split(".", 1)
        moments.setdefault(int(index), {})[key] = value
    if moments:
        optimizer.load_state_dict(
            {"state": moments, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    return int(state["step"]), float(state["seconds"])


def _save(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    step: int,
    elapsed: float,
    done: bool,
) -> None:
    """Write a new checkpoint, point the state file at it, and delete older checkpoints."""
    checkpoint = folder / f"step-{step:07d}"
    checkpoint.mkdir(exist_ok=True)
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()},
        checkpoint / "weights.safetensors",
    )
    state = optimizer.state_dict()["state"]
    moments = {
        f"{i}.{k}": v.detach().cpu().contiguous()
        for i, values in state.items()
        for k, v in values.items()
    }
    save_file(moments, checkpoint / "optimizer.safetensors")
    if average is not None:
        save_file(
            {k: v.cpu().contiguous() for k, v in average.values.items()},
            checkpoint / "average.safetensors",
        )
    words = {
        "step": step,
        "seconds": round(elapsed, 1),
        "done": done,
        "checkpoint": checkpoint.name,
    }
    fresh = folder / "state.json.new"
    fresh.write_text(json.dumps(words), encoding="utf-8")
    fresh.replace(folder / "state.json")
    for old in folder.glob("step-*"):
        if old != checkpoint:
            shutil.rmtree(old)
