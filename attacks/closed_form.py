"""The closed-form attack: everything the wire gives away exactly (METHODS 3.0)."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.activation_inverse import inverse_activation
from attacks.linear import invert_convolution
from bench.certificate import Certificate
from bench.channels import (
    CONTROL_FEATURES,
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
)
from bench.errors import NotApplicableError
from bench.interfaces import Attack, Budget, Claim, Defense, Estimate
from bench.plugin import Card
from bench.progress import Progress
from bench.schedule import NoiseSchedule
from bench.threat import View


class ClosedForm(Attack):
    """Reads x_t off h_sd, then z0 off x_t and the noise target, then z_c off h_ctrl and x_t.

    1. x_t by least squares through the public ``conv_in``.
    2. z0 = (x_t - b_t eps) / a_t, exact at every t. Where the loss stays on the client, eps is
       eps_hat - (n / 2) dL/deps_hat for the mean squared error over n numbers. Without any eps, the
       best linear estimate under a unit-variance latent: z0 = a_t x_t.
    3. In ``no-gradient``, z_c = f^-1(h_ctrl) - x_t, with f the defence's activation or the identity.
    """

    name = "closed-form"
    requires = frozenset({UNET_FEATURES})
    adapts_to = ("timestep", "activation", "prompt")
    default_budget = Budget(iterations=0, batch_size=64)
    certificates = tuple(
        Certificate("split-controlnet", "no-gradient", target, "ssim", 0.98) for target in ("image", "condition")
    )
    card = Card(
        summary="Solves for the latents behind the wire exactly; no training, no optimisation.",
        source="this project; algebra of the wire of arXiv:2409.08503",
        needs="unet_features; timestep or noise_target for the image; control_features for the condition",
        cost="seconds: one linear solve a record and one decoding",
        notes="The condition is claimed under no-gradient only; elsewhere it passes a trained, non-linear hint block.",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        public = view.public
        if public.stem is None:
            raise NotApplicableError("the public weights of conv_in are not known under this threat model")
        with progress.stage("closed form", 3) as advance:
            noisy = invert_convolution(public.stem, view.read(UNET_FEATURES))
            advance(1)
            estimates = {}
            if (latents := self._image_latents(view, noisy, public.schedule)) is not None:
                estimates["image"] = Estimate(public.codec.decode(latents), latents)
            advance(1)
            if view.has(CONTROL_FEATURES) and public.protocol == "no-gradient":
                latents = self._activation_inverse(view.read(CONTROL_FEATURES), public.defense) - noisy
                estimates["condition"] = Estimate(public.codec.decode(latents), latents)
            advance(1)
        if not estimates:
            raise NotApplicableError("neither a timestep nor a noise target is in view, and no condition features")
        return Claim(estimates)

    def _image_latents(self, view: View, noisy: Tensor, schedule: NoiseSchedule) -> Tensor | None:
        target = _target(view)
        if view.has(TIMESTEP):
            t = view.read(TIMESTEP)
        elif target is not None and schedule.prediction == "epsilon":
            t = _estimate_timestep(noisy, target, schedule)
        else:
            return None
        return schedule.signal(t) * noisy if target is None else schedule.clean(noisy, target, t)

    def _activation_inverse(self, features: Tensor, defense: Defense | None) -> Tensor:
        """h_ctrl before the activation, if the defence has one."""
        if defense is not None and any(part.name == "activation" for part in defense.flat()):
            return inverse_activation(features).float()
        return features.float()


def _target(view: View) -> Tensor | None:
    """The noise target, sent or worked out from the feedback of a client that keeps the loss."""
    if view.has(NOISE_TARGET):
        return view.read(NOISE_TARGET).float()
    feedback: tuple[Channel, ...] = (PREDICTION_DOWN, LOSS_GRADIENT)
    if not all(view.has(c) for c in feedback):
        return None
    prediction, gradient = (view.read(c).float() for c in feedback)
    size = torch.tensor(view.batch_sizes()).view(-1, 1, 1, 1) * prediction[0].numel()
    return prediction - size / 2 * gradient


def _estimate_timestep(noisy: Tensor, noise: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The t whose b_t is nearest to <x_t, eps> / ||eps||^2, ``(N,)`` int64 (METHODS 3.0, step 4)."""
    share = (noisy * noise).flatten(1).sum(1) / noise.square().flatten(1).sum(1)
    levels = (1 - schedule.alphas_cumprod).sqrt().float()
    return (share.unsqueeze(1) - levels.unsqueeze(0)).abs().argmin(1)
