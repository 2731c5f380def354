"""Guided sampling with the public diffusion model as a prior (DRAG, arXiv:2509.11724)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from attacks.common.attack_run import AttackRun
from attacks.common.least_squares import LeastSquares
from attacks.common.spectral_prior import Spectrum
from attacks.common.wire_algebra import (
    condition_latents,
    noisy_latents,
)
from attacks.features.guidance.choose_unknowns import choose_unknowns, condition_is_solvable
from attacks.features.guidance.feature_guide import FeatureGuide, GuidePlan
from attacks.features.guidance.latent_priors import condition_prior, image_prior
from attacks.features.guidance.sampler import (
    GaussianEvidence,
    NoGuide,
    SamplerPlan,
    Step,
    mean_walk,
)
from attacks.features.search.coordinates import SearchInputs, mean_condition, spaces_of
from attacks.features.search.knowledge import knowledge_of, noisy_is_solvable
from attacks.wire.posterior import evidence_of, record_groups
from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    TIMESTEP,
    UNET_FEATURES,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Certificate,
    Claim,
    Denoiser,
    Estimate,
    NotApplicableError,
    Params,
    Progress,
    PublicClient,
    PublicForward,
    View,
)
from bench.interfaces.public_forward import CONDITION, CONDITION_LATENTS, NOISY


class GuidedParams(Params):
    """Parameters of ``guided``.

    Attributes:
        steps: levels of the walk from noise to a clean latent.
        recurrences: visits of each level.
        step: how the guide acts: ``proximal`` replaces the denoiser's guess, ``spherical`` uses the
            slope through the denoiser, as DRAG does.
        ratio: how far ``spherical`` turns a step's noise: 0 not at all, 1 wholly.
        clip: slope from which ``spherical`` turns the noise by all of ``ratio``
            (``attacks.features.guidance.sampler.SamplerPlan``).
        eta: noise of a step: 0 is the deterministic walk, 1 ancestral sampling.
        strength: share of all levels that is walked; below 1 the walk starts from the linear
            estimate (DRAG++).
        samples: walks, whose mean is claimed.
        searches: steps of the search for inputs that explain the features, at each level.
        rate: first step size of that search.
        tolerance: expected error of the features, over their root mean square.
        tv: weight of squared total variation in that search.
        condition_prior: prior of hints: ``spectrum`` is a Gaussian estimated from the auxiliary
            conditions, ``denoiser`` is the public model.
        releases: most releases of a record that are combined where h_sd is sent plainly.
    """

    steps: int = Field(default=4, ge=1)
    recurrences: int = Field(default=1, ge=1)
    step: Step = "spherical"
    ratio: float = Field(default=0.2, ge=0, le=1)
    clip: float = Field(default=0.02, gt=0)
    eta: float = Field(default=1.0, ge=0, le=1)
    strength: float = Field(default=1.0, gt=0, le=1)
    samples: int = Field(default=1, ge=1)
    searches: int = Field(default=20, ge=1)
    rate: float = Field(default=0.1, gt=0)
    tolerance: float = Field(default=0.02, gt=0)
    tv: float = Field(default=0.0, ge=0)
    condition_prior: Literal["spectrum", "denoiser"] = "spectrum"
    releases: int = Field(default=64, ge=1)


class Guided(Attack):
    """Draws latents from the public model's prior, guided by the features in view.

    1. Where h_sd is the output of ``conv_in``, x_t of every release is solved for and is Gaussian
       evidence of z0. The likelihood's score is then exact, and the walk draws from the posterior
       (``attacks.features.guidance.sampler``).
    2. Where the known defence cut, rounded or filtered h_sd, x_t is searched for through the
       defence. The prior is a Gaussian around the denoiser's guess in which eps is integrated out;
       z0 follows from x_t.
    3. The condition's latent is computed by algebra where possible. Otherwise it is searched for
       through the defence, or as a picture through the hint block, together with z0 where x_t is
       not known.
    """

    name = "guided"
    Params = GuidedParams
    uses_history = True
    default_budget = Budget(iterations=0, batch_size=64)
    budget_axis = BudgetAxis("steps", (1, 2, 4, 8, 16))
    certificates = tuple(
        Certificate("split-controlnet", "no-gradient", target, "ssim", 0.95)
        for target in ("image", "condition")
    )
    card = Card(
        summary=(
            "Samples latents from the public diffusion model, guided to those that explain all "
            "features in view."
        ),
        source=("DRAG, arXiv:2509.11724; DAPS, arXiv:2407.01521; evidence by levels: this project"),
        needs=(
            "unet_features or control_features; the public UNet; a timestep, or h_sd and two "
            "auxiliary records"
        ),
        cost="steps x recurrences x samples UNet calls per record; spherical: their slopes too",
        notes=(
            "Where x_t can be solved for, this attack draws from the posterior whose mean "
            "posterior claims at a fraction of the cost: a draw has up to twice the squared error, "
            "and samples averages the difference away. The attack is made for defences that cut, "
            "round or filter h_sd, with one release per record. A stack of defences that also "
            "draws noise is treated as noise alone. Behind a hint block it needs client_weights, "
            "as reconstruction does."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        client, denoiser = view.public.client, view.public.denoiser
        if client is None or denoiser is None:
            raise NotApplicableError(
                "the client half or the diffusion model is not known under this threat model"
            )
        if not (view.has(UNET_FEATURES) or view.has(CONTROL_FEATURES)):
            raise NotApplicableError("no features are in view")
        if view.has(CLIENT_WEIGHTS):
            client = client.with_weights(view.parts(CLIENT_WEIGHTS)[-1].tensors)
        forward = client.forward(view.public.auxiliary.images.shape[-1])
        if NOISY not in forward.inputs():
            raise NotApplicableError(
                "this client adds no noise to a latent, so there is no latent to sample"
            )
        run = AttackRun.on_view(view, rng, budget, progress)
        p: GuidedParams = self.params
        plan = SamplerPlan(
            *(p.steps, p.recurrences, p.step, p.ratio, p.clip, p.eta),
            strength=p.strength,
            samples=p.samples,
            batch_size=budget.batch_size,
        )
        sampling = _Sampling(view, client, forward, denoiser, plan, run)
        plain = (
            view.public.stem is not None
            and view.has(UNET_FEATURES)
            and noisy_is_solvable(forward, view.public)
        )
        solved = noisy_latents(view, every=True) if plain else None
        estimates: dict[str, Estimate] = {}
        diagnostics: dict[str, float] = {}
        if solved is not None:
            self._by_evidence(sampling, solved, estimates, diagnostics)
        self._by_features(sampling, solved, estimates, diagnostics)
        if not estimates:
            raise NotApplicableError(
                "the image needs a timestep, or auxiliary records to estimate it from; and the "
                "condition's features are not in view, or do not depend on the condition under the "
                "client weights in view"
            )
        return Claim(estimates, diagnostics)

    def _by_evidence(
        self,
        sampling: _Sampling,
        solved: LeastSquares,
        estimates: dict[str, Estimate],
        diagnostics: dict[str, float],
    ) -> None:
        """Claim the image from x_t of every release, and the condition where algebra gives it."""
        view, rng = sampling.view, sampling.run.rng
        spectrum = None if view.has(TIMESTEP) else Spectrum.from_public(view.public, rng)
        if view.has(TIMESTEP) or spectrum is not None:
            evidence = evidence_of(view, solved, spectrum, rng)
            latents, precision = evidence.fused(record_groups(view, solved, self.params.releases))
            diagnostics["snr_total"] = float(precision.clamp_max(1e4).mean())
            if bool((precision > view.public.schedule.snr(0)).all()):
                clean = latents
            else:
                start = (precision / (1 + precision)).float().view(-1, 1, 1, 1) * latents
                priors = [image_prior(view, sampling.denoiser)]
                measured = GaussianEvidence(latents, precision)
                clean = mean_walk(priors, measured, NoGuide(), start, sampling.plan, sampling.run)
            estimates["image"] = view.public.codec.estimate(clean)
        own = solved.inputs[list(view.targets)]
        if (
            condition_is_solvable(sampling.forward, view)
            and (condition := condition_latents(view, own)) is not None
        ):
            estimates["condition"] = view.public.codec.estimate(condition)

    def _by_features(
        self,
        sampling: _Sampling,
        solved: LeastSquares | None,
        estimates: dict[str, Estimate],
        diagnostics: dict[str, float],
    ) -> None:
        """Claim by guidance the condition if it is missing, and the image if x_t is not known."""
        view, p = sampling.view, self.params
        if solved is not None and ("condition" in estimates or not view.has(CONTROL_FEATURES)):
            return
        try:
            knowledge = knowledge_of(view, sampling.client, solve=solved is not None)
        except NotApplicableError:
            if estimates:
                return
            raise
        spaces = spaces_of(knowledge.free, "input", view.public.codec, view.public.auxiliary)
        warm = {
            **mean_condition(spaces, view.public.auxiliary, len(view.targets)),
            **knowledge.warm,
        }
        unknowns = choose_unknowns(view, knowledge, spaces, warm, sampling.run.rng)
        if not unknowns:
            return
        names = [unknown.name for unknown in unknowns]
        guide = FeatureGuide(
            sampling.forward,
            knowledge.match("l2", torch.arange(len(view.targets))),
            unknowns,
            SearchInputs(knowledge.known, spaces, warm),
            GuidePlan(p.tolerance, p.tv, p.searches, p.rate),
            rng=sampling.run.rng,
            device=sampling.run.device,
        )
        shape = (len(view.targets), *sampling.forward.inputs()[NOISY].shape)
        zeros, ones = torch.zeros(shape), torch.ones(shape[0])
        start = torch.cat(
            [u.back(zeros, ones, warm[u.name]) if u.name in warm else zeros for u in unknowns]
        )
        priors = [
            image_prior(view, sampling.denoiser)
            if name == NOISY
            else condition_prior(view.public, sampling.denoiser, p.condition_prior)
            for name in names
        ]
        none = GaussianEvidence(
            torch.zeros_like(start), torch.zeros(len(start), dtype=torch.float64)
        )
        walked = mean_walk(priors, none, guide, start, sampling.plan, sampling.run).chunk(
            len(unknowns)
        )
        latents = dict(zip(names, walked, strict=True))
        diagnostics["misfit"] = float(guide.misfit().mean())
        if NOISY in latents:
            estimates["image"] = view.public.codec.estimate(latents[NOISY])
        if CONDITION in latents:
            estimates.update(sampling.forward.estimates({CONDITION: guide.solution[CONDITION]}))
        if CONDITION_LATENTS in latents:
            condition = {CONDITION_LATENTS: latents[CONDITION_LATENTS]}
            estimates.update(sampling.forward.estimates(condition))


@dataclass(frozen=True, eq=False)
class _Sampling:
    """State that the parts of one run share."""

    view: View
    client: PublicClient
    forward: PublicForward
    denoiser: Denoiser
    plan: SamplerPlan
    run: AttackRun
