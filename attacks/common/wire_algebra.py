"""What the published wire shows without a guess: x_t, the noise target and z_c.

Each function reads the target releases, or with ``every`` all releases of the view.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.least_squares import LeastSquares, least_squares
from attacks.common.undo.inverse import known_parts, read_inverted, timesteps_of
from attacks.common.undo.numerical_inverse import made_context
from bench.interfaces import (
    CONTROL_FEATURES,
    LOSS_GRADIENT,
    NOISE_TARGET,
    POOLED_PROMPT,
    PREDICTION_DOWN,
    PROMPT_EMBEDDING,
    UNET_FEATURES,
    Channel,
    Defense,
    LossFeedback,
    NotApplicableError,
    View,
)


def noisy_latents(view: View, *, every: bool = False) -> LeastSquares:
    """Return x_t by least squares through the public ``conv_in``, with the noise of h_sd.

    Raises:
        NotApplicableError: the weights of ``conv_in`` are not known, or do not let h_sd be
            inverted.
    """
    if view.public.stem is None:
        raise NotApplicableError(
            "the public weights of conv_in are not known under this threat model"
        )
    return least_squares(view.public.stem, read_inverted(view, UNET_FEATURES, every=every))


def noise_target(view: View, *, every: bool = False) -> Tensor | None:
    """Return what the network must predict, ``(R, 4, h, w)``; None where it is not in view.

    As it was sent, or from the feedback of a client that keeps the loss, which is
    eps_hat - (n / 2) dL/deps_hat for the mean squared error over n numbers.
    """
    if loss_feedback(view).kind != "linear":
        return None
    if view.has(NOISE_TARGET):
        return read_inverted(view, NOISE_TARGET, every=every)
    feedback: tuple[Channel, ...] = (PREDICTION_DOWN, LOSS_GRADIENT)
    if not all(view.has(c) for c in feedback):
        return None
    prediction = view.read(PREDICTION_DOWN, every=every).float()
    gradient = read_inverted(view, LOSS_GRADIENT, every=every)
    size = torch.tensor(view.batch_sizes(every=every)).view(-1, 1, 1, 1) * prediction[0].numel()
    return prediction - size / 2 * gradient


def condition_latents(view: View, noisy: Tensor, *, every: bool = False) -> Tensor | None:
    """Return z_c under ``no-gradient``, ``(R, 4, h, w)``; None where it cannot be read so.

    That is h_ctrl before the known defence, less x_t. Where the control branch has noise of
    deviation b in place of x_t, it is the best linear estimate under a unit-variance latent,
    h_ctrl / (1 + b^2).
    """
    masked = masked_condition(view, noisy, every=every)
    return None if masked is None else masked[0] / (1 + masked[1])


def masked_condition(
    view: View, noisy: Tensor, *, every: bool = False
) -> tuple[Tensor, float] | None:
    """Return z_c + b e' and b^2, which is 0 where x_t is subtracted; None where h_ctrl is not that.

    Args:
        noisy: x_t of the releases that are read.
    """
    if not view.has(CONTROL_FEATURES) or view.public.protocol != "no-gradient":
        return None
    features = read_inverted(view, CONTROL_FEATURES, every=every)
    if features.shape[1:] != noisy.shape[1:]:
        return None
    carrier, variance = carrier_of(view, noisy, every=every)
    return features - carrier, variance


def carrier_of(view: View, noisy: Tensor, *, every: bool = False) -> tuple[Tensor, float]:
    """Return what the control branch adds z_c to, as far as it is known, and the rest's variance.

    Undefended that is x_t, and 0. A defence that replaces ``control_input`` and does not state its
    noise is run on x_t: what it returns at every run is known, the rest is noise.
    """
    carrier, variance = noisy, 0.0
    for part in known_parts(view):
        noise = part.control_noise()
        if noise is None:
            carrier, unknown = _simulated_carrier(part, carrier, view, every=every)
            variance += unknown
        elif noise > 0:
            carrier, variance = torch.zeros_like(carrier), float(noise**2)
    return carrier, variance


@torch.no_grad()
def _simulated_carrier(
    part: Defense, noisy: Tensor, view: View, *, every: bool
) -> tuple[Tensor, float]:
    """What ``control_input`` keeps of x_t, and the variance of the noise that it draws."""
    times = timesteps_of(view, every=every)
    if times is None or len(times) != len(noisy):
        times = torch.zeros(len(noisy), dtype=torch.long)
    schedule = view.public.schedule
    first, second = (
        part.control_input(noisy, made_context(times, schedule, secret=seed, seed=seed)).float()
        for seed in (1, 2)
    )
    if torch.equal(first, second):
        return first, 0.0
    mean = (first + second) / 2
    share = float((mean * noisy).sum() / noisy.square().sum().clamp_min(1e-12))
    return share * noisy, float((first - share * noisy).square().mean())


def prompt_states(view: View, *, every: bool = False) -> Tensor | None:
    """Return states of prompts, ``(R, L, D)``.

    None where none are in view, or every release has equal ones.
    """
    if not view.has(PROMPT_EMBEDDING):
        return None
    states = view.read(PROMPT_EMBEDDING, every=True).float()
    if bool((states == states[:1]).all()):
        return None
    return states if every else states[list(view.targets)]


def pooled_prompts(view: View) -> Tensor | None:
    """Return pooled embeddings of the targets' prompts, ``(N, P)``.

    None where ``prompt_states`` is, or none are in view.
    """
    if not view.has(POOLED_PROMPT) or prompt_states(view) is None:
        return None
    return view.read(POOLED_PROMPT).float()


def loss_feedback(view: View) -> LossFeedback:
    """Return what the known defence does to the gradient of a client that keeps the loss."""
    stated = (part.loss_feedback() for part in known_parts(view))
    return next((feedback for feedback in stated if feedback is not None), LossFeedback("linear"))
