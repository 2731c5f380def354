"""Adaptation to a known defence: gradients are compared as the defence would leave them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.interfaces import Defense, NotApplicableError

SOFT = 0.1
"""Softness of the sign: gradients below this share of the tensor's mean keep a size."""


@dataclass(frozen=True)
class Adaptation:
    """Changes to gradients before a comparison, by an attacker who knows the defence (Kerckhoffs).

    Attributes:
        masks: zeros in the observed gradient were put there by the defence and carry no
            information.
        signs: the observed gradient consists of signs.
        clip: largest l2 norm that a gradient can have been sent with, or None.
        dropped: names of gradients that are not compared, unless there are no others.
    """

    masks: bool = False
    signs: bool = False
    clip: float | None = None
    dropped: frozenset[str] = frozenset()

    @classmethod
    def from_defense(
        cls,
        defense: Defense | None,
        learning_rate: float,
        behind_noise: frozenset[str] = frozenset(),
    ) -> Adaptation:
        """Return what ``defense`` states of updates; nothing where it is None.

        Args:
            defense: the known defence.
            learning_rate: of the client's local steps.
            behind_noise: weights of the layers that see the record through noise of the client.
                Their gradients are left out (after Balunovic et al., arXiv:2111.04706). The noise
                is one of the training's unknowns and is optimised with the others, because it
                enters the gradients of all layers.
        """
        stated = [
            protection
            for part in (() if defense is None else defense.flat())
            if (protection := part.update_protection()) is not None
        ]
        clips = [p.clip / learning_rate for p in stated if p.clip is not None]
        clips += [p.record_clip for p in stated if p.record_clip is not None]
        return cls(
            masks=any(protection.masked for protection in stated),
            signs=any(protection.signs for protection in stated),
            clip=min(clips) if clips else None,
            dropped=behind_noise,
        )

    def observed(self, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors to compare with: those that are not all zero.

        Raises:
            NotApplicableError: every tensor is zero.
        """
        kept = {
            name: tensor for name, tensor in gradient.items() if name not in self.dropped
        } or gradient
        # While a zero convolution is zero, the layers behind it have no gradient to compare.
        kept = {name: tensor for name, tensor in kept.items() if bool(tensor.any())}
        if not kept:
            raise NotApplicableError(
                "the update is zero in every tensor; no gradient is left to compare with"
            )
        return {name: tensor.sign() if self.signs else tensor for name, tensor in kept.items()}

    def simulated(
        self, gradient: Mapping[str, Tensor], observed: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return a simulated gradient as the defence would leave it, differentiable."""
        sent = {name: gradient[name] for name in observed}
        if self.clip is not None:
            norm = torch.stack([tensor.square().sum() for tensor in gradient.values()]).sum().sqrt()
            scale = (self.clip / (norm + 1e-12)).clamp(max=1.0)
            sent = {name: tensor * scale for name, tensor in sent.items()}
        if self.signs:
            sent = {name: t / (t.abs() + SOFT * t.abs().mean() + 1e-12) for name, t in sent.items()}
        if self.masks:
            sent = {
                name: torch.where(observed[name] == 0, 0.0, tensor) for name, tensor in sent.items()
            }
        return sent
