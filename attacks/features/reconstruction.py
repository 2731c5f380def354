"""Regularised maximum likelihood estimation of inputs behind features (He et al., ACSAC 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.common.optimisation.adam import Adam
from attacks.common.optimisation.priors import Prior, TotalVariation
from attacks.common.optimisation.schedules import Schedule
from attacks.features.search.coordinates import SearchInputs, mean_condition, spaces_of
from attacks.features.search.image_estimate import claim_of
from attacks.features.search.knowledge import Knowledge, knowledge_of
from attacks.features.search.match import Distance
from attacks.features.search.problem import FeatureProblem
from attacks.features.search.tv_weight import choose_tv_weight
from bench.interfaces import (
    CONTROL_FEATURES,
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


class ReconstructionParams(Params):
    """Parameters of ``reconstruction``.

    Attributes:
        space: search for the pixels of pictures (``input``), or for latents that the public
            autoencoder decodes (``latent``).
        distance: mean squared difference of features, or 1 - cosine.
        tv: weight of squared total variation beside a distance that is 1 at the first guess. By
            default it is chosen on auxiliary pictures where that is possible
            (``attacks.features.search.tv_weight``), and is 0 elsewhere.
        rate: first step size of Adam.
        schedule: how the step size falls.
        amsgrad: step sizes never grow again, as in the paper.
        restarts: first guesses per record: the first is the middle or the linear solution, the
            others are drawn. The one whose features fit best is claimed.
        adapt: subtract the noise that shredder adds, and leave out channels that disco has pruned;
            False is for comparison.
        history: estimate that noise from the releases of every epoch, not from the targets alone.
    """

    space: Literal["input", "latent"] = "input"
    distance: Distance = "l2"
    tv: float | None = Field(default=None, ge=0)
    rate: float = Field(default=0.05, gt=0)
    schedule: Schedule = "cosine"
    amsgrad: bool = True
    restarts: int = Field(default=1, ge=1)
    adapt: bool = True
    history: bool = False


class Reconstruction(Attack):
    """Minimises the distance of the inputs' features to the observed ones, plus priors, by Adam.

    What is linear is solved, not searched for: x_t by least squares, and z0 from it. The search is
    for the picture of a split classifier, and for the condition: through the hint block, or through
    the defence on z_c + x_t.
    """

    name = "reconstruction"
    Params = ReconstructionParams
    requires = frozenset({CONTROL_FEATURES})
    default_budget = Budget(iterations=500, batch_size=32)
    # It reaches 1.0 with 200 iterations; the threshold leaves room for other data and seeds.
    certificates = (
        Certificate("split-cnn", "inference", "image", "ssim", 0.95, given=(("cut", "conv11"),)),
    )
    budget_axis = BudgetAxis("iterations", (10, 30, 100, 300, 1000))
    card = Card(
        summary=(
            "Optimises the private input until the client's features of it equal the observed ones."
        ),
        source="He, Zhang, Lee, ACSAC 2019 (rMLE); latents as unknowns: this project",
        needs="control_features; public client weights, or client_weights",
        cost=(
            "iterations x restarts forward and backward passes of the client half per record; the "
            "same again on 16 auxiliary records for each of four weights of smoothness, where "
            "these can be tried"
        ),
        notes=(
            "Where the client trains, its copy of conv_in has changed since the release, so "
            "whatever any such convolution makes of x_t is left out of the comparison. A hint "
            "block starts at zero and reveals nothing at first. Without client_weights the attack "
            "does not apply to it. After few steps the block's drift is larger than what it adds "
            "for a record, so attack late epochs of long trainings."
        ),
    )

    def __init__(self, params: ReconstructionParams | None = None) -> None:
        super().__init__(params)
        self.uses_history = self.params.history

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        client = view.public.client
        if client is None:
            raise NotApplicableError("the client half cannot be rebuilt under this threat model")
        knowledge = knowledge_of(view, client, adapt=self.params.adapt)
        auxiliary = view.public.auxiliary
        spaces = spaces_of(knowledge.free, self.params.space, view.public.codec, auxiliary)
        warm = {**mean_condition(spaces, auxiliary, len(view.targets)), **knowledge.warm}
        run = AttackRun.on_view(view, rng, budget, progress)

        def trial(tried: Knowledge, tv: float) -> Mapping[str, Tensor]:
            fresh = replace(run, rng=torch.Generator().manual_seed(0))
            return self._search(tried, SearchInputs(tried.known, spaces, {}), tv, fresh)[0]

        tv = (
            choose_tv_weight(knowledge, auxiliary, trial)
            if self.params.tv is None
            else self.params.tv
        )
        solution, losses = self._search(
            knowledge, SearchInputs(knowledge.known, spaces, warm), tv, run
        )
        return claim_of(view, knowledge, solution, {**losses, "attack_smoothness": tv})

    def _search(
        self, knowledge: Knowledge, inputs: SearchInputs, tv: float, run: AttackRun
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the inputs that were found, by name, and the losses."""
        p: ReconstructionParams = self.params
        priors: tuple[Prior, ...] = (TotalVariation(tv, 2),) if tv else ()
        adam = Adam(rate=p.rate, schedule=p.schedule, amsgrad=p.amsgrad)
        count = len(knowledge.observed[CONTROL_FEATURES])
        parts = torch.split(torch.arange(count), max(1, run.budget.batch_size))
        solution: dict[str, list[Tensor]] = {name: [] for name in inputs.spaces}
        first, last = [], []
        iterations = run.budget.iterations
        with run.progress.stage("matching features", iterations * len(parts)) as advance:
            for rows in parts:
                problem = FeatureProblem(
                    knowledge.forward,
                    knowledge.match(p.distance, rows),
                    inputs.select(rows),
                    priors=priors,
                    restarts=p.restarts,
                    rng=run.rng,
                    device=run.device,
                )
                start = problem.evaluate(problem.first)
                # A first guess that explains the features exactly has no slope either.
                if bool(start.match.any()) and not bool(start.slope.any()):
                    raise NotApplicableError(
                        "under the client weights in view the features do not depend on the input: "
                        "the hint block's last convolution starts at zero, and client_weights with "
                        "the trained one are not in view"
                    )
                result = adam.minimise(problem, problem.first, iterations, advance)
                best = result.match.nan_to_num(nan=torch.inf).argmin(1)
                for name, tensor in problem.inputs(result.point, best).items():
                    solution[name].append(tensor)
                place = torch.arange(len(rows))
                first.append(result.first[place, best.cpu()].cpu())
                last.append(result.match[place, best.cpu()].cpu())
        losses = {
            "attack_loss_first": float(torch.cat(first).mean()),
            "attack_loss_last": float(torch.cat(last).mean()),
        }
        return {name: torch.cat(tensors) for name, tensors in solution.items()}, losses
