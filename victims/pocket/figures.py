"""Print the model card's figures from the shipped weights: ``python -m victims.pocket.figures``.

All pictures are held out: training saw none of their identities and photographs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.interfaces import ImageBatch
from bench.util.torchvision_guard import guard_torchvision
from victims.pocket import tokenizer as tokens
from victims.pocket.corpus import HELD_OUT_IDENTITY, HELD_OUT_PHOTOS, circles, crops, portraits
from victims.pocket.denoiser import add_noise, signal

WEIGHTS = Path(__file__).resolve().parent / "weights"
TIMESTEPS = (1, 100, 250, 500, 750, 999)
GUIDANCE, SAMPLER_STEPS = 5.0, 25
RETRIEVED = 64


def load(folder: Path = WEIGHTS) -> Any:
    """Return the pipeline in ``folder``, in single precision, from local files only."""
    guard_torchvision()
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(  # type: ignore[no-untyped-call]
        folder, local_files_only=True, torch_dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def round_trip(vae: Any, images: Tensor) -> tuple[float, float]:
    """Return mean SSIM (scikit-image, 7x7) and mean PSNR in dB of decoded latent means.

    Args:
        vae: the autoencoder.
        images: pictures ``(N, 3, S, S)`` uint8.
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    similar, ratios = [], []
    for part in torch.split(images, 32):
        decoded = vae.decode(vae.encode(part.float() / 127.5 - 1).latent_dist.mean).sample
        pixels = (
            ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        )
        for a, b in zip(part.permute(0, 2, 3, 1).numpy(), pixels, strict=True):
            similar.append(structural_similarity(a, b, channel_axis=2))  # type: ignore[no-untyped-call]
            ratios.append(peak_signal_noise_ratio(a, b))  # type: ignore[no-untyped-call]
    return float(np.mean(similar)), float(np.mean(ratios))


@torch.no_grad()
def noise_losses(
    pipe: Any, images: Tensor, prompts: Sequence[str], seed: int
) -> dict[int, tuple[float, float]]:
    """Return the mean squared error of predicted noise at several t.

    The first number of each t is with the right prompts, the second with shuffled prompts.
    """
    rng = torch.Generator().manual_seed(seed)
    z0 = torch.cat(
        [pipe.vae.encode(x.float() / 127.5 - 1).latent_dist.mean for x in torch.split(images, 32)]
    )
    z0 = z0 * pipe.vae.config.scaling_factor
    states = pipe.text_encoder(tokens.encode(pipe.tokenizer, list(prompts))).last_hidden_state
    share = signal(pipe.scheduler)
    eps = torch.randn(z0.shape, generator=rng)
    result = {}
    for t in TIMESTEPS:
        zt, when = add_noise(z0, eps, share[t].expand(len(z0))), torch.full((len(z0),), t)
        right, wrong = (
            float((pipe.unet(zt, when, encoder_hidden_states=s).sample - eps).square().mean())
            for s in (states, states.roll(1, 0))
        )
        result[t] = (right, wrong)
    return result


def stem_rank(unet: Any) -> tuple[int, int, float]:
    """Return rank, column count and condition number of the UNet's first convolution.

    Its matrix has one row for each output channel and one column for each input and tap.
    """
    matrix = unet.conv_in.weight.detach().double().flatten(1)
    values = torch.linalg.svdvals(matrix)
    rank = int(torch.linalg.matrix_rank(matrix))
    return rank, int(matrix.shape[1]), float(values[0] / values[-1])


@torch.no_grad()
def sample(pipe: Any, prompts: Sequence[str], seed: int, steps: int = SAMPLER_STEPS) -> Tensor:
    """Return one picture for each prompt, ``(N, 3, S, S)`` uint8."""
    rng = torch.Generator().manual_seed(seed)
    size = int(pipe.vae.config.sample_size)
    pixels = pipe(
        list(prompts),
        height=size,
        width=size,
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        generator=rng,
        output_type="np",
    ).images
    return (
        torch.from_numpy((np.asarray(pixels) * 255 + 0.5).astype(np.uint8))
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def retrieval(pictures: Tensor, prompts: Sequence[str]) -> tuple[float, float]:
    """Return the share of prompts whose picture the judge ranks first, and the mean cosine.

    The judge is the embedded backbone, which was trained separately from this model, on other
    people and with another text tower.
    """
    from bench.backbones.embedded_backbone import load_embedded
    from bench.metrics.identification import ranks

    judge = load_embedded()
    seen = judge.prompt_embed(ImageBatch.from_uint8(pictures)).double()
    read = judge.text_embed(tuple(prompts)).double()
    return float((ranks(read, seen) == 0).double().mean()), float((read * seen).sum(dim=1).mean())


def picture(rows: Sequence[Tensor], path: Path, enlarge: int = 2) -> None:
    """Write rows of uint8 pictures as one PNG."""
    from PIL import Image

    grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).permute(1, 2, 0).numpy()
    image = Image.fromarray(np.ascontiguousarray(grid))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST).save(
        path, optimize=True
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    p = argparse.ArgumentParser(prog="python -m victims.pocket.figures", description=__doc__)
    p.add_argument("--weights", type=Path, default=WEIGHTS, help="Folder of the pipeline.")
    p.add_argument("--count", type=int, default=128, help="Number of pictures of each kind.")
    p.add_argument("--grid", type=Path, help="PNG file to write 16 samples to.")
    p.add_argument("--seed", type=int, default=0, help="Seed of noise and samples.")
    a = p.parse_args(arguments)
    pipe = load(a.weights)
    size = int(pipe.vae.config.sample_size)
    for name in ("vae", "unet", "text_encoder"):
        module = getattr(pipe, name)
        print(f"{name}: {sum(x.numel() for x in module.parameters()) / 1e6:.2f} M parameters")
    images, prompts = portraits(HELD_OUT_IDENTITY, a.count, size, 1)
    from bench.data.conditions import extract

    sets = {
        "held-out portraits": images,
        "held-out photograph crops": crops(HELD_OUT_PHOTOS, a.count, size, 7)[0],
        "held-out filled circles": circles(HELD_OUT_IDENTITY, a.count, size)[0],
        "outlines of held-out portraits": extract("canny", images),
    }
    for name, pictures in sets.items():
        similarity, ratio = round_trip(pipe.vae, pictures)
        print(f"round trip, {name}: SSIM {similarity:.4f}, PSNR {ratio:.2f} dB (n={len(pictures)})")
    for t, (right, wrong) in noise_losses(pipe, images, prompts, a.seed).items():
        print(f"noise prediction, t={t}: {right:.4f} with its prompt, {wrong:.4f} with another's")
    rank, columns, condition = stem_rank(pipe.unet)
    print(f"conv_in: rank {rank} of {columns}, condition number {condition:.1f}")
    drawn = sample(pipe, prompts[:RETRIEVED], a.seed)
    for name, pictures in (("samples", drawn), ("true pictures", images[:RETRIEVED])):
        share, cosine = retrieval(pictures, prompts[:RETRIEVED])
        print(
            f"prompt to image among {len(pictures)}, {name}: {100 * share:.1f} % first "
            f"(chance {100 / len(pictures):.1f} %), judge's cosine {cosine:.3f}"
        )
    if a.grid is not None:
        picture([drawn[:8], images[:8], drawn[8:16], images[8:16]], a.grid)
        for text in prompts[:16]:
            print(f"  {text}")


if __name__ == "__main__":
    main()
