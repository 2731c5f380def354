"""Removes from features what an unknown convolution of x_t can add to them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from bench.interfaces import CONTROL_FEATURES, PublicForward
from bench.interfaces.public_forward import NOISY


def conv_span(conv: nn.Conv2d, noisy: Tensor) -> Tensor | None:
    """Return an orthonormal basis ``(T, L, K)`` of all maps that a convolution can make of x_t.

    A client that trains its copy of ``conv_in`` releases h_ctrl under weights that no message
    contains. The copy is linear in x_t, which is known, so comparing features outside this space
    needs none of those weights. It costs K (37 in Stable Diffusion) of the L positions.

    Args:
        conv: a convolution of the copy's shape.
        noisy: x_t, ``(T, 4, H, W)``.

    Returns:
        The basis, or None where there are too few positions for it or ``conv`` pads by a named
        rule.
    """
    if isinstance(conv.padding, str):
        return None
    patches = unfold(
        noisy.double(), conv.kernel_size, padding=conv.padding, stride=conv.stride
    ).transpose(1, 2)
    columns = torch.cat([patches, torch.ones_like(patches[..., :1])], 2)
    if columns.shape[1] <= columns.shape[2]:
        return None
    basis: Tensor = torch.linalg.qr(columns)[0]
    return basis.float()


def project_out(features: Tensor, basis: Tensor) -> Tensor:
    """Return the part of ``(T, C, h, w)`` orthogonal to the basis, per channel, ``(T, C, L)``."""
    flat = features.flatten(2)
    return flat - (flat @ basis) @ basis.transpose(1, 2)


@torch.no_grad()
def affine_in_noisy(
    forward: PublicForward, inputs: dict[str, Tensor], tolerance: float = 1e-4
) -> bool:
    """Return whether h_ctrl is an affine function of x_t, including the defence.

    Random draws of the defence are held fixed.

    Args:
        forward: the client as a function of its inputs.
        inputs: all inputs, of one record or more.
        tolerance: largest deviation, as a share of the largest feature.
    """

    def sent(noisy: Tensor) -> Tensor:
        return forward.send({**inputs, NOISY: noisy}, torch.Generator().manual_seed(0))[
            CONTROL_FEATURES
        ].float()

    first, second = inputs[NOISY], inputs[NOISY].flip(-1)
    whole = sent(first + second)
    deviation = whole - sent(first) - sent(second) + sent(torch.zeros_like(first))
    return bool(deviation.abs().max() <= tolerance * whole.abs().max())
