"""Least squares through a convolution: the input that explains a feature map best."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from bench.errors import NotApplicableError


def invert_convolution(conv: nn.Module, features: Tensor, iterations: int = 200, tolerance: float = 1e-20) -> Tensor:
    """argmin_x ||conv(x) - features||^2 over the whole map, by conjugate gradients in float64.

    Solving for the map as a whole also works where a single patch is rank deficient, as long as the
    features outnumber the inputs.

    Args:
        conv: a ``Conv2d`` of stride 1 that keeps the size.
        features: ``(N, C, h, w)``.
        tolerance: of the squared residual of the normal equations, relative to the start.

    Returns:
        ``(N, in_channels, h, w)`` float32.

    Raises:
        NotApplicableError: not such a convolution, or fewer output than input channels.
    """
    if not isinstance(conv, nn.Conv2d) or conv.stride != (1, 1) or conv.groups != 1:
        raise NotApplicableError("the first layer is not a plain convolution of stride 1, so it is not inverted here")
    if conv.out_channels < conv.in_channels:
        raise NotApplicableError(f"the first layer maps {conv.in_channels} channels to {conv.out_channels}, too few")
    weight = conv.weight.detach().double().cpu()
    padding = conv.padding
    target = features.detach().double().cpu()
    if conv.bias is not None:
        target = target - conv.bias.detach().double().cpu().view(1, -1, 1, 1)

    def normal(x: Tensor) -> Tensor:
        return conv_transpose2d(conv2d(x, weight, padding=padding), weight, padding=padding)

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1).view(-1, 1, 1, 1)

    residual = conv_transpose2d(target, weight, padding=padding)
    x = torch.zeros_like(residual)
    direction = residual.clone()
    energy = dot(residual, residual)
    stop = tolerance * energy
    for _ in range(iterations):
        if bool((energy <= stop).all()):
            break
        image = normal(direction)
        curvature = dot(direction, image)
        step = torch.where(curvature > 0, energy / curvature.clamp_min(1e-300), torch.zeros_like(energy))
        x = x + step * direction
        residual = residual - step * image
        fresh = dot(residual, residual)
        direction = residual + torch.where(energy > 0, fresh / energy.clamp_min(1e-300), 0 * energy) * direction
        energy = fresh
    return x.float()
