"""Releases and gradients of a client's training, as an honest server has logged them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.least_squares import invert_convolution
from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    UNET_FEATURES,
    NotApplicableError,
    View,
)


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """Releases and the gradients sent back for them, oldest first.

    Attributes:
        noisy: x_t, ``(R, 4, h, w)``.
        features: h_ctrl, ``(R, C, h, w)``.
        gradient: gradient sent back for the features, ``(R, C, h, w)``.
        step: of each release, ``(R,)``; the releases of one step were made with one set of weights.
        epoch: of each release, ``(R,)``.
    """

    noisy: Tensor
    features: Tensor
    gradient: Tensor
    step: Tensor
    epoch: Tensor

    @classmethod
    def from_view(cls, view: View) -> TrainingLog:
        """Read the log from a view that holds every release.

        Raises:
            NotApplicableError: ``conv_in`` is not known, or every gradient that was sent is zero.
        """
        if view.public.stem is None:
            raise NotApplicableError(
                "the public weights of conv_in are not known under this threat model"
            )
        gradient = view.read(GRADIENT_DOWN, every=True).float()
        if not bool(gradient.any()):
            raise NotApplicableError(
                "the gradients that were sent back are all zero: this client was never trained"
            )
        return cls(
            noisy=invert_convolution(view.public.stem, view.read(UNET_FEATURES, every=True)),
            features=view.read(CONTROL_FEATURES, every=True).float(),
            gradient=gradient,
            step=torch.tensor([release.step for release in view.releases]),
            epoch=torch.tensor([release.epoch for release in view.releases]),
        )

    def steps(self) -> list[int]:
        """Return every step once, in order."""
        return sorted(set(self.step.tolist()))

    def centred(self, rows: Tensor) -> Tensor:
        """Return rows without the mean over the releases of their step.

        What remains is the difference between records.
        """
        centred = rows.clone()
        for step in self.steps():
            here = self.step == step
            centred[here] = centred[here] - centred[here].mean(0)
        return centred
