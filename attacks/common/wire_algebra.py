"""What the published wire gives away without a guess: x_t, the noise target, z_c; the pieces
attacks are built of.

Each function reads the target releases, or with ``every`` all releases of the view.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.activation_inverse import inverse_activation
from attacks.common.least_squares import LeastSquares, least_squares
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
    NotApplicableError,
    View,
)


def noisy_latents(view: View, *, every: bool = False) -> LeastSquares:
    """x_t by least squares through the public ``conv_in``, with the noise that h_sd shows.

    Raises:
        NotApplicableError: the weights of ``conv_in`` are not known, or do not let h_sd be
            inverted.
    """
    if view.public.stem is None:
        raise NotApplicableError(
            "the public weights of conv_in are not known under this threat model"
        )
    return least_squares(view.public.stem, view.read(UNET_FEATURES, every=every))


def noise_target(view: View, *, every: bool = False) -> Tensor | None:
    """What the network must predict, ``(R, 4, h, w)``: as sent, or worked out from the feedback of
    a client that keeps the loss, eps_hat - (n / 2) dL/deps_hat for the mean squared error over n
    numbers. None where neither is in view."""
    if not _feedback_is_linear(view.public.defense):
        return None
    if view.has(NOISE_TARGET):
        return view.read(NOISE_TARGET, every=every).float()
    feedback: tuple[Channel, ...] = (PREDICTION_DOWN, LOSS_GRADIENT)
    if not all(view.has(c) for c in feedback):
        return None
    prediction, gradient = (view.read(c, every=every).float() for c in feedback)
    size = torch.tensor(view.batch_sizes(every=every)).view(-1, 1, 1, 1) * prediction[0].numel()
    return prediction - size / 2 * gradient


def condition_latents(view: View, noisy: Tensor, *, every: bool = False) -> Tensor | None:
    """z_c = f^-1(h_ctrl) - x_t under ``no-gradient``, ``(R, 4, h, w)``; None where it cannot be
    read so.

    Where the control branch has noise of its own, of deviation b, in place of x_t, the best linear
    estimate under a unit-variance latent, f^-1(h_ctrl) / (1 + b^2).
    """
    found = masked_condition(view, noisy, every=every)
    return None if found is None else found[0] / (1 + found[1])


def masked_condition(
    view: View, noisy: Tensor, *, every: bool = False
) -> tuple[Tensor, float] | None:
    """The same as it is on the wire, z_c + b e', with b^2, which is 0 where x_t is subtracted."""
    if not view.has(CONTROL_FEATURES) or view.public.protocol != "no-gradient":
        return None
    defense = view.public.defense
    features = before_activation(view.read(CONTROL_FEATURES, every=every), defense)
    if features.shape[1:] != noisy.shape[1:]:
        return None
    for part in () if defense is None else defense.flat():
        if part.name == "decoupled-noise":
            return features, float(part.params.b**2)
    return features - noisy, 0.0


def before_activation(features: Tensor, defense: Defense | None) -> Tensor:
    """h_ctrl before the activation, if the defence has one."""
    if defense is not None and any(part.name == "activation" for part in defense.flat()):
        return inverse_activation(features).float()
    return features.float()


def prompt_states(view: View, *, every: bool = False) -> Tensor | None:
    """States of prompts, ``(R, L, D)``; None where none are in view, or the same is sent for every release."""
    if not view.has(PROMPT_EMBEDDING):
        return None
    states = view.read(PROMPT_EMBEDDING, every=True).float()
    if bool((states == states[:1]).all()):
        return None
    return states if every else states[list(view.targets)]


def pooled_prompts(view: View) -> Tensor | None:
    """Pooled embeddings of the targets' prompts, ``(N, P)``; None where ``prompt_states`` is, or none are in view."""
    if not view.has(POOLED_PROMPT) or prompt_states(view) is None:
        return None
    return view.read(POOLED_PROMPT).float()


def _feedback_is_linear(defense: Defense | None) -> bool:
    """Whether the gradient that a client returns still gives eps by itself, with Gaussian noise or without."""
    parts = () if defense is None else defense.flat()
    return all(
        part.params.feedback in ("plain", "noise")
        for part in parts
        if part.name == "withhold-noise"
    )
