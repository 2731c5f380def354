"""The diffusion-prior attack: the likeliest record, given all its noisy releases."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from attacks.common.denoising import DiffusionPrior, Way, denoise
from attacks.common.evidence import Evidence
from attacks.common.least_squares import LeastSquares
from attacks.common.loss_feedback import measured_target
from attacks.common.own_latents import draw_variance
from attacks.common.release_linking import link_view
from attacks.common.spectral_prior import Spectrum
from attacks.common.timestep_estimation import sent_or_likeliest_timesteps
from attacks.common.undo.inverse import known_parts
from attacks.common.undo.view import without_known_defenses
from attacks.common.wire_algebra import noisy_latents, pooled_prompts, prompt_states
from attacks.wire.parts.condition_posterior import Kind, condition_evidence, denoise_condition
from bench.interfaces import (
    TIMESTEP,
    UNET_FEATURES,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Certificate,
    Claim,
    NotApplicableError,
    Params,
    Progress,
    View,
)


class PosteriorParams(Params):
    """How the evidence is summed and denoised.

    Attributes:
    mode: ``tweedie`` is the UNet's posterior mean, one call a record; ``ddim`` walks down to t = 0
    by the deterministic
        sampler (arXiv:2010.02502); ``samples`` is the mean of several random walks of the same;
        ``wiener`` uses no UNet but the spectrum of auxiliary latents.
    releases: at most so many of a record's releases are put together, its own first, then those
    nearest in time. steps: of a walk. samples: walks, for ``samples``. condition: the prior of the
    condition's latent where noise masks it: ``wiener`` is the spectrum of the auxiliary
        records' conditions, ``patches`` their small patches, ``unet`` the public model, which knows
        pictures.
    """

    mode: Literal["tweedie", "ddim", "samples", "wiener"] = "tweedie"
    releases: int = Field(default=64, ge=1)
    steps: int = Field(default=20, ge=1)
    samples: int = Field(default=8, ge=1)
    condition: Kind = "patches"


class Posterior(Attack):
    """Denoises x_t with the public diffusion model, after a mean over the record's releases.

    1. x_t by least squares, t read or estimated, releases linked
    (``attacks.common.release_linking``). 2. z_ML = sum(a_i / b_i^2 x_i) / S with S = sum of SNR_i,
    whose error has variance 1 / S; noise targets in view,
       with separate noise or without, are one more measurement each
       (``attacks.common.evidence``). Feedback of a client that keeps the loss is such a measurement
       too (``attacks.common.loss_feedback``).
    3. From a_eq z_ML at the t_eq of SNR S, the posterior mean of z0 under the model, or a walk to t
    = 0. 4. In ``no-gradient``, z_c: read where x_t masks it, else summed over the releases and
    denoised with a prior of
       conditions (``attacks.wire.parts.condition_posterior``).
    """

    name = "posterior"
    Params = PosteriorParams
    requires = frozenset({UNET_FEATURES})
    uses_history = True
    default_budget = Budget(iterations=0, batch_size=64)
    budget_axis = BudgetAxis("releases", (1, 2, 4, 8, 64))
    certificates = tuple(
        Certificate("split-controlnet", "no-gradient", target, "ssim", 0.95)
        for target in ("image", "condition")
    )
    card = Card(
        summary="Denoises image and masked condition with priors, after averaging all "
        "releases of the record.",
        source="this project; Tweedie's formula; DDIM, arXiv:2010.02502",
        needs="unet_features; the public UNet; two auxiliary records where the timestep is hidden",
        cost="one UNet call a record; ddim: one a step; one linear solve a release of every epoch",
        notes="Made for hidden noise targets; with an exact target it is closed-form. "
        "Tweedie's estimate has the least "
        "squared error and is smooth; ddim is sharper and further off. The "
        "condition is claimed in no-gradient; condition= is its prior.",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        public = view.public
        denoiser = public.denoiser
        if denoiser is None and self.params.mode != "wiener":
            raise NotApplicableError(
                "the public diffusion model is not known under this threat model"
            )
        with progress.stage("collecting evidence", 3) as advance:
            view = without_known_defenses(view)
            solved = noisy_latents(view, every=True)
            advance(1)
            prior = (
                Spectrum.from_public(public, rng)
                if self.params.mode == "wiener" or not view.has(TIMESTEP)
                else None
            )
            evidence = evidence_of(view, solved, prior, rng)
            advance(1)
            groups = record_groups(view, solved, self.params.releases)
            latents, precision = evidence.fused(groups)
            advance(1)
        if self.params.mode == "wiener":
            if prior is None:
                raise NotApplicableError("needs at least 2 auxiliary records for the spectrum")
            clean = prior.wiener(latents, precision)
        else:
            assert denoiser is not None
            way = Way(self.params.mode, self.params.steps, self.params.samples)
            with progress.stage("denoising", len(latents)) as advance:
                clean = denoise(
                    DiffusionPrior(
                        denoiser, public.schedule, prompt_states(view), pooled_prompts(view)
                    ),
                    latents,
                    precision,
                    way,
                    rng=rng,
                    batch_size=budget.batch_size,
                    advance=advance,
                )
        estimates = {"image": public.codec.estimate(clean)}
        if (masked := condition_evidence(view, solved, rng)) is not None:
            found = denoise_condition(
                *masked.fused(groups),
                self.params.condition,
                public,
                rng=rng,
                batch_size=budget.batch_size,
            )
            estimates["condition"] = public.codec.estimate(found)
        return Claim(
            estimates,
            diagnostics={
                "releases_fused": sum(map(len, groups)) / len(groups),
                "snr_total": float(precision.clamp_max(1e4).mean()),
                "latent_noise": float(solved.input_variance.mean().sqrt()),
            },
        )


def record_groups(view: View, solved: LeastSquares, releases: int) -> list[list[int]]:
    """Return the releases of every target's record, its own first, at most so many.

    The target alone where nothing links.
    """
    own = list(view.targets)
    labels = (
        link_view(view, solved=solved)[0]
        if releases > 1 and len(view.releases) > len(own)
        else None
    )
    if labels is None:
        return [[i] for i in own]
    of_label: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        of_label.setdefault(label, []).append(i)
    found = []
    for i in own:
        at = view.releases[i].epoch
        near = sorted(
            of_label[labels[i]], key=lambda j: (j != i, abs(view.releases[j].epoch - at), j)
        )
        found.append(near[:releases])
    return found


def evidence_of(
    view: View, solved: LeastSquares, prior: Spectrum | None, rng: torch.Generator
) -> Evidence:
    """Return what all releases in the view show of z0, given x_t of each.

    Args:
        prior: needed where the timestep is hidden.

    Raises:
        NotApplicableError: the timestep is hidden, and there is no ``prior``.
    """
    schedule, noisy = view.public.schedule, solved.inputs
    measured = measured_target(view, every=True)
    target, eta = (
        (None, torch.zeros(1)) if measured is None else (measured.values, measured.variance)
    )
    times = sent_or_likeliest_timesteps(view, noisy, measured, prior, every=True)
    if times is None:
        raise NotApplicableError(
            "the timestep is hidden, and 2 auxiliary records are needed to estimate it"
        )
    fresh = view.public.defense is not None and all(
        part.keeps_noise() is False for part in known_parts(view)
    )
    return Evidence(
        noisy,
        times,
        schedule,
        solved.input_variance,
        target,
        eta,
        draw_variance(view.public, "image_latents", rng),
        may_share_noise=not fresh,
    )
