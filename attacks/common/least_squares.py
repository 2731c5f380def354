"""Least squares through a convolution: the input that explains a feature map best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from bench.interfaces import NotApplicableError

_PROBES = 4  # random signs for the noise gain; it is a mean over the whole map, so few are needed


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """The input behind a feature map, and how far it can be wrong.

    Attributes:
        inputs: argmin_x ||conv(x) - features||^2, ``(N, in_channels, H, W)`` float32.
        feature_variance: of independent errors on each number of the features, estimated without
            bias from what no input explains, ``(N,)`` float64; 0 where the features do not
            outnumber the inputs.
        gain: mean variance of an input's error for errors of variance 1 on the features, trace((A^T
            A)^-1) / dim.
    """

    inputs: Tensor
    feature_variance: Tensor
    gain: float

    @property
    def input_variance(self) -> Tensor:
        """Mean variance of the errors on each number of ``inputs``, ``(N,)`` float64."""
        return self.feature_variance * self.gain


def invert_convolution(
    conv: nn.Module, features: Tensor, iterations: int = 200, tolerance: float = 1e-20
) -> Tensor:
    """Return argmin_x ||conv(x) - features||^2, ``(N, in_channels, H, W)`` float32.

    Arguments and errors as of ``least_squares``.
    """
    return _Map.from_conv(conv, features).solve(features, iterations, tolerance).float()


def least_squares(
    conv: nn.Module, features: Tensor, iterations: int = 200, tolerance: float = 1e-20
) -> LeastSquares:
    """Return the least squares solution with the noise that the features show.

    The constant 0.12 is ``gain`` to the power 1/2.

    Solving for the map as a whole also works where a single patch is rank deficient, as long as the
    features outnumber the inputs, and averages noise over all patches that a number is in.

    Args:
        conv: a ``Conv2d`` with zero padding, of any stride, dilation and grouping; or ``Identity``,
            for a client that sends x_t itself.
        features: ``(N, C, h, w)``.
        iterations: at most, of conjugate gradients in float64.
        tolerance: of the squared residual of the normal equations, relative to the start.

    Raises:
        NotApplicableError: not such a convolution, or fewer numbers come out than go in.
    """
    if isinstance(conv, nn.Identity) or _is_input(conv, features):
        return LeastSquares(
            features.detach().float().cpu(), torch.zeros(len(features), dtype=torch.float64), 1.0
        )
    layer = _Map.from_conv(conv, features)
    x = layer.solve(features, iterations, tolerance)
    left = (layer.forward(x) - layer.centred(features)).square().flatten(1).sum(1)
    freedom = features[0].numel() - x[0].numel()
    variance = left / freedom if freedom > 0 else torch.zeros_like(left)
    rng = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (_PROBES, *x.shape[1:]), generator=rng).double() * 2 - 1
    gain = float((signs * layer.conjugate_gradients(signs, iterations, 1e-8)).mean())
    return LeastSquares(x.float(), variance, gain)


def unexplained(
    conv: nn.Module, features: Tensor, iterations: int = 200, tolerance: float = 1e-20
) -> Tensor:
    """Return ``features`` less what an input explains best, float64.

    Arguments and errors are those of ``least_squares``.

    Raises:
        NotApplicableError: also where the features do not outnumber the inputs, so that nothing
            would be left.
    """
    layer = _Map.from_conv(conv, features)
    inputs = layer.solve(features, iterations, tolerance)
    if features[0].numel() <= inputs[0].numel():
        raise NotApplicableError(
            "the features do not outnumber the inputs, so that some input explains anything"
        )
    return layer.centred(features) - layer.forward(inputs)


def _is_input(conv: nn.Module, features: Tensor) -> bool:
    """Whether the client left this layer out, as the number of channels shows."""
    return (
        isinstance(conv, nn.Conv2d) and features.shape[1] == conv.in_channels != conv.out_channels
    )


@dataclass(frozen=True, eq=False)
class _Map:
    """A convolution as a linear map A from ``(N, in_channels, *size)``, with its transpose.

    All is computed in float64.
    """

    weight: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    spare: tuple[int, int]  # rows and columns at the far edge that the last patch does not reach

    @classmethod
    def from_conv(cls, conv: nn.Module, features: Tensor) -> _Map:
        if (
            not isinstance(conv, nn.Conv2d)
            or conv.padding_mode != "zeros"
            or isinstance(conv.padding, str)
        ):
            raise NotApplicableError(
                "the first layer is not a plain zero-padded convolution, so it is not inverted"
            )
        stride = (conv.stride[0], conv.stride[1])
        if features.shape[1] != conv.out_channels:
            raise NotApplicableError(
                f"unet_features have {features.shape[1]} channels, "
                f"the first layer makes {conv.out_channels}"
            )
        if conv.out_channels < conv.in_channels * stride[0] * stride[1]:
            raise NotApplicableError(
                f"the first layer makes {conv.out_channels} numbers "
                f"of {conv.in_channels * stride[0] * stride[1]}, "
                "too few to be inverted"
            )
        padding, dilation = (conv.padding[0], conv.padding[1]), (conv.dilation[0], conv.dilation[1])
        reached = [
            (features.shape[2 + i] - 1) * stride[i]
            - 2 * padding[i]
            + dilation[i] * (conv.kernel_size[i] - 1)
            + 1
            for i in (0, 1)
        ]
        spare = (-reached[0] % stride[0], -reached[1] % stride[1])
        weight = conv.weight.detach().double().cpu()
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().cpu()
        return cls(
            weight, bias.double().view(1, -1, 1, 1), stride, padding, dilation, conv.groups, spare
        )

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(
            x,
            self.weight,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def transpose(self, y: Tensor) -> Tensor:
        return conv_transpose2d(
            y,
            self.weight,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.spare,
            dilation=self.dilation,
            groups=self.groups,
        )

    def centred(self, features: Tensor) -> Tensor:
        return features.detach().double().cpu() - self.bias

    def solve(self, features: Tensor, iterations: int, tolerance: float) -> Tensor:
        return self.conjugate_gradients(
            self.transpose(self.centred(features)), iterations, tolerance
        )

    def conjugate_gradients(self, right: Tensor, iterations: int, tolerance: float) -> Tensor:
        """Return (A^T A)^-1 ``right``."""

        def dot(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).flatten(1).sum(1).view(-1, 1, 1, 1)

        residual = right
        x = torch.zeros_like(residual)
        direction = residual.clone()
        energy = dot(residual, residual)
        stop = tolerance * energy
        for _ in range(iterations):
            if bool((energy <= stop).all()):
                break
            image = self.transpose(self.forward(direction))
            curvature = dot(direction, image)
            step = torch.where(
                curvature > 0, energy / curvature.clamp_min(1e-300), torch.zeros_like(energy)
            )
            x = x + step * direction
            residual = residual - step * image
            fresh = dot(residual, residual)
            direction = (
                residual
                + torch.where(energy > 0, fresh / energy.clamp_min(1e-300), 0 * energy) * direction
            )
            energy = fresh
        return x
