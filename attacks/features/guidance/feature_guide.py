"""Guidance by features: the inputs near a guess that explain best what the client sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.optimisation.priors import TotalVariation
from attacks.common.optimisation.schedules import factor
from attacks.common.training import gradient_step
from attacks.features.guidance.unknown_latents import UnknownLatent
from attacks.features.search.coordinates import SearchInputs
from attacks.features.search.match import TINY, Match
from bench.interfaces import Channel, PublicForward


@dataclass(frozen=True)
class GuidePlan:
    """Settings of the guide's search at each level.

    Attributes:
        tolerance: sigma over the root mean square of a channel's observed features.
        tv: weight of squared total variation of the inputs, in units of the objective per number.
        searches: steps of Adam.
        rate: first step size.
    """

    tolerance: float
    tv: float
    searches: int
    rate: float


class FeatureGuide:
    """Most likely inputs behind N records' features, with a Gaussian prior around the walk's guess.

    At each level the guide minimises sum_c ||features_c(u) - seen_c||^2 / 2 sigma_c^2 + sum_u ||u -
    mean||^2 / 2 variance over the inputs u, by Adam from the last level's minimum. By the envelope
    theorem, the slope of the minimum with respect to the guess is the slope of the second sum
    alone, so the solution also gives the likelihood's score. The noise in x_t is integrated out
    (``attacks.features.guidance.unknown_latents.NoisyLatent``).

    Args:
        forward: the client as a function of its inputs.
        match: the features to explain.
        unknowns: all latents that are walked for, in the order of the walk's rows: all records of
            the first latent, then of the next.
        inputs: known inputs, coordinates, and first guesses of the first search.
        plan: how to search.
        rng: draws of the defence.
        device: where to compute.
    """

    def __init__(
        self,
        forward: PublicForward,
        match: Match,
        unknowns: Sequence[UnknownLatent],
        inputs: SearchInputs,
        plan: GuidePlan,
        *,
        rng: torch.Generator,
        device: str,
    ) -> None:
        self._forward, self._unknowns, self._spaces = forward, tuple(unknowns), dict(inputs.spaces)
        self._known = {name: tensor.to(device) for name, tensor in inputs.known.items()}
        self._here = {
            u.name: inputs.warm[u.name].clone() for u in unknowns if u.name in inputs.warm
        }
        self._match = _in_deviations(match, plan.tolerance, device)
        self._smooth = TotalVariation(plan.tv, 2)
        self._plan, self._rng, self._device = plan, rng, device

    @property
    def solution(self) -> dict[str, Tensor]:
        """Inputs ``(N, *shape)`` of the last search, by name."""
        return {
            name: self._spaces[name].input(point).detach() for name, point in self._here.items()
        }

    @torch.no_grad()
    def misfit(self) -> Tensor:
        """Return the squared distance of the solution's features, ``(N,)``, in deviations."""
        return (
            self._distance({n: t.to(self._device) for n, t in self.solution.items()}).cpu()
            / self._numbers()
        )

    def nearest(self, clean: Tensor, variance: Tensor) -> Tensor:
        """Return the likeliest latents ``(N, 4, h, w)`` near ``clean``, given the features."""
        latents, variances = (t.chunk(len(self._unknowns)) for t in (clean, variance))
        around = {
            unknown.name: unknown.forward(z, v)
            for unknown, z, v in zip(self._unknowns, latents, variances, strict=True)
        }
        self._search({n: tuple(t.to(self._device) for t in pair) for n, pair in around.items()})
        return torch.cat(
            [
                unknown.back(z, v, self._here[unknown.name])
                for unknown, z, v in zip(self._unknowns, latents, variances, strict=True)
            ]
        )

    def _search(self, around: Mapping[str, tuple[Tensor, ...]]) -> None:
        point = {
            name: self._spaces[name]
            .clamp(self._here.get(name, mean).to(self._device))
            .clone()
            .requires_grad_()
            for name, (mean, _) in around.items()
        }
        searches, rate = self._plan.searches, self._plan.rate
        adam = torch.optim.Adam(point.values(), lr=rate, betas=(0.8, 0.95))
        with torch.enable_grad():
            for i in range(searches):
                for group in adam.param_groups:
                    group["lr"] = rate * factor("cosine", i, searches)
                inputs = {name: self._spaces[name].input(tensor) for name, tensor in point.items()}
                loss = self._distance(inputs).sum() / 2
                for name, (mean, spread) in around.items():
                    loss = (
                        loss + ((point[name] - mean).square() / (2 * spread.clamp_min(TINY))).sum()
                    )
                    loss = loss + self._smooth({name: point[name]}) * point[name].numel()
                gradient_step(adam, loss)
                with torch.no_grad():
                    for name, tensor in point.items():
                        tensor.copy_(self._spaces[name].clamp(tensor))
        self._here = {name: tensor.detach().cpu() for name, tensor in point.items()}

    def _distance(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self._match(self._forward.send({**self._known, **inputs}, self._rng))

    def _numbers(self) -> int:
        return sum(t[0].numel() for t in self._match.observed.values())


def _in_deviations(match: Match, tolerance: float, device: str) -> Match:
    """Return the distance as a sum of squares over sigma^2, instead of a mean of squares."""
    observed: dict[Channel, Tensor] = {c: t.to(device) for c, t in match.observed.items()}
    nuisance = {c: t.to(device) for c, t in match.nuisance.items()}
    scale = {
        c: (tolerance**2 * t.flatten(1).square().mean(1)).clamp_min(TINY) / t[0].numel()
        for c, t in observed.items()
    }
    return Match(observed, "l2", scale=scale, nuisance=nuisance)
