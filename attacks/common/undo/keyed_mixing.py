"""Finds the secret matrix that mixes channels of smashed data, from the wire."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from attacks.common.least_squares import unexplained
from attacks.common.spectral_prior import dct
from bench.interfaces import NotApplicableError

_ENOUGH = (
    1 << 20
)  # numbers of features from which a key is found; one release of Stable Diffusion is more
_ROUNDS = 4  # of weights and key in turn


def unmix_channels(tensor: Tensor, key: Tensor) -> Tensor:
    """Return ``(R, C, h, w)`` with the orthogonal ``key`` undone in every group of channels."""
    count, channels, height, width = tensor.shape
    grouped = tensor.reshape(count, channels // len(key), len(key), height, width)
    return torch.einsum("ji,bgjhw->bgihw", key.to(tensor), grouped).reshape(tensor.shape)


def key_of_features(conv: nn.Module, features: Tensor, group: int) -> tuple[Tensor, bool]:
    """Return the key under which ``features`` are most nearly an output of the public ``conv``.

    h = (I x K)(W x + b) with more channels than inputs lies in a small subspace that only W and K
    tell. What no input explains of (I x G) h - c b is linear in (G, c) and vanishes at G = K^T, c =
    1; its least with G of unit norm is an eigenvector of a matrix of group^2 rows. Neither timestep
    nor noise target is needed, and noise of one variance on the features moves every eigenvalue
    alike, not the vector.

    Args:
        conv: as ``attacks.common.least_squares.least_squares`` takes it.
        features: mixed, ``(R, C, h, w)``.
        group: how many channels are mixed with each other.

    Returns:
        K ``(group, group)`` orthogonal float64, and whether its sign is known: without a bias -K
        does as well.

    Raises:
        NotApplicableError: the features do not outnumber the inputs, so every key would do.
    """
    if not isinstance(conv, nn.Conv2d):
        raise NotApplicableError(
            "what is sent is not the answer of a convolution, so it does not show the key"
        )
    bare = copy.deepcopy(conv)
    bare.bias = None
    used = features[: max(1, _ENOUGH // features[0].numel())].detach().double().cpu()
    parts = []
    for i in range(group):
        for j in range(group):
            part = torch.zeros_like(used)
            part[:, i::group] = used[:, j::group]
            parts.append(unexplained(bare, part).flatten())
    bias = torch.zeros(used.shape[1]) if conv.bias is None else conv.bias.detach().cpu()
    constant = bias.double().view(1, -1, 1, 1).expand(1, -1, *used.shape[2:])
    offset = unexplained(bare, constant).expand(len(used), -1, -1, -1).flatten()
    left = torch.stack(parts)
    quadratic, mixed, constant_square = left @ left.T, left @ offset, offset @ offset
    sign_known = float(constant_square) > 1e-10 * float(quadratic.diagonal().mean())
    if sign_known:
        quadratic = quadratic - torch.outer(mixed, mixed) / constant_square
    found = torch.linalg.eigh(quadratic).eigenvectors[:, 0]
    if sign_known and float(found @ mixed) < 0:
        found = -found
    return _orthogonal(found.view(group, group)).T, sign_known


def key_of_latents(mixed: Tensor, known: Tensor, group: int) -> Tensor:
    """Return K from ``mixed`` = (I x K)(s known + rest), by weighted least squares.

    The weights follow the spectrum of the rest.

    Pictures have little at high spatial frequencies, where ``known`` is mostly noise; the weights,
    found in turn with the key, rest there. K is the orthogonal factor of E[mixed known^T], which an
    odd function of each number before the key leaves as it is.

    Args:
        mixed, known: ``(R, C, h, w)``; x_t and its noise target, or h_ctrl and x_t.

    Returns:
        ``(group, group)`` orthogonal float64.
    """
    y, x = dct(mixed.double().cpu()), dct(known.double().cpu())
    weights = torch.ones(y.shape[-2:], dtype=torch.float64)
    key = torch.eye(group, dtype=torch.float64)
    for _ in range(_ROUNDS):
        moments = torch.zeros(group, group, dtype=torch.float64)
        for i in range(group):
            for j in range(group):
                moments[i, j] = (weights * y[:, i::group] * x[:, j::group]).sum()
        key = _orthogonal(moments)
        clean = unmix_channels(y, key)
        scale = (weights * clean * x).sum((1, 2, 3)) / (weights * x * x).sum((1, 2, 3)).clamp_min(
            1e-30
        )
        rest = (clean - scale.view(-1, 1, 1, 1) * x).square().mean((0, 1))
        weights = 1 / _rings(rest).clamp_min(1e-9 * float(rest.mean()) + 1e-30)
        weights = weights / weights.mean()
    return key


def _orthogonal(matrix: Tensor) -> Tensor:
    """The orthogonal factor of the polar decomposition."""
    left, _, right = torch.linalg.svd(matrix)
    factor: Tensor = left @ right
    return factor


def _rings(power: Tensor) -> Tensor:
    """``(h, w)`` averaged over rings of one spatial frequency."""
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in power.shape)
    ring = (rows.view(-1, 1).square() + columns.square()).sqrt().round().long().flatten()
    total = torch.bincount(ring, power.flatten()) / torch.bincount(ring).clamp_min(1)
    return total[ring].view_as(power)
