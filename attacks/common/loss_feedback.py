"""What a client that keeps the loss shows of the noise target, as a measurement of known variance.

The server sends eps_hat down and gets something of d = eps_hat - eps back
(``defenses.withhold_noise``). Every kind of feedback becomes a pseudo-target y = eps
+ zeta, with zeta of mean 0 and not correlated with eps given eps_hat. So y is worth what a noisy
target of the same variance is worth, and all that follows from x_t and y together
stays as it is there. With tau^2 = mean d^2, which is the loss, and n numbers a record:

* ``plain``: y = eps_hat - d; variance 0. ``noise``: the same, with the noise's variance.
* ``sign``: s = sign(d) and m = mean |d| come. For normal d, E|d| = tau sqrt(2 / pi), and the
regression of s on d
  (Bussgang's theorem, 1952) gives y = eps_hat - (pi / 2) m s of variance tau^2 (pi / 2 - 1).
  Together with eps_hat itself that is the mean of a half-normal, eps_hat - m s, whose variance is
  tau^2 (1 - 2 / pi).
* ``project``: q = (n / k) P d comes, P on k directions that are not sent. E[q | d] = d, so y =
eps_hat - q, of
  variance tau^2 (n / k - 1); tau^2 is estimated by (k / n) mean q^2. Only the one direction of q is
  known exactly.
* ``clip-noise``: q = d / c + noise clip sqrt(n) eta comes, c >= 1 unknown where the clipping bites.
y = eps_hat - c q
  must have the mean square that the target has, 1, and its noise's; that is a quadratic equation
  for c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.target_noise import target_variance
from attacks.common.wire_algebra import loss_feedback, noise_target
from bench.interfaces import LOSS_GRADIENT, PREDICTION_DOWN, View

# Standard deviations by which a signal must exceed its noise before its scale is read off it.
_DOUBT = 3.0
_UNCLIPPED = 1 - 1e-3  # of the largest norm; a gradient shorter than this came as it was


@dataclass(frozen=True, eq=False)
class MeasuredTarget:
    """Noise targets with independent errors.

    Attributes:
        values: eps (or v) + zeta, ``(R, 4, h, w)`` float32.
        variance: of zeta, ``(R,)`` float64; 0 is exact.
    """

    values: Tensor
    variance: Tensor


def measured_target(view: View, *, every: bool = False) -> MeasuredTarget | None:
    """Return what the network must predict, as far as the wire shows it; None where it does not.

    A kind of feedback that is not linear is read with the defence known only.

    Args:
        every: all releases of the view, or the targets.
    """
    defense, schedule = view.public.defense, view.public.schedule
    plain = noise_target(view, every=every)
    if plain is not None:
        variance = target_variance(plain, defense, schedule)
        return MeasuredTarget(plain, torch.full((len(plain),), variance, dtype=torch.float64))
    feedback = loss_feedback(view)
    if feedback.kind == "linear" or not view.has(PREDICTION_DOWN) or not view.has(LOSS_GRADIENT):
        return None
    prediction, gradient = (
        view.read(c, every=every).float() for c in (PREDICTION_DOWN, LOSS_GRADIENT)
    )
    size = torch.tensor(view.batch_sizes(every=every)).view(-1, 1, 1, 1) * prediction[0].numel()
    sent = size / 2 * gradient
    if feedback.kind == "signs":
        found = from_signs(prediction, sent)
    elif feedback.kind == "projection":
        found = from_projection(prediction, sent, feedback.directions)
    else:
        found = from_clipped(prediction, sent, feedback.clip, feedback.noise)
    return MeasuredTarget(
        found.values, found.variance + target_variance(found.values, defense, schedule)
    )


def from_signs(prediction: Tensor, sent: Tensor) -> MeasuredTarget:
    """Return the target from the signs of d at its mean absolute value.

    Args:
        prediction: eps_hat, ``(R, 4, h, w)``; sent: what came back, in units of the
            target, ``(R, 4, h, w)``.
    """
    mean = sent.abs().flatten(1).mean(1).double()
    return MeasuredTarget(
        prediction - math.pi / 2 * sent, mean.square() * math.pi / 2 * (math.pi / 2 - 1)
    )


def from_projection(prediction: Tensor, sent: Tensor, directions: int) -> MeasuredTarget:
    """Return the target from the unbiased projection of d on unknown directions.

    Arguments are those of ``from_signs``.
    """
    size = sent[0].numel()
    share = min(directions, size) / size
    loss = share * sent.double().square().flatten(1).mean(1)
    return MeasuredTarget(prediction - sent, loss * (1 / share - 1))


def from_clipped(prediction: Tensor, sent: Tensor, clip: float, noise: float) -> MeasuredTarget:
    """Return the target from d clipped to the norm clip sqrt(n), with noise.

    The noise has deviation noise clip sqrt(n) on each number.

    Where the noise drowns d, c is that of a prediction without skill, and the measurement is worth
    next to nothing.
    """
    size = sent[0].numel()
    spread = noise * clip * math.sqrt(size)
    q, guess = sent.double().flatten(1), prediction.double().flatten(1)
    power, cross, own = q.square().mean(1), (q * guess).mean(1), guess.square().mean(1)
    signal = power - spread**2
    scale = _larger_root(signal, cross, own - 1)
    heard = signal > _DOUBT * spread**2 * math.sqrt(2 / size)
    scale = torch.where(heard, scale, (own + 1).sqrt() / clip).clamp_min(1)
    whole = (power.sqrt() < clip * _UNCLIPPED) if noise == 0 else torch.zeros_like(heard)
    scale = torch.where(whole, torch.ones_like(scale), scale)
    # The mean square of n normal numbers misses 1 by sqrt(2 / n); c misses by half of that over
    # mean d^2.
    loss = (scale.square() * signal).clamp_min(1e-8)
    off = torch.where(whole, torch.zeros_like(loss), 1 / (2 * size * loss)).clamp_max(1)
    variance = (scale * spread).square() + torch.where(heard, off, torch.zeros_like(off))
    values = guess - scale.unsqueeze(1) * q
    return MeasuredTarget(values.view_as(prediction).float(), variance)


def _larger_root(a: Tensor, half_b: Tensor, c: Tensor) -> Tensor:
    """The larger c of a c^2 - 2 half_b c + c_0 = 0; the vertex where there is no root."""
    a = a.clamp_min(1e-12)
    return (half_b + (half_b.square() - a * c).clamp_min(0).sqrt()) / a
