"""Chooses which latents behind a client's features have to be sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.loss_feedback import measured_target
from attacks.common.spectral_prior import Spectrum
from attacks.common.timestep_estimation import likeliest_timesteps
from attacks.common.undo.inverse import first_timestep, simulated_before
from attacks.common.wire_algebra import carrier_of
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
    knowledge: Knowledge,
    spaces: dict[str, Space],
    warm: dict[str, Tensor],
    rng: torch.Generator,
) -> list[UnknownLatent]:
    """Return the latents to walk for: those behind the client's free inputs.

    Args:
        view: what the attacker sees.
        knowledge: what the view holds for a search.
        spaces: by input, the coordinates it is searched in.
        warm: by input, first guesses.
        rng: for the spectrum of auxiliary latents.

    Raises:
        NotApplicableError: the image is one of them, and its timestep cannot be estimated.
    """
    public, blocks = view.public, list[UnknownLatent]()
    if NOISY in knowledge.free:
        measured = measured_target(view)
        target = None if measured is None else measured.values
        variance = 0.0 if measured is None else float(measured.variance.mean())
        if view.has(TIMESTEP):
            times = view.read(TIMESTEP).cpu()
        elif NOISY in warm and (spectrum := Spectrum.from_public(public, rng)) is not None:
            times = likeliest_timesteps(
                warm[NOISY],
                public.schedule,
                spectrum,
                target=target,
                target_variance=variance,
                first=first_timestep(view),
            )
        else:
            raise NotApplicableError(
                "the timestep is hidden; estimating it needs h_sd and 2 auxiliary records"
            )
        shape = (len(view.targets), *knowledge.free[NOISY].shape)
        blocks.append(
            NoisyLatent.from_schedule(NOISY, shape, times, public.schedule, target, variance)
        )
    if CONDITION_LATENTS in knowledge.free and CONTROL_FEATURES in knowledge.observed:
        blocks.append(DirectLatent(CONDITION_LATENTS))
    if (
        CONDITION in knowledge.free
        and CONTROL_FEATURES in knowledge.observed
        and _depends(knowledge)
    ):
        own = public.auxiliary.conditions.float() / 255
        contrast = float(own.var()) if len(own) > 1 else 0.1
        blocks.append(
            PictureLatent(CONDITION, public.codec, spaces[CONDITION], max(contrast, 1e-3))
        )
    return blocks


@torch.no_grad()
def _depends(knowledge: Knowledge) -> bool:
    """Return whether h_ctrl depends on the condition under the client's weights in view.

    It does not where a hint block is still at its start, which is zero.
    """
    inputs = example_inputs(knowledge.forward)
    other = {**inputs, CONDITION: 1 - inputs[CONDITION]}
    first, second = (
        knowledge.forward.send(i, torch.Generator().manual_seed(0))[CONTROL_FEATURES]
        for i in (inputs, other)
    )
    return not torch.equal(first, second)


@torch.no_grad()
def condition_is_solvable(forward: PublicForward, view: View) -> bool:
    """Return whether z_c equals h_ctrl before the known defence minus x_t.

    It counts as equal when the difference consists of random draws of the defence.
    """
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
    before = simulated_before(view.public, CONTROL_FEATURES, first.cpu())
    carrier = carrier_of(view, inputs[NOISY].cpu())[0]
    error = before - carrier - inputs[CONDITION_LATENTS].cpu()
    return float(error.square().mean()) < 1e-4 * float(inputs[CONDITION_LATENTS].square().mean())
