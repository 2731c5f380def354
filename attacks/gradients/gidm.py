"""Gradient inversion through a diffusion prior (GIDM and GIDM+, arXiv:2405.20380)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.common.optimisation.adam import Adam
from attacks.common.optimisation.priors import TotalVariation
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.alternation import Alternation
from attacks.gradients.engine.claims import claim_of, on_the_wire
from attacks.gradients.engine.inversion import GradientInversion
from attacks.gradients.engine.latent_training import Ddim, LatentTraining
from attacks.gradients.engine.objectives import Cosine
from attacks.gradients.engine.updates import Update, trainer_of, updates_in
from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Claim,
    NotApplicableError,
    Params,
    Progress,
    PublicTrainer,
    View,
)


class GIDMParams(Params):
    """Parameters of ``gidm``.

    Attributes:
        chain: DDIM steps from the latent to z0. Every slope goes back through all of them, so there
            are few: two make a blurred but plausible picture, which the second phase corrects.
        generated: share of the iterations that goes into the first phase; 0 leaves it out.
        rate: first step size of the first phase.
        fine_rate: first step size of the second phase.
        tv: weight of total variation on maps of pixels.
        layerwise: compare directions tensor by tensor.
        rounds: how often private timesteps are fitted anew in each phase.
        points: timesteps that are tried each time.
        prompt: ``empty`` uses the empty prompt for prompt states that are not on the wire;
            ``optimised`` optimises them too.
        unroll: simulate local steps one after the other.
    """

    chain: int = Field(default=2, ge=1)
    generated: float = Field(default=0.5, ge=0, lt=1)
    rate: float = Field(default=0.1, gt=0)
    fine_rate: float = Field(default=0.03, gt=0)
    tv: float = Field(default=1e-6, ge=0)
    layerwise: bool = True
    rounds: int = Field(default=4, ge=1)
    points: int = Field(default=7, ge=1)
    prompt: Literal["empty", "optimised"] = "empty"
    unroll: bool = True


class GIDM(Attack):
    """Optimises the latent from which the public denoiser makes z0, then z0 itself.

    The second phase of the paper fine-tunes pixels. The pixels of a latent model are z0, so the
    second phase optimises z0 here. Where t and eps were sent they are known (GIDM). Otherwise eps
    is optimised together with the latent, and t is fitted in turn with them on a grid that grows
    finer (the triple optimisation of GIDM+). An integer has no slope, so it is searched for.
    """

    name = "gidm"
    Params = GIDMParams
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=400, batch_size=4)
    budget_axis = BudgetAxis("iterations", (50, 100, 200, 400, 800))
    card = Card(
        summary=(
            "Optimises the latent that a diffusion prior turns into the picture until the gradient "
            "fits."
        ),
        source="GIDM and GIDM+, arXiv:2405.20380",
        needs=(
            "client_update and global_model of SGD clients that train a diffusion model; its "
            "public denoiser"
        ),
        cost=(
            "iterations x simulations of a client's training with second derivatives, and chain "
            "denoiser passes for each"
        ),
        notes=(
            "t and eps are taken from the wire where it carries them, otherwise they are "
            "optimised. The condition is optimised as pixels. In the first round only zero "
            "convolutions have a gradient; tensors without a gradient are left out. The attack has "
            "no certificate: on two records of the embedded model with t and eps known, 40 "
            "iterations were no better than those of inverting-gradients, and neither attack beat "
            "the mean picture. It is tested on a linear client."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        p: GIDMParams = self.params
        trainer = trainer_of(view)
        name = next((n for n, unknown in trainer.unknowns().items() if unknown.latent), None)
        if name is None or view.public.denoiser is None:
            raise NotApplicableError(
                "needs a client that trains on image latents, and the public denoiser of those"
            )
        updates = updates_in(view, trainer)
        known = on_the_wire(view, trainer, updates)
        if p.prompt == "empty":
            known = [
                {**_empty_prompt(view, trainer, update), **one}
                for update, one in zip(updates, known, strict=True)
            ]
        maps = frozenset(
            n for n, u in trainer.unknowns().items() if len(u.shape) == 3 and u.low is not None
        )
        search = Alternation(
            GradientInversion(
                Cosine(p.layerwise),
                Adam(rate=p.rate, schedule="cosine"),
                priors=(TotalVariation(p.tv, only=maps),) if p.tv else (),
                unroll=p.unroll,
            ),
            Adaptation.from_defense(
                view.public.defense, trainer.local.learning_rate, trainer.behind_noise
            ),
            rounds=p.rounds,
            points=p.points,
            run=AttackRun.on_view(view, rng, budget, progress),
        )
        share = round(p.generated * budget.iterations)
        begin, diagnostics = None, {}
        if share:
            chain = LatentTraining(
                trainer, name, Ddim(view.public.denoiser, view.public.schedule, p.chain)
            )
            prior = search.minimise(chain, updates, known, None, share)
            begin = [_generated(chain, one, view.public.device) for one in prior.rows]
            diagnostics = {"attack_loss_first": prior.first, "attack_loss_generated": prior.last}
            search = replace(
                search,
                inversion=replace(search.inversion, optimiser=Adam(p.fine_rate, schedule="cosine")),
            )
        result = search.minimise(trainer, updates, known, begin, budget.iterations - share)
        diagnostics = {
            "attack_loss_first": result.first,
            **diagnostics,
            "attack_loss_last": result.last,
        }
        inputs = {n: [one[n] for one in result.rows] for n in result.rows[0]}
        return claim_of(trainer, updates, inputs, diagnostics)


@torch.no_grad()
def _generated(
    chain: LatentTraining, inputs: Mapping[str, Tensor], device: str
) -> dict[str, Tensor]:
    """Return the inner training's inputs for the inputs of one update, on the CPU."""
    return {
        n: t.cpu() for n, t in chain.generated({n: t.to(device) for n, t in inputs.items()}).items()
    }


def _empty_prompt(view: View, trainer: PublicTrainer, update: Update) -> dict[str, Tensor]:
    """Return states ``(B, L, D)`` and pooled embeddings ``(B, P)`` of the empty prompt.

    Inputs that take no prompts are left out.
    """
    text = view.public.text
    if text is None:
        return {}
    ids = text.encode([""])
    empty = {PROMPT_EMBEDDING: text.states(ids), POOLED_PROMPT: text.pooled(ids)}
    channels = {
        name: unknown.channel
        for name, unknown in trainer.unknowns().items()
        if unknown.channel in empty
    }
    made = {name: empty[channel] for name, channel in channels.items() if channel is not None}
    return {
        n: t.detach().cpu().repeat(update.records, *[1] * (t.ndim - 1))
        for n, t in made.items()
        if t is not None
    }
