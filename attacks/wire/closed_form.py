"""The closed-form attack: everything the wire gives away exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.evidence import Evidence
from attacks.common.least_squares import LeastSquares
from attacks.common.loss_feedback import measured_target
from attacks.common.spectral_prior import Spectrum
from attacks.common.timestep_estimation import projected_timesteps, sent_or_likeliest_timesteps
from attacks.common.undo.view import without_known_defenses
from attacks.common.wire_algebra import condition_latents, noisy_latents
from bench.interfaces import (
    TIMESTEP,
    UNET_FEATURES,
    Attack,
    Budget,
    Card,
    Certificate,
    Claim,
    Estimate,
    NotApplicableError,
    Progress,
    View,
)


class ClosedForm(Attack):
    """Reads x_t off h_sd, then z0 off x_t and the noise target, then z_c off h_ctrl and x_t.

    1. x_t by least squares through the public ``conv_in`` over the whole map; what no x_t explains
    tells the noise that
       the client put on h_sd, or the rounding of a quantised wire.
    2. t as sent, or the likeliest one under the spectrum of the attacker's own latents.
    3. z0 = (x_t - b_t eps) / a_t, exact at every t. Where the loss stays on the client, eps is
       eps_hat - (n / 2) dL/deps_hat for the mean squared error over n numbers. From noised targets
       or features the best linear estimate under a unit-variance latent, S / (1 + S) of the
       likeliest z0 with precision S (``attacks.common.evidence``); without any eps that is a_t x_t.
    4. In ``no-gradient``, z_c = f^-1(h_ctrl) - x_t, with f the defence's activation or the
    identity.
    """

    name = "closed-form"
    requires = frozenset({UNET_FEATURES})
    default_budget = Budget(iterations=0, batch_size=64)
    certificates = tuple(
        Certificate("split-controlnet", "no-gradient", target, "ssim", 0.98)
        for target in ("image", "condition")
    )
    card = Card(
        summary="Solves for the latents behind the wire exactly; no training, no optimisation.",
        source="this project; algebra of the wire of arXiv:2409.08503",
        needs="unet_features; timestep or noise_target for the image; control_features for "
        "the condition",
        cost="seconds: one linear solve a record and one decoding",
        notes="The condition is claimed under no-gradient only; elsewhere it passes a "
        "trained, non-linear hint block. "
        "Its row has attack_feature_noise and attack_latent_noise, the noise found on h_sd "
        "and left on x_t. One "
        "release a record; posterior adds up those of all epochs. A hidden timestep is found "
        "to some 20 steps of 1000, "
        "which leaves a small error of the picture's contrast.",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        public = view.public
        with progress.stage("closed form", 3) as advance:
            view = without_known_defenses(view)
            solved = noisy_latents(view)
            advance(1)
            diagnostics = {
                "feature_noise": float(solved.feature_variance.mean().sqrt()),
                "latent_noise": float(solved.input_variance.mean().sqrt()),
            }
            estimates = {}
            if (found := likeliest_image(view, solved, rng)) is not None:
                estimates["image"], precision = found
                diagnostics["snr"] = float(precision.clamp_max(1e4).mean())
            advance(1)
            if (condition := condition_latents(view, solved.inputs)) is not None:
                estimates["condition"] = public.codec.estimate(condition)
            advance(1)
        if not estimates:
            raise NotApplicableError(
                "neither a timestep nor a noise target is in view, and no condition features"
            )
        return Claim(estimates, diagnostics)


def likeliest_image(
    view: View, solved: LeastSquares, rng: torch.Generator
) -> tuple[Estimate, Tensor] | None:
    """Return the best linear estimate of z0, decoded, and its precision ``(N,)``.

    None where neither a timestep nor a noise target is in view.
    """
    found = _image_latents(view, solved, rng)
    if found is None:
        return None
    latents, precision = found
    shrunk = (precision / (1 + precision)).float().view(-1, 1, 1, 1) * latents
    return view.public.codec.estimate(shrunk), precision


def _image_latents(
    view: View, solved: LeastSquares, rng: torch.Generator
) -> tuple[Tensor, Tensor] | None:
    """The likeliest z0 and its precision; None without a timestep and a noise target."""
    schedule, noisy = view.public.schedule, solved.inputs
    measured = measured_target(view)
    target, noise = (
        (None, torch.zeros(1)) if measured is None else (measured.values, measured.variance)
    )
    prior = None
    if not view.has(TIMESTEP):
        if target is None:
            return None
        prior = Spectrum.from_public(view.public, rng)
    times = sent_or_likeliest_timesteps(view, noisy, measured, prior)
    if times is None:
        if target is None or schedule.prediction != "epsilon":
            return None
        times = projected_timesteps(noisy, target, schedule)
    return Evidence(noisy, times, schedule, solved.input_variance, target, noise).alone()
