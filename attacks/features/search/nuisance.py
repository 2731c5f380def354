"""Takes out of features what an unknown convolution of x_t puts into them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from bench.interfaces import CONTROL_FEATURES, PublicForward
from bench.interfaces.public_forward import NOISY


def conv_span(conv: nn.Conv2d, noisy: Tensor) -> Tensor | None:
    """An orthonormal basis ``(T, L, K)`` of all feature maps that a convolution shaped like
    ``conv`` can make of x_t.

    A client that trains its copy of ``conv_in`` releases h_ctrl under weights that no message
    tells. Since x_t is known and the copy is linear in it, comparing features outside of this space
    needs none of them; it costs K (37 in Stable Diffusion) of the L positions.

    Returns:
        None where there are too few positions for it.
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
    """The part of ``(T, C, h, w)`` that is orthogonal to the basis, channel by channel, ``(T, C, L)``."""
    flat = features.flatten(2)
    return flat - (flat @ basis) @ basis.transpose(1, 2)


@torch.no_grad()
def affine_in_noisy(
    forward: PublicForward, inputs: dict[str, Tensor], tolerance: float = 1e-4
) -> bool:
    """Whether h_ctrl is an affine function of x_t, defence included, with any draws of it held.

    Args:
        inputs: of a record or more, all of them.
    """

    def sent(noisy: Tensor) -> Tensor:
        return forward.send({**inputs, NOISY: noisy}, torch.Generator().manual_seed(0))[
            CONTROL_FEATURES
        ].float()

    first, second = inputs[NOISY], inputs[NOISY].flip(-1)
    whole = sent(first + second)
    deviation = whole - sent(first) - sent(second) + sent(torch.zeros_like(first))
    return bool(deviation.abs().max() <= tolerance * whole.abs().max())
