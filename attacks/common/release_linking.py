"""Links releases of one record across epochs by what stays the same in them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import unfold

from attacks.common.evidence import Evidence
from attacks.common.least_squares import LeastSquares
from attacks.common.loss_feedback import measured_target
from attacks.common.wire_algebra import condition_latents, noisy_latents, prompt_states
from bench.interfaces import CONTROL_FEATURES, TIMESTEP, UNET_FEATURES, View

SOURCES = ("image", "condition", "hint", "prompt")
"""What can stay with a record: z0 and z_c (up to draws), the hint block's answer, the prompt."""


def link(marks: Tensor, epochs: Sequence[int]) -> list[int]:
    """Return a label for each release; releases with equal labels are claimed to be one record's.

    Epoch by epoch, the releases are assigned to the records known so far at the least total
    distance, a record at most once an epoch. An assignment counts if the release is nearer to that
    record than to any other release of its epoch, which is of another record for certain;
    otherwise the release starts a new record. A record's mark is the mean over its releases.

    Args:
        marks: what identifies a record, ``(R, D)``.
        epochs: of each release.
    """
    rows = marks.double()
    labels = [-1] * len(rows)
    means = rows.new_empty(0, rows.shape[1])
    counts = rows.new_empty(0)
    for epoch in sorted(set(epochs)):
        here = [i for i, e in enumerate(epochs) if e == epoch]
        own = torch.cdist(rows[here], rows[here]).fill_diagonal_(float("inf"))
        nearest_other = own.min(1).values
        fresh = set(range(len(here)))
        if len(means):
            distance = torch.cdist(rows[here], means)
            for i, j in zip(*linear_sum_assignment(distance.numpy()), strict=True):
                if distance[i, j] < nearest_other[i]:
                    labels[here[i]] = int(j)
                    means[j] = (means[j] * counts[j] + rows[here[i]]) / (counts[j] + 1)
                    counts[j] += 1
                    fresh.discard(int(i))
        for i in sorted(fresh):
            labels[here[i]] = len(means)
            means = torch.cat([means, rows[here[i]].unsqueeze(0)])
            counts = torch.cat([counts, counts.new_ones(1)])
    return labels


def by_order(epochs: Sequence[int]) -> list[int]:
    """Return one label for the n-th releases of all epochs.

    That is what a client which never shuffles would show.
    """
    seen: dict[int, int] = {}
    labels = []
    for epoch in epochs:
        labels.append(seen.get(epoch, 0))
        seen[epoch] = labels[-1] + 1
    return labels


def marks(
    view: View, sources: Sequence[str] = SOURCES, solved: LeastSquares | None = None
) -> dict[str, Tensor]:
    """Return marks of every release by source, each ``(R, D)`` with unit spread.

    A source that the view lacks is left out.

    Args:
        solved: x_t of every release, where it is known already.
    """
    if (
        solved is None
        and view.has(UNET_FEATURES)
        and view.public.stem is not None
        and set(sources) != {"prompt"}
    ):
        solved = noisy_latents(view, every=True)
    found: dict[str, Tensor | None] = {}
    if solved is not None:
        found["image"] = _image(view, solved)
        found["condition"] = condition_latents(view, solved.inputs, every=True)
        found["hint"] = _hint(view, solved.inputs)
    found["prompt"] = prompt_states(view, every=True)
    return {
        name: _spread(mark.flatten(1).double())
        for name in sources
        if (mark := found.get(name)) is not None
    }


def _spread(mark: Tensor) -> Tensor:
    """Centred and scaled so that the mean squared length is 1."""
    centred = mark - mark.mean(0)
    return centred / centred.square().sum(1).mean().sqrt().clamp_min(1e-12)


def _image(view: View, solved: LeastSquares) -> Tensor | None:
    """z0 where timestep and noise target give it, shrunk where they do so with noise.

    Without the shrinking, noise on late releases, (b / a)^2 times that on the target, would drown
    every other mark.
    """
    target = measured_target(view, every=True)
    if target is None or not view.has(TIMESTEP):
        return None
    times, schedule = view.read(TIMESTEP, every=True).cpu(), view.public.schedule
    latents, precision = Evidence(
        solved.inputs, times, schedule, solved.input_variance, target.values, target.variance
    ).alone()
    return (precision / (1 + precision)).float().view(-1, 1, 1, 1) * latents


def _hint(view: View, noisy: Tensor) -> Tensor | None:
    """Where h_ctrl holds more than a linear map of x_t.

    That is the answer of the hint block to the condition, where the block trains.
    """
    if not view.has(CONTROL_FEATURES) or view.public.protocol == "no-gradient":
        return None
    features = view.read(CONTROL_FEATURES, every=True)
    if features.shape[2:] != noisy.shape[2:]:
        return None
    energy = hint_energy(noisy, features, [release.step for release in view.releases])
    epochs = torch.tensor([release.epoch for release in view.releases])
    for epoch in torch.unique(epochs):
        energy[epochs == epoch] -= energy[epochs == epoch].mean(0)
    return energy


def hint_energy(noisy: Tensor, features: Tensor, steps: Sequence[int]) -> Tensor:
    """Return the length of what h_ctrl holds besides a 3x3 map of x_t, at every place.

    The result is ``(R, h w)`` float64 of mean 1.

    The map, the client's copy of ``conv_in`` as it stands at that step, is found by least squares
    over the step's patches, so no weights are needed. The length stays comparable while the hint
    block's last layer, which starts at zero, turns and grows; what is found in the first steps
    means little.

    Args:
        noisy: x_t, ``(R, 4, h, w)``; features: h_ctrl, ``(R, C, h, w)``.
        steps: of each release; the releases of one step were made with one set of weights.
    """
    step = torch.tensor(list(steps))
    found = torch.empty(len(noisy), noisy[0, 0].numel(), dtype=torch.float64)
    for number in torch.unique(step):
        here = step == number
        patches = unfold(noisy[here].double(), 3, padding=1)
        patches = torch.cat([patches, torch.ones_like(patches[:, :1])], 1)
        answer = features[here].double().flatten(2)
        normal = torch.einsum("nip,njp->ij", patches, patches)
        weights = torch.linalg.lstsq(normal, torch.einsum("nip,ncp->ic", patches, answer)).solution
        left = (answer - torch.einsum("ic,nip->ncp", weights, patches)).norm(dim=1)
        found[here] = left / left.mean().clamp_min(1e-30)
    return found


def link_view(
    view: View, sources: Sequence[str] = SOURCES, solved: LeastSquares | None = None
) -> tuple[list[int] | None, tuple[str, ...]]:
    """Return labels of every release in the view, and the names of the sources in view.

    The labels are None where there is no source.
    """
    found = marks(view, sources, solved)
    if not found:
        return None, ()
    epochs = [release.epoch for release in view.releases]
    return link(torch.cat(list(found.values()), 1), epochs), tuple(found)
