"""How an attacker who knows the defence (Kerckhoffs) compares gradients with what it left of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.interfaces import Defense, NotApplicableError

ADAPTS_TO = ("gradient-pruning", "soteria", "sign", "clip-noise", "precode")
_MASKING = ("gradient-pruning", "soteria")
SOFT = 0.1
"""Softness of the sign: gradients below this share of the tensor's mean are told apart by size."""


@dataclass(frozen=True)
class Adaptation:
    """Attributes:
    masks: zeros in the observed gradient were put there by the defence and say nothing.
    signs: only signs were left.
    clip: largest l2 norm that a gradient can have been sent with, or None.
    dropped: names whose gradients are not compared, unless there are no others.
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
        """What is known of ``defense``; nothing where it is None.

        Args:
            behind_noise: weights of the layers that see the record through noise of the client's
                own. Their gradients are left out (after Balunovic et al., arXiv:2111.04706). The
                noise is one of the training's unknowns and is optimised with the others, since it
                goes back into the gradients of all layers.
        """
        parts = {} if defense is None else {part.name: part for part in defense.flat()}
        clip = parts["clip-noise"].params.clip / learning_rate if "clip-noise" in parts else None
        return cls(
            masks=any(name in parts for name in _MASKING),
            signs="sign" in parts,
            clip=clip,
            dropped=behind_noise,
        )

    def observed(self, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What there is to compare with: tensors that are not all zero.

        Raises:
            NotApplicableError: there is none.
        """
        kept = {
            name: tensor for name, tensor in gradient.items() if name not in self.dropped
        } or gradient
        # Before a zero convolution has moved, nothing behind it has a gradient, nor anything to
        # say.
        kept = {name: tensor for name, tensor in kept.items() if bool(tensor.any())}
        if not kept:
            raise NotApplicableError(
                "the update is zero in every tensor; no gradient is left to compare with"
            )
        return {name: tensor.sign() if self.signs else tensor for name, tensor in kept.items()}

    def simulated(
        self, gradient: Mapping[str, Tensor], observed: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """A simulated gradient as the defence would have left it, differentiable."""
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
