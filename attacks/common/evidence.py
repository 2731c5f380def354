"""Adds up Gaussian evidence of z0: noisy latents, noise targets and other epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.interfaces import NoiseSchedule

# Variance of the errors of an exact wire; a smaller one costs digits in the elimination of eps.
_LEAST = 1e-8
_DOUBT = 6.0  # standard deviations by which a distance must miss that of independent noise


@dataclass(frozen=True, eq=False)
class Evidence:
    """Releases as measurements of z0 and eps with independent Gaussian errors.

    x_t = a z0 + b eps + n, and where there is a target, eps (or v) + eta.

    Attributes:
        noisy: x_t, ``(R, 4, h, w)``.
        times: t, ``(R,)`` int64.
        noisy_variance: of n, ``(R,)``.
        target: what the network must predict, ``(R, 4, h, w)``, or None.
        target_variance: of eta, one for all or ``(R,)``; 0 where the target is sent as it is.
        draw_variance: of z0 between two epochs, which are two draws from the autoencoder's
            posterior.
        may_share_noise: whether releases of a record can have one eps; False where the client is
            known to draw eps afresh.
    """

    noisy: Tensor
    times: Tensor
    schedule: NoiseSchedule
    noisy_variance: Tensor
    target: Tensor | None = None
    target_variance: float | Tensor = 0.0
    draw_variance: float = 0.0
    may_share_noise: bool = True

    def alone(self) -> tuple[Tensor, Tensor]:
        """Return the likeliest z0 of every release by itself, and its precision; see ``fused``."""
        return self.fused([[i] for i in range(len(self.noisy))])

    def fused(self, groups: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the likeliest z0 of the first release of each group.

        All releases of a group are of one record.

        Returns:
            z_ML ``(G, 4, h, w)`` float32 and S ``(G,)`` float64: z_ML = z0 + an error of variance 1
            / S a number. Of releases with independent noise and hidden targets S is the sum of
            their SNR.
        """
        found = [self._group(group) for group in groups]
        return torch.stack([z for z, _ in found]).float(), torch.stack([s for _, s in found])

    def _group(self, group: Sequence[int]) -> tuple[Tensor, Tensor]:
        parts = [self._cluster(cluster, group[0]) for cluster in self._sharing_noise(group)]
        total = torch.stack([precision for _, precision in parts]).sum()
        mean = torch.stack([precision * z for z, precision in parts]).sum(0) / total
        return mean, total

    def _cluster(self, rows: Sequence[int], own: int) -> tuple[Tensor, Tensor]:
        """Return z0 from releases of one eps, by elimination of eps, whose prior is N(0, 1).

        The normal equations of one number are J (z0, eps)^T = h; the precision of z0 is J_zz -
        J_ze^2 / J_ee.
        """
        j_zz = j_ze = torch.zeros((), dtype=torch.float64)
        j_ee = torch.ones((), dtype=torch.float64)
        h_z = h_e = torch.zeros((), dtype=torch.float64)
        for i in rows:
            abar = self.schedule.alphas_cumprod[self.times[i]].double()
            a, b = abar.sqrt(), (1 - abar).sqrt()
            spread = (
                self.noisy_variance[i].double() + (0.0 if i == own else self.draw_variance) * abar
            )
            seen = [(a, b, self.noisy[i].double(), spread)]
            if self.target is not None and not self._repeats_target(i, rows):
                to_z, to_e = (
                    (-b, a) if self.schedule.prediction == "v_prediction" else (0 * a, 0 * a + 1)
                )
                seen.append((to_z, to_e, self.target[i].double(), self._eta(i)))
            for to_z, to_e, value, variance in seen:
                weight = 1 / variance.double().clamp_min(_LEAST)
                j_zz, j_ze, j_ee = (
                    j_zz + weight * to_z**2,
                    j_ze + weight * to_z * to_e,
                    j_ee + weight * to_e**2,
                )
                h_z, h_e = h_z + weight * to_z * value, h_e + weight * to_e * value
        precision = j_zz - j_ze**2 / j_ee
        return (h_z - j_ze / j_ee * h_e) / precision, precision

    def _sharing_noise(self, group: Sequence[int]) -> list[list[int]]:
        """Return the group in clusters of one eps each.

        A client may keep a record's noise, and then further epochs add nothing.

        Independent noise makes ||x_i / a_i - x_j / a_j||^2 as large as the sum of its variances;
        shared noise at similar t, far smaller.
        """
        if not self.may_share_noise:
            return [[i] for i in group]
        clusters: list[list[int]] = []
        for i in group:
            home = next((c for c in clusters if self._closeness(i, c[0]) < self._limit()), None)
            if home is None:
                clusters.append([i])
            else:
                home.append(i)
        return clusters

    def _closeness(self, i: int, j: int) -> float:
        """Return the squared distance of two latents over that of independent noise."""
        abar = self.schedule.alphas_cumprod[self.times[[i, j]]].double()
        difference = (
            self.noisy[i].double() / abar[0].sqrt() - self.noisy[j].double() / abar[1].sqrt()
        )
        return float(difference.square().mean() / (1 / abar - 1).sum())

    def _repeats_target(self, i: int, rows: Sequence[int]) -> bool:
        """Whether an earlier release of the cluster has equal noise on its target.

        The target is then no new measurement.
        """
        assert self.target is not None
        earlier = [self.target[j] for j in rows[: list(rows).index(i)]]
        limit = 2 * float(self._eta(i)) * self._limit()
        return any(
            float((self.target[i] - other).square().mean()) < max(limit, _LEAST)
            for other in earlier
        )

    def _eta(self, i: int) -> Tensor:
        return torch.as_tensor(self.target_variance, dtype=torch.float64).expand(len(self.noisy))[i]

    def _limit(self) -> float:
        return max(0.05, 1 - _DOUBT * math.sqrt(2 / self.noisy[0].numel()))


def equivalent_timestep(precision: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the t whose SNR is nearest to each precision by ratio, ``(N,)`` int64."""
    levels = (schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)).double().log()
    return (precision.log().unsqueeze(1) - levels.unsqueeze(0)).abs().argmin(1)
