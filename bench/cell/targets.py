"""Choose the releases that an attack has to claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from bench.util.errors import RequestError
from bench.util.rng import generator
from bench.wire.transcript import Release, Transcript

if TYPE_CHECKING:
    from bench.cell.job import Job


def choose_targets(transcript: Transcript, job: Job) -> list[Release]:
    """Draw the releases to be claimed from one epoch, in which each record appears once.

    The draw depends on the transcript and the seed alone, never on the secrets. An update that
    several records went into is taken whole, and updates are added until there are enough records.

    Returns:
        The releases, sorted; at least ``targets`` of the attack's specification, or all there are.

    Raises:
        RequestError: the transcript has no such epoch.
    """
    spec = job.cell.attack
    epochs = transcript.epochs()
    if not epochs:
        return []
    try:
        epoch = epochs[spec.epoch]
    except IndexError as error:
        raise RequestError(
            f"epoch {spec.epoch}: the transcript has epochs 0 to {epochs[-1]}"
        ) from error
    bundles: dict[object, list[Release]] = {}
    for release in transcript.releases(epoch):
        key = release.step if transcript.is_update(release) else release
        bundles.setdefault(key, []).append(release)
    order = torch.randperm(len(bundles), generator=generator(job.cell.capture.seed, "targets"))
    candidates = list(bundles.values())
    chosen: list[Release] = []
    for i in order.tolist():
        if len(chosen) >= spec.targets:
            break
        chosen += candidates[i]
    return sorted(chosen)


def update_groups(transcript: Transcript, targets: Sequence[Release]) -> list[list[int]]:
    """Return the positions of targets that share an update, one list for each update.

    The list is empty where every target has a message row to itself.
    """
    groups: dict[int, list[int]] = {}
    for i, target in enumerate(targets):
        if transcript.is_update(target):
            groups.setdefault(target.step, []).append(i)
    return list(groups.values())
