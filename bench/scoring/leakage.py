"""Measures how much a wire leaks independently of any attack: fields ``leak_*`` of a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.interfaces.defense import Defense
from bench.metrics.dependence import corrected_distance_correlation
from bench.types.channels import (
    CONTROL_FEATURES,
    LOSS_GRADIENT,
    NOISE_TARGET,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
)
from bench.types.schedule import NoiseSchedule
from bench.util.rng import generator
from bench.wire.capture import Capture
from bench.wire.transcript import Release

SAMPLE = 64
"""Most releases of the last epoch for the distance correlation, and most records for D."""

_CHANNEL_NAMES: Mapping[Channel, str] = {CONTROL_FEATURES: "control", UNET_FEATURES: "unet"}


@dataclass(frozen=True, eq=False)
class WireModel:
    """Public knowledge of how a latent becomes what crosses the wire.

    Attributes:
        schedule: the noise schedule.
        stem: the convolution from x_t to ``unet_features``; None where there is none.
        defense: the defence of the client.
    """

    schedule: NoiseSchedule
    stem: nn.Module | None
    defense: Defense


def leakage(capture: Capture, wire: WireModel) -> dict[str, float]:
    """Return measures of the capture alone, without those that the wire does not support.

    * ``leak_snr_mean``, ``leak_snr_max``: mean and maximum over records of the sum of SNR_t over
      the releases of a record; a single release counts where the defence makes all releases of a
      record equal. They describe x_t alone: a noise target on the wire reveals the latent at any
      SNR.
    * ``leak_mu_mean``, ``leak_mu_max``: D times the square root of that sum, the mu of Gaussian DP
      (arXiv:1905.02383) of x_t. ``leak_mu_distance`` is D, the largest l2 distance between the
      private latents of two sampled records.
    * ``leak_dcor_<image|condition>_<control|unet>``: bias-corrected distance correlation of private
      pictures and smashed data, with one release of each record.
    * ``leak_dfil``: mean over releases of an upper bound of the diagonal Fisher information leakage
      Tr(J^T J) / (d sigma^2) of the d numbers of z0 through ``unet_features`` (Maeng et al.,
      arXiv:2209.10119); its inverse bounds any unbiased attacker's mean squared error per number of
      the latent.
    """
    transcript = capture.transcript
    releases = [r for r in transcript.releases() if r in capture.secrets.position]
    if not releases or not transcript.is_row_channel(TIMESTEP):
        return {}
    timesteps = transcript.rows(TIMESTEP, releases)
    record = capture.secrets.record_index[[capture.secrets.position[r] for r in releases]]
    guarantee = wire.defense.guarantee(1, wire.schedule)
    selected = _first(record) if guarantee is not None and guarantee.once else slice(None)
    fields = _snr_fields(
        wire.schedule.snr(timesteps)[selected], record[selected], _distance(capture)
    )
    fields |= _correlations(capture, releases)
    if transcript.is_row_channel(UNET_FEATURES):
        noise_known = bool({NOISE_TARGET, LOSS_GRADIENT} & transcript.channels())
        size = transcript.rows(UNET_FEATURES, releases[:1])[0].numel()
        latent = tuple(capture.secrets.image_latents.shape[1:])
        if (bound := dfil(wire, timesteps, latent, size, noise_known=noise_known)) is not None:
            fields["leak_dfil"] = bound
    return fields


def _snr_fields(snr: Tensor, record: Tensor, distance: float) -> dict[str, float]:
    total = torch.zeros(int(record.max()) + 1, dtype=torch.float64).index_add_(
        0, record, snr.double()
    )
    total = total[torch.bincount(record) > 0]
    mu = distance * total.sqrt()
    return {
        "leak_snr_mean": float(total.mean()),
        "leak_snr_max": float(total.max()),
        "leak_mu_mean": float(mu.mean()),
        "leak_mu_max": float(mu.max()),
        "leak_mu_distance": distance,
    }


def _first(record: Tensor) -> list[int]:
    """Return the position of the first release of each record."""
    index = record.tolist()
    return [index.index(i) for i in sorted(set(index))]


def _distance(capture: Capture) -> float:
    secrets = capture.secrets
    latents = secrets.image_latents[_first(secrets.record_index)[:SAMPLE]].double().flatten(1)
    return float(torch.pdist(latents).max()) if len(latents) > 1 else 0.0


def _correlations(capture: Capture, releases: list[Release]) -> dict[str, float]:
    last = [r for r in releases if r.epoch == releases[-1].epoch]
    order = torch.randperm(len(last), generator=generator(0, "leakage")).tolist()[:SAMPLE]
    sample = [last[i] for i in order]
    index = capture.secrets.record_index[[capture.secrets.position[r] for r in sample]].tolist()
    records = capture.secrets.records
    fields = {}
    for channel, short in _CHANNEL_NAMES.items():
        if not capture.transcript.is_row_channel(channel):
            continue
        features = capture.transcript.rows(channel, sample)
        for target, pictures in (("image", records.images), ("condition", records.conditions)):
            fields[f"leak_dcor_{target}_{short}"] = corrected_distance_correlation(
                pictures[index].float(), features
            )
    return {name: value for name, value in fields.items() if not math.isnan(value)}


def dfil(
    wire: WireModel, timesteps: Tensor, latent: tuple[int, ...], size: int, *, noise_known: bool
) -> float | None:
    """Return the bound ``leak_dfil``, or None where no Gaussian noise protects the latent.

    Two sources of noise each give a bound, since more noise never leaks more; the smaller counts.

    * The noising process, if the noise target stays hidden: x_t = a z0 + b eps, J = a I, so SNR_t.
    * Noise of deviation s that a defence adds to conv_in(x_t): J = a W, so a^2 ||W||_F^2 / (d s^2).
      Clipping before the noise is ignored; it can only lower the leakage.

    Args:
        wire: how a latent becomes what crosses the wire.
        timesteps: timestep of each release, ``(R,)`` int64.
        latent: shape of z0, ``(C, H/8, W/8)``.
        size: numbers of a record in ``unet_features``.
        noise_known: whether the wire determines eps.
    """
    abar = wire.schedule.alphas_cumprod[timesteps]
    bounds = [] if noise_known else [abar / (1 - abar)]
    added, norm = wire.defense.added_noise(UNET_FEATURES, size), math.nan
    if wire.defense.sends_latent:
        norm = float(math.prod(latent))
    elif isinstance(wire.stem, nn.Conv2d):
        norm = squared_norm(wire.stem, latent)
    if added > 0 and not math.isnan(norm):
        bounds.append(abar * norm / (math.prod(latent) * added**2))
    if not bounds:
        return None
    return float(torch.stack(bounds).amin(0).mean())


def squared_norm(conv: nn.Conv2d, shape: tuple[int, ...]) -> float:
    """Return ||W||_F^2 of a convolution of stride 1 as a matrix on maps of ``shape`` (C, h, w).

    The matrix includes the zero padding.
    """
    weight = conv.weight.detach().double().square().sum((0, 1)).cpu()
    padding = conv.padding if isinstance(conv.padding, tuple) else (0, 0)
    reach = []
    for length, kernel, pad in zip(shape[1:], weight.shape, padding, strict=True):
        outputs = length + 2 * pad - kernel + 1
        reach.append(
            [max(0, min(outputs, length + pad - k) - max(0, pad - k)) for k in range(kernel)]
        )
    counts = torch.tensor(reach[0], dtype=torch.float64).unsqueeze(1) * torch.tensor(
        reach[1], dtype=torch.float64
    )
    return float((weight * counts).sum())
