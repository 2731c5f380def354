"""A prior of condition latents by small patches, learned from the attacker's records."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, unfold

from attacks.common.spectral_prior import Spectrum

_SIDES = (3, 5, 7)  # beyond, examples that agree are too few
_MOST = 8192  # examples
_CHUNK = 2048  # patches at a time


@dataclass(frozen=True, eq=False)
class PatchPrior:
    """Examples of latents to be cut into patches.

    The posterior mean of a patch's centre is sum_i w_i c_i with w_i ~ exp(-S ||patch - patch_i||^2
    / 2), over examples patch_i with centres c_i: Bayes' rule with the examples as prior. Examples
    are few where there is little noise, and the best side of the patch depends on it too. So the
    answer is a weighted sum of those of all sides, of the Wiener filter and of the measurement
    itself, with the weights of least error on latents that are known.

    Attributes:
        examples: latents to cut patches from, ``(M, 4, h, w)``; trials: others, to find the weights
            by.
        picks: which of the examples' places serve, ``(P,)`` int64.
    """

    examples: Tensor
    trials: Tensor
    picks: Tensor

    @classmethod
    def fit(cls, latents: Tensor, rng: torch.Generator) -> PatchPrior:
        """From at least 2 latents, ``(N, 4, h, w)``; one in eight is kept for trials."""
        held = max(1, len(latents) // 8)
        examples = latents[held:]
        places = len(examples) * examples[0, 0].numel()
        return cls(examples, latents[:held], torch.randperm(places, generator=rng)[:_MOST])

    def clean(self, noisy: Tensor, precision: Tensor) -> Tensor:
        """Return the posterior mean of latents given white noise of variance 1 / ``precision``."""
        found = torch.empty_like(noisy)
        bins = (4 * precision.double().log2()).round()
        for level in torch.unique(bins):
            rows = bins == level
            alike = float(precision[rows].double().log().mean().exp())
            weights = self._weights(alike)
            found[rows] = torch.einsum("k,knchw->nchw", weights, self._guesses(noisy[rows], alike))
        return found

    def _weights(self, precision: float) -> Tensor:
        """Of each guess, by least squares on the trials, ``(K,)``."""
        noise = (
            torch.randn(self.trials.shape, generator=torch.Generator().manual_seed(0))
            / precision**0.5
        )
        guesses = self._guesses(self.trials + noise, precision).flatten(1).double()
        truth = self.trials.flatten().double().unsqueeze(1)
        solution: Tensor = torch.linalg.lstsq(guesses.T, truth, driver="gelsd").solution
        return solution.squeeze(1).float()

    def _guesses(self, noisy: Tensor, precision: float) -> Tensor:
        """``(K, N, 4, h, w)``."""
        sides = [side for side in _SIDES if side // 2 < min(noisy.shape[2:])]
        level = torch.full((len(noisy),), precision, dtype=torch.float64)
        linear = (
            [Spectrum.fit(self.examples).wiener(noisy, level)] if len(self.examples) > 1 else []
        )
        return torch.stack(
            [noisy, *linear, *(self._estimate(noisy, precision, side) for side in sides)]
        )

    def _estimate(self, noisy: Tensor, precision: float, side: int) -> Tensor:
        examples = _patches(self.examples, side)[self.picks]
        centres = self.examples.permute(0, 2, 3, 1).flatten(0, 2)[self.picks]
        half = examples.square().sum(1) / 2
        means = [
            torch.softmax(precision * (chunk @ examples.T - half), 1) @ centres
            for chunk in torch.split(_patches(noisy, side), _CHUNK)
        ]
        n, c, h, w = noisy.shape
        return torch.cat(means).view(n, h, w, c).permute(0, 3, 1, 2)


def _patches(maps: Tensor, side: int) -> Tensor:
    """Every place's surroundings, reflected at the edge, ``(N h w, C side^2)``."""
    reach = side // 2
    padded = pad(maps, (reach,) * 4, mode="reflect") if reach else maps
    return unfold(padded, side).transpose(1, 2).flatten(0, 1)
