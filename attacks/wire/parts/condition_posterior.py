"""The condition's latent out of noise: all releases of a record together, then a prior.

Where the control branch has separate noise every release is z_c + b e', the same
measurement at SNR 1 / b^2; noise that is drawn afresh averages away over the epochs, noise that is
kept does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.common.denoising import DiffusionPrior, Way, denoise
from attacks.common.least_squares import LeastSquares
from attacks.common.own_latents import draw_variance, own_latents
from attacks.common.spectral_prior import Spectrum
from attacks.common.wire_algebra import masked_condition
from attacks.wire.parts.patch_prior import PatchPrior
from bench.interfaces import CONTROL_FEATURES, Public, View

Kind = Literal["patches", "wiener", "unet"]
EXACT = 1e6  # precision at which a condition is as good as read
_DOUBT = 6.0  # standard deviations by which a distance must miss that of independent noise
_ENOUGH = 128  # auxiliary records


@dataclass(frozen=True, eq=False)
class ConditionEvidence:
    """Releases as measurements of z_c.

    Attributes:
        latents: z_c + noise, ``(R, 4, h, w)``.
        variance: of the noise on each number, ``(R,)``.
        draw_variance: of z_c between two epochs, which are two draws from the autoencoder's
            posterior.
    """

    latents: Tensor
    variance: Tensor
    draw_variance: float = 0.0

    def fused(self, groups: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """z_c of each group's first release, all of a group being of one record.

        Returns:
            The likeliest z_c ``(G, 4, h, w)`` float32 and the precision of its error ``(G,)``
            float64.
        """
        found = [self._group(self._independent(group), group[0]) for group in groups]
        return torch.stack([z for z, _ in found]).float(), torch.stack([s for _, s in found])

    def _group(self, rows: Sequence[int], own: int) -> tuple[Tensor, Tensor]:
        weights = torch.stack(
            [
                1
                / (self.variance[i].double() + (0 if i == own else self.draw_variance)).clamp_min(
                    1e-12
                )
                for i in rows
            ]
        )
        mean = (weights.view(-1, 1, 1, 1) * self.latents[list(rows)].double()).sum(
            0
        ) / weights.sum()
        return mean, weights.sum()

    def _independent(self, group: Sequence[int]) -> list[int]:
        """The group without releases whose noise is that of an earlier one.

        Then ||y_i - y_j||^2 is far too small.
        """
        limit = max(0.05, 1 - _DOUBT * math.sqrt(2 / self.latents[0].numel()))
        kept: list[int] = []
        for i in group:
            expected = (self.variance[i] + self.variance[kept]) + self.draw_variance
            difference = (self.latents[i] - self.latents[kept]).double().square().flatten(1).mean(1)
            if bool((difference >= limit * expected).all()):
                kept.append(i)
        return kept


def condition_evidence(
    view: View, solved: LeastSquares, rng: torch.Generator
) -> ConditionEvidence | None:
    """Return all releases of the view as measurements of z_c, or None.

    None where z_c cannot be read so (``attacks.common.wire_algebra``).

    Args:
        solved: x_t of every release.
    """
    found = masked_condition(view, solved.inputs, every=True)
    if found is None:
        return None
    latents, masked = found
    defense = view.public.defense
    added = (
        0.0 if defense is None else defense.added_noise(CONTROL_FEATURES, latents[0].numel()) ** 2
    )
    subtracted = torch.zeros_like(solved.input_variance) if masked else solved.input_variance
    return ConditionEvidence(
        latents, subtracted + masked + added, draw_variance(view.public, "condition_latents", rng)
    )


def denoise_condition(
    latents: Tensor,
    precision: Tensor,
    kind: Kind,
    public: Public,
    *,
    rng: torch.Generator,
    batch_size: int,
) -> Tensor:
    """E[z_c | latents] under a prior, ``(N, 4, h, w)`` float32; exact ones stay as they are.

    Without two auxiliary records, or a public model where that is asked for, the best linear
    estimate under a unit-variance latent.

    Args:
        precision: of the white noise on each of ``latents``, ``(N,)``.
        kind: ``patches``: small patches come as in the auxiliary records' conditions, weighed
            against their power spectrum; ``wiener``: that spectrum alone; ``unet``: the public
            diffusion model, which knows no hints.
    """
    noisy = precision < EXACT
    clean = latents.clone()
    if not bool(noisy.any()):
        return clean
    values, levels = latents[noisy], precision[noisy]
    if kind == "unet" and public.denoiser is not None:
        prior = DiffusionPrior(public.denoiser, public.schedule)
        clean[noisy] = denoise(
            prior, values, levels, Way("tweedie"), rng=rng, batch_size=batch_size
        )
    elif kind != "unet" and (known := _known(public, rng)) is not None:
        fitted = (
            Spectrum.fit(known).wiener if kind == "wiener" else PatchPrior.fit(known, rng).clean
        )
        clean[noisy] = fitted(values, levels)
    else:
        clean[noisy] = (levels / (1 + levels)).float().view(-1, 1, 1, 1) * values
    return clean


def _known(public: Public, rng: torch.Generator) -> Tensor | None:
    """Condition latents of auxiliary records as a client draws them, ``(N, 4, h, w)``.

    None where there are fewer than 2.
    """
    count = min(_ENOUGH, len(public.auxiliary))
    if count < 2:
        return None
    records = public.auxiliary.select(range(count))
    if public.client is not None:
        return own_latents(public, count, rng).condition_latents.float().cpu()
    return public.codec.encode(records.condition_batch()).float().cpu()
