"""Which timestep a release is of, where the wire does not say."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attacks.common.loss_feedback import MeasuredTarget
from attacks.common.spectral_prior import Spectrum, dct
from attacks.common.undo.inverse import first_timestep
from bench.interfaces import TIMESTEP, NoiseSchedule, View


def sent_or_likeliest_timesteps(
    view: View,
    noisy: Tensor,
    measured: MeasuredTarget | None,
    prior: Spectrum | None,
    *,
    every: bool = False,
) -> Tensor | None:
    """Return the timesteps of releases, ``(R,)`` int64: those that were sent, or the likeliest.

    Args:
        view: what the attacker sees.
        noisy: x_t of the releases, ``(R, 4, h, w)``.
        measured: what the network must predict, or None where it is hidden.
        prior: spectrum of z0, for timesteps that were not sent.
        every: of all releases of the view, or of the targets.

    Returns:
        None where the timesteps were not sent and there is no ``prior``.
    """
    if view.has(TIMESTEP):
        return view.read(TIMESTEP, every=every).cpu()
    if prior is None:
        return None
    return likeliest_timesteps(
        noisy,
        view.public.schedule,
        prior,
        target=None if measured is None else measured.values,
        target_variance=0.0 if measured is None else float(measured.variance.mean()),
        first=first_timestep(view),
    )


def likeliest_timesteps(
    noisy: Tensor,
    schedule: NoiseSchedule,
    prior: Spectrum,
    *,
    target: Tensor | None = None,
    target_variance: float = 0.0,
    first: int = 0,
) -> Tensor:
    """Return argmax_t of the likelihood of x_t and of its target, ``(R,)`` int64.

    The prior over z0 is Gaussian.

    Where eps is known, at any t but the true one white noise is left in x_t - b_t eps, which no
    latent has at high spatial frequencies. Where it is hidden, those frequencies show b_t^2
    directly.

    Args:
        noisy: x_t, ``(R, 4, h, w)``; target: what the network must predict, or None where it is
            hidden.
        target_variance: of noise that the client added to the target; taken as 0 for
            ``v_prediction``.
        first: the smallest t that the client is known to draw.
    """
    x, mean = dct(noisy.double()), dct(prior.mean.double())
    y = None if target is None else dct(target.double())
    variance = prior.variance.double()
    best = torch.full((len(noisy),), -torch.inf, dtype=torch.float64)
    found = torch.full((len(noisy),), first)
    for t, abar in enumerate(schedule.alphas_cumprod.double().tolist()):
        if t < first:
            continue
        a, b = abar**0.5, (1 - abar) ** 0.5
        if y is not None and schedule.prediction == "v_prediction":
            clean, noise = a * x - b * y, b * x + a * y  # a rotation, so of unit volume
            score = _log_density_of_latent(clean - mean, prior) + _log_density(
                noise, torch.ones_like(variance)
            )
        elif y is not None and target_variance == 0:
            score = _log_density_of_latent((x - b * y) / a - mean, prior) - mean.numel() * math.log(
                a
            )
        else:
            known = 0.0 if y is None else b / (1 + target_variance) * y
            left = 1.0 if y is None else target_variance / (1 + target_variance)
            score = _log_density(x - a * mean - known, a**2 * variance + b**2 * left)
        better = score > best
        best, found = torch.where(better, score, best), torch.where(better, t, found)
    return found


def projected_timesteps(noisy: Tensor, noise: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the t whose b_t is nearest to <x_t, eps> / ||eps||^2, ``(R,)`` int64.

    It needs no prior, and is a few steps off.
    """
    share = (noisy * noise).flatten(1).sum(1) / noise.square().flatten(1).sum(1)
    levels = (1 - schedule.alphas_cumprod).sqrt().float()
    return (share.unsqueeze(1) - levels.unsqueeze(0)).abs().argmin(1)


def _log_density_of_latent(values: Tensor, prior: Spectrum) -> Tensor:
    """Log density under the prior with the record's contrast, at its likeliest.

    Otherwise a picture of low contrast would pass for a late t.
    """
    size = values[0].numel()
    contrast = (values.square() / prior.variance).flatten(1).mean(1).clamp_min(1e-300).log()
    return -0.5 * size * contrast - 0.5 * (contrast / prior.spread).square()


def _log_density(values: Tensor, variance: Tensor) -> Tensor:
    """Of independent zero-mean normals, up to a constant, ``(R,)``."""
    return -0.5 * (values.square() / variance).flatten(1).sum(1) - 0.5 * variance.log().sum()
