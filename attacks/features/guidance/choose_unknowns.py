"""Which latents are behind a client's features, and whether they have to be searched for."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.loss_feedback import measured_target
from attacks.common.spectral_prior import Spectrum
from attacks.common.timestep_estimation import likeliest_timesteps
from attacks.common.wire_algebra import before_activation
from attacks.features.guidance.unknown_latents import (
    DirectLatent,
    NoisyLatent,
    PictureLatent,
    UnknownLatent,
)
from attacks.features.search.coordinates import Space
from attacks.features.search.knowledge import Knowledge, example_inputs
from bench.interfaces import CONTROL_FEATURES, TIMESTEP, NotApplicableError, PublicForward, View
from bench.interfaces.public_forward import CONDITION, CONDITION_LATENTS, NOISY


def choose_unknowns(
    view: View,
    seen: Knowledge,
    spaces: dict[str, Space],
    warm: dict[str, Tensor],
    rng: torch.Generator,
) -> list[UnknownLatent]:
    """The latents to walk for, of the inputs that are free.

    Raises:
        NotApplicableError: the image is one of them, and its timestep cannot be told.
    """
    public, blocks = view.public, list[UnknownLatent]()
    if NOISY in seen.free:
        measured = measured_target(view)
        target = None if measured is None else measured.values
        variance = 0.0 if measured is None else float(measured.variance.mean())
        if view.has(TIMESTEP):
            times = view.read(TIMESTEP).cpu()
        elif NOISY in warm and (spectrum := Spectrum.of(public, rng)) is not None:
            times = likeliest_timesteps(
                warm[NOISY], public.schedule, spectrum, target=target, target_variance=variance
            )
        else:
            raise NotApplicableError(
                "the timestep is hidden, and h_sd and 2 auxiliary records are needed to tell it"
            )
        shape = (len(view.targets), *seen.free[NOISY].shape)
        blocks.append(
            NoisyLatent.from_schedule(NOISY, shape, times, public.schedule, target, variance)
        )
    if CONDITION_LATENTS in seen.free and CONTROL_FEATURES in seen.observed:
        blocks.append(DirectLatent(CONDITION_LATENTS))
    if CONDITION in seen.free and CONTROL_FEATURES in seen.observed and _depends(seen):
        own = public.auxiliary.conditions.float() / 255
        contrast = float(own.var()) if len(own) > 1 else 0.1
        blocks.append(
            PictureLatent(CONDITION, public.codec, spaces[CONDITION], max(contrast, 1e-3))
        )
    return blocks


@torch.no_grad()
def _depends(seen: Knowledge) -> bool:
    """Whether h_ctrl depends on the condition under the client's weights in view: a hint block starts at zero."""
    inputs = example_inputs(seen.forward)
    other = {**inputs, CONDITION: 1 - inputs[CONDITION]}
    first, second = (
        seen.forward.send(i, torch.Generator().manual_seed(0))[CONTROL_FEATURES]
        for i in (inputs, other)
    )
    return not torch.equal(first, second)


@torch.no_grad()
def condition_is_solvable(forward: PublicForward, view: View) -> bool:
    """Whether z_c is what is left of h_ctrl without activation and x_t, exactly or but for draws of the defence."""
    inputs = example_inputs(forward)
    if CONDITION_LATENTS not in inputs:
        return False
    first, second = (
        forward.send(inputs, torch.Generator().manual_seed(seed)).get(CONTROL_FEATURES)
        for seed in (0, 1)
    )
    if first is None or second is None:
        return False
    if not torch.equal(first, second):
        return True
    off = before_activation(first, view.public.defense) - inputs[NOISY] - inputs[CONDITION_LATENTS]
    return bool(off.square().mean() < 1e-4 * inputs[CONDITION_LATENTS].square().mean())
