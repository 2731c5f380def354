"""What the linear part of a diffusion client's wire says of the private image, beside a search for the rest."""

from __future__ import annotations

import torch

from attacks.closed_form import ClosedForm
from attacks.linear import invert_convolution
from bench.channels import LOSS_GRADIENT, NOISE_TARGET, PREDICTION_DOWN, TIMESTEP, UNET_FEATURES
from bench.errors import NotApplicableError
from bench.interfaces import Budget, Estimate
from bench.progress import Silent
from bench.threat import View


@torch.no_grad()
def image_estimate(view: View) -> Estimate | None:
    """z0 decoded: exact with the noise target (``closed-form``), else the public denoiser's posterior mean.

    None where x_t cannot be read, or neither t nor a noise target is in view.
    """
    public = view.public
    if public.stem is None or not view.has(UNET_FEATURES):
        return None
    told = view.has(NOISE_TARGET) or (view.has(PREDICTION_DOWN) and view.has(LOSS_GRADIENT))
    if not told and view.has(TIMESTEP) and public.denoiser is not None:
        noisy, t = invert_convolution(public.stem, view.read(UNET_FEATURES)), view.read(TIMESTEP)
        latents = public.schedule.clean(noisy, public.denoiser.predict(noisy, t).cpu(), t)
        return Estimate(public.codec.decode(latents), latents)
    try:
        claim = ClosedForm().run(view, rng=torch.Generator(), budget=Budget(0, 1), progress=Silent())
    except NotApplicableError:
        return None
    found = claim.estimates.get("image")
    return found if isinstance(found, Estimate) else None
