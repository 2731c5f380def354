"""The pocket autoencoder, with factor 4 in each direction and four latent channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.util.torchvision_guard import guard_torchvision
from victims.pocket.corpus import Corpus
from victims.pocket.training import Compute, Plan, fit

SSIM_WEIGHT = 1.0
KL_WEIGHT = 1e-6
SHARES = {"outlines": 0.08, "circles": 0.07, "photos": 0.15, "portraits": 0.7}
MEASURED = 1024


def build(widths: tuple[int, int, int], image_size: int) -> Any:
    """Return an untrained ``AutoencoderKL`` with three blocks."""
    guard_torchvision()
    from diffusers import AutoencoderKL

    return AutoencoderKL(  # type: ignore[no-untyped-call]
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=image_size,
        mid_block_add_attention=False,
    )


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean structural similarity under a 7x7 box window; pictures are in [-1, 1].

    The result is differentiable.
    """
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2

    def blur(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, 1)

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    value = ((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return value.mean()


def batch(corpus: Corpus, size: int, rng: torch.Generator) -> Tensor:
    """Return a random mixture of pictures ``(size, 3, S, S)`` in [-1, 1] by :data:`SHARES`."""
    limits = torch.tensor(list(SHARES.values())).cumsum(0)[:-1]
    kind = torch.bucketize(torch.rand(size, generator=rng), limits)
    sources: list[Tensor] = [getattr(corpus, name) for name in SHARES]
    picked = torch.empty(size, *corpus.portraits.shape[1:], dtype=torch.uint8)
    for i, k in enumerate(kind.tolist()):
        picked[i] = sources[k][int(torch.randint(len(sources[k]), (1,), generator=rng))]
    flip = torch.rand(size, generator=rng) < 0.5
    picked[flip] = picked[flip].flip(-1)
    return picked.float() / 127.5 - 1.0


def train(
    vae: Any,
    corpus: Corpus,
    plan: Plan,
    folder: Path,
    compute: Compute,
    *,
    stop_at: int | None = None,
) -> None:
    """Train ``vae`` in place, from the last checkpoint in ``folder`` if there is one."""

    def loss(step: int, rng: torch.Generator) -> Mapping[str, Tensor]:
        x = batch(corpus, compute.batch_size, rng).to(compute.device)
        with compute.autocast():
            posterior = vae.encode(x).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=rng).to(compute.device)
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample.float()
        l1 = (decoded - x).abs().mean()
        structure = 1 - ssim(decoded, x)
        kl = posterior.kl().mean()
        return {
            "loss": l1 + SSIM_WEIGHT * structure + KL_WEIGHT * kl,
            "l1": l1,
            "dssim": structure,
            "kl": kl,
        }

    fit(vae, loss, plan, folder, stop_at=stop_at)


@torch.no_grad()
def encode(vae: Any, images: Tensor, device: str) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the unscaled latents, both ``(N, 4, h, w)``.

    Args:
        vae: the autoencoder.
        images: pictures ``(N, 3, S, S)`` uint8.
        device: device of ``vae``.
    """
    vae.eval()
    means, stds = [], []
    for part in torch.split(images, 64):
        posterior = vae.encode(part.to(device).float() / 127.5 - 1.0).latent_dist
        means.append(posterior.mean.cpu())
        stds.append(posterior.std.cpu())
    return torch.cat(means), torch.cat(stds)


def set_scale(vae: Any, corpus: Corpus, device: str) -> None:
    """Set ``scaling_factor`` so that latents of training portraits have unit standard deviation."""
    means, stds = encode(vae, corpus.portraits[:MEASURED], device)
    spread = float((means.var() + stds.square().mean()).sqrt())
    vae.register_to_config(scaling_factor=round(1.0 / spread, 5))
