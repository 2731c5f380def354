"""DP-SGD in the client's local steps: clip every record's gradient and add noise to the sum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LOSS_GRADIENT,
    POOLED_PROMPT,
    PREDICTION_DOWN,
    PROMPT_EMBEDDING,
    UNET_FEATURES,
    Card,
    Defense,
    Guarantee,
    NoiseSchedule,
    Params,
    UpdateProtection,
)
from defenses.common.gaussian_accounting import epsilon_of


class DpSgdParams(Params):
    """Sets the clipping norm, the noise, and the delta of the statement.

    Attributes:
        clip: C, the largest l2 norm of one record's gradient over all weights together.
        noise: sigma; N(0, sigma^2 C^2) is added to every weight in each step's sum of gradients.
        delta: delta of the (epsilon, delta) statement.
    """

    clip: float = Field(default=1.0, gt=0)
    noise: float = Field(default=1.0, ge=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)


class DpSgd(Defense):
    """Replaces each gradient by g = (sum of g_i min(1, C / ||g_i||) + sigma C N(0, I)) / B.

    This is Algorithm 1 of Abadi et al. (arXiv:1607.00133). A record is in exactly one step of an
    epoch, and batches are drawn independently of their content, so no amplification by subsampling
    is claimed and ``epochs`` Gaussian mechanisms are composed: replacing one record moves the sum
    by at most 2C, so mu = 2 sqrt(epochs) / sigma (Gaussian DP, Dong et al., arXiv:1905.02383).
    """

    name = "dp-sgd"
    Params = DpSgdParams
    params: DpSgdParams
    record_gradients = True
    card = Card(
        summary="Clips every record's gradient and adds Gaussian noise to their sum within the "
        "client's local step.",
        source="Abadi et al., arXiv:1607.00133, Algorithm 1; accounting: Gaussian DP, "
        "arXiv:1905.02383",
        needs="clients that compute the gradient themselves (the federated victims, centralised)",
        cost="one backward pass a record instead of one a batch",
        notes="The noise is added on the client before anything leaves it, so the statement holds "
        "against recipients of the update and against holders of the released model. It is void "
        "where anything else of a record crosses the wire: features, prompts, predictions. No "
        "amplification by subsampling is claimed. The unit is a record, not a person who appears "
        "in several records.",
    )

    def update_protection(self) -> UpdateProtection | None:
        return UpdateProtection(record_clip=float(self.params.clip))

    def local_gradient(
        self, records: Iterable[Mapping[str, Tensor]], rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        total: dict[str, Tensor] = {}
        count = 0
        for gradient in records:
            norm = torch.stack([g.norm() for g in gradient.values()]).norm()
            share = (self.params.clip / norm.clamp_min(1e-12)).clamp_max(1.0)
            total = {
                name: share * g + (total[name] if total else 0.0) for name, g in gradient.items()
            }
            count += 1
        scale = self.params.noise * self.params.clip
        return {
            name: (g + scale * torch.randn(g.shape, generator=rng).to(g) if scale else g) / count
            for name, g in total.items()
        }

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        if not self.params.noise:
            return None
        mu = 2 * math.sqrt(releases) / self.params.noise
        return Guarantee(
            epsilon=epsilon_of(mu, self.params.delta),
            delta=self.params.delta,
            unit="one record (replaced by another)",
            sensitivity=f"l2 distance {2 * self.params.clip:g} of clipped gradients",
            releases=releases,
            voided_by=(
                CONTROL_FEATURES,
                UNET_FEATURES,
                PROMPT_EMBEDDING,
                POOLED_PROMPT,
                PREDICTION_DOWN,
                LOSS_GRADIENT,
                GRADIENT_DOWN,
            ),
        )
