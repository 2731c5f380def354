"""The pocket UNet and text encoder, trained jointly on latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.util.torchvision_guard import guard_torchvision
from victims.pocket.tokenizer import MAX_TOKENS
from victims.pocket.training import Compute, Plan, fit, load

TRAIN_STEPS = 1000
PROMPT_DROPOUT = 0.1
SNR_LIMIT, LEAST_WEIGHT = 5.0, 0.2
TEXT_WIDTH = 128


def build_scheduler() -> Any:
    """Return a DDIM sampler with Stable Diffusion's noising process."""
    guard_torchvision()
    from diffusers import DDIMScheduler

    return DDIMScheduler(  # type: ignore[no-untyped-call]
        num_train_timesteps=TRAIN_STEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def build_text_encoder(tokenizer: Any, layers: int) -> Any:
    """Return an untrained causal ``CLIPTextModel`` for ``tokenizer``."""
    guard_torchvision()
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(widths: tuple[int, ...], latent_size: int) -> Any:
    """Return an untrained ``UNet2DConditionModel``.

    It has cross-attention at all resolutions but the highest.
    """
    guard_torchvision()
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=latent_size,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(widths) - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (len(widths) - 1), "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


@dataclass(frozen=True)
class Latents:
    """Holds precomputed training examples.

    Attributes:
        means: means of the scaled latents' posterior, ``(N, 4, h, w)``.
        stds: standard deviations of the scaled latents' posterior, ``(N, 4, h, w)``.
        tokens: token ids of the prompts, ``(N, 32)`` int64.
        empty: token ids of the empty prompt, ``(32,)``.
    """

    means: Tensor
    stds: Tensor
    tokens: Tensor
    empty: Tensor


def signal(scheduler: Any) -> Tensor:
    """Return the cumulative signal share alpha-bar at every t, ``(T,)``."""
    value: Tensor = scheduler.alphas_cumprod
    return value.float()


def add_noise(z0: Tensor, eps: Tensor, share: Tensor) -> Tensor:
    """Return z_t of z_0 ``(B, 4, h, w)`` for the signal share of each sample, ``(B,)``."""
    a = share[:, None, None, None]
    return a.sqrt() * z0 + (1 - a).sqrt() * eps


def train(
    unet: Any,
    text: Any,
    latents: Latents,
    plan: Plan,
    folder: Path,
    compute: Compute,
    *,
    on_save: Any = None,
    stop_at: int | None = None,
) -> None:
    """Train UNet and text encoder in place on the noise-prediction loss.

    The training continues from the last checkpoint in ``folder`` if there is one. The loss is
    weighted by min(SNR, 5) / SNR, but at least by 0.2: a short training should concentrate on the
    noise levels that determine the picture's content, and still learn the low noise levels, which
    attacks use.
    """
    shares = signal(build_scheduler())
    batch_size, device = compute.batch_size, compute.device
    count = len(latents.means)

    def loss(step: int, rng: torch.Generator) -> Mapping[str, Tensor]:
        rows = torch.randint(count, (batch_size,), generator=rng)
        shape = latents.means[rows].shape
        z0 = latents.means[rows] + latents.stds[rows] * torch.randn(shape, generator=rng)
        flip = torch.rand(batch_size, generator=rng) < PROMPT_DROPOUT
        tokens = torch.where(flip[:, None], latents.empty[None], latents.tokens[rows])
        # One t is drawn from each of equal strata: the loss of a small batch then varies less than
        # with independent draws.
        t = (
            (torch.arange(batch_size) + torch.rand(batch_size, generator=rng))
            * (TRAIN_STEPS / batch_size)
        ).long()
        eps = torch.randn(shape, generator=rng)
        share = shares[t]
        snr = share / (1 - share)
        weight = (SNR_LIMIT / snr).clamp(LEAST_WEIGHT, 1.0).to(device)
        with compute.autocast():
            states = text(tokens.to(device)).last_hidden_state
            out = unet(
                add_noise(z0, eps, share).to(device), t.to(device), encoder_hidden_states=states
            ).sample.float()
        each = F.mse_loss(out, eps.to(device), reduction="none").mean(dim=(1, 2, 3))
        return {"loss": (weight * each).mean(), "eps": each.mean()}

    fit(
        nn.ModuleDict({"unet": unet, "text": text}),
        loss,
        plan,
        folder,
        on_save=on_save,
        stop_at=stop_at,
    )


def restore(unet: Any, text: Any, folder: Path, *, averaged: bool) -> None:
    """Load the trained weights, or their moving average."""
    load(folder, nn.ModuleDict({"unet": unet, "text": text}), averaged=averaged)
