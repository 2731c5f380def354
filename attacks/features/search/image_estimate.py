"""The private image from the linear part of a diffusion client's wire, beside a search."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attacks.common.least_squares import invert_convolution
from attacks.common.wire_algebra import noisy_latents
from attacks.features.search.knowledge import Knowledge
from attacks.wire.closed_form import likeliest_image
from bench.interfaces import (
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    TIMESTEP,
    UNET_FEATURES,
    Claim,
    Estimate,
    NotApplicableError,
    View,
)


@torch.no_grad()
def image_estimate(view: View) -> Estimate | None:
    """Return z0 decoded, or None where x_t or the timestep cannot be read.

    With the noise target it is exact (``closed-form``); otherwise it is the public denoiser's
    posterior mean.
    """
    public = view.public
    if public.stem is None or not view.has(UNET_FEATURES):
        return None
    has_target = view.has(NOISE_TARGET) or (view.has(PREDICTION_DOWN) and view.has(LOSS_GRADIENT))
    if not has_target and view.has(TIMESTEP) and public.denoiser is not None:
        noisy, t = invert_convolution(public.stem, view.read(UNET_FEATURES)), view.read(TIMESTEP)
        latents = public.schedule.clean(noisy, public.denoiser.predict(noisy, t).cpu(), t)
        return public.codec.estimate(latents)
    try:
        image = likeliest_image(view, noisy_latents(view), torch.Generator())
    except NotApplicableError:
        return None
    return None if image is None else image[0]


def claim_of(
    view: View, knowledge: Knowledge, inputs: Mapping[str, Tensor], losses: Mapping[str, float]
) -> Claim:
    """Return the claim of inputs ``(T, *shape)``, and of the image where the wire reveals it."""
    estimates = dict(knowledge.forward.estimates(inputs))
    image = image_estimate(view)
    if image is not None:
        estimates["image"] = image
    return Claim(estimates, losses)
