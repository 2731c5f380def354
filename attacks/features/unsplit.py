"""UnSplit: alternating search for inputs and client weights (Erdoğan et al., arXiv:2108.09033)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from attacks.common.optimisation.adam import Adam
from attacks.common.optimisation.priors import Prior, TotalVariation
from attacks.common.training import gradient_step
from attacks.features.search.coordinates import SearchInputs, mean_condition, spaces_of
from attacks.features.search.image_estimate import claim_of
from attacks.features.search.knowledge import Knowledge, knowledge_of
from attacks.features.search.match import Distance
from attacks.features.search.problem import FeatureProblem
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


class UnSplitParams(Params):
    """Parameters of ``unsplit``.

    Attributes:
        turns: how often the two searches alternate; the budget's iterations are divided among them.
        weight_rate: step size of Adam on the client's weights.
        rate: step size of Adam on the inputs.
        tv: weight of squared total variation beside a distance that is 1 at the first guess.
        distance: mean squared difference of features, or 1 - cosine.
    """

    turns: int = Field(default=10, ge=1)
    weight_rate: float = Field(default=1e-3, gt=0)
    rate: float = Field(default=0.05, gt=0)
    tv: float = Field(default=0.1, ge=0)
    distance: Distance = "l2"


class UnSplit(Attack):
    """Alternates Adam on the inputs of all targets with Adam on a clone of the client.

    The clone of the paper starts at random. This one starts from the public initial weights, or
    from the final weights where they are in view, and corrects for their drift since the release.
    Both searches lower one distance. Where no weight of the client trains there is no clone to
    train; ``reconstruction`` is the attack for that white-box case.
    """

    name = "unsplit"
    Params = UnSplitParams
    requires = frozenset({CONTROL_FEATURES})
    default_budget = Budget(iterations=500, batch_size=32)
    # It reaches 0.97 with 100 iterations, and 0.96 without client_weights.
    certificates = (
        Certificate("split-cnn", "gradient", "image", "ssim", 0.85, given=(("cut", "conv11"),)),
    )
    budget_axis = BudgetAxis("iterations", (10, 30, 100, 300, 1000))
    card = Card(
        summary=(
            "Optimises the private inputs and a clone of the client in turns, until the features "
            "equal the observed ones."
        ),
        source="Erdoğan, Küpçü, Çiçek, arXiv:2108.09033, algorithm 1; warm start: this project",
        needs=(
            "control_features of a client that trains; its architecture and public initial weights"
        ),
        cost="twice the iterations forward and backward passes of the client half per record",
        notes=(
            "All targets are searched for together, because they share the clone. Not applicable "
            "where no weight of the client trains (split-controlnet no-gradient): reconstruction "
            "is the corresponding attack with known weights."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        client = view.public.client
        if client is None:
            raise NotApplicableError(
                "neither the client's architecture nor its first weights are known here"
            )
        knowledge = knowledge_of(view, client)
        if not any(weight.requires_grad for weight in knowledge.forward.stem.parameters()):
            raise NotApplicableError(
                "no weight of this client trains, so all weights are known; use reconstruction"
            )
        solution, losses = self._alternate(view, knowledge, rng, budget, progress)
        return claim_of(view, knowledge, solution, losses)

    def _alternate(
        self,
        view: View,
        knowledge: Knowledge,
        rng: torch.Generator,
        budget: Budget,
        progress: Progress,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the inputs that were found, by name, and the losses."""
        p: UnSplitParams = self.params
        priors: tuple[Prior, ...] = (TotalVariation(p.tv, 2),) if p.tv else ()
        auxiliary, count = view.public.auxiliary, len(view.targets)
        spaces = spaces_of(knowledge.free, "input", view.public.codec, auxiliary)
        warm = {**mean_condition(spaces, auxiliary, count), **knowledge.warm}
        problem = FeatureProblem(
            knowledge.forward,
            knowledge.match(p.distance, torch.arange(count)),
            SearchInputs(knowledge.known, spaces, warm),
            priors=priors,
            restarts=1,
            rng=rng,
            device=view.public.device,
        )
        weights = [weight for weight in knowledge.forward.stem.parameters() if weight.requires_grad]
        clone = torch.optim.Adam(weights, lr=p.weight_rate)
        inputs = Adam(rate=p.rate, amsgrad=True)
        point, turns = problem.first, min(p.turns, max(1, budget.iterations))
        shares = [
            budget.iterations // turns + (turn < budget.iterations % turns) for turn in range(turns)
        ]
        first = float(problem.distance(point).mean().detach())
        with progress.stage("matching features and weights", 2 * budget.iterations) as advance:
            for share in shares:
                point = inputs.minimise(problem, point, share, advance).point
                for _ in range(share):
                    gradient_step(clone, problem.distance(point).mean())
                    advance(1)
        last = float(problem.distance(point).mean().detach())
        return problem.inputs(point, torch.zeros(count, dtype=torch.long)), {
            "attack_loss_first": first,
            "attack_loss_last": last,
        }
