"""Train the pocket Stable Diffusion from scratch: ``python -m victims.pocket.recipe --out DIR``.

The stages are corpus, tokenizer, autoencoder, denoiser (UNet and text encoder) and export. Each
keeps its state under DIR, so that repeating the command continues an interrupted run; losses are in
``DIR/*/losses.jsonl``. The trained pipeline is ``DIR/weights``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from victims.pocket import autoencoder, denoiser, export
from victims.pocket import tokenizer as tokens
from victims.pocket.corpus import Corpus, build
from victims.pocket.training import Compute, Plan, is_finished, load

VAE_WIDTHS = (16, 48, 96)
UNET_WIDTHS = (64, 128)
STAGES = ("corpus", "tokenizer", "autoencoder", "denoiser", "export")


@dataclass(frozen=True)
class RecipeSettings:
    """Sets sizes and budgets of a run; the defaults reach the figures of the model card."""

    out: Path
    preview: Path | None = None
    device: str = "cpu"
    seed: int = 0
    image_size: int = 64
    pictures: int = 14_000
    workers: int = 2
    vae_widths: tuple[int, int, int] = VAE_WIDTHS
    unet_widths: tuple[int, ...] = UNET_WIDTHS
    text_layers: int = 3
    steps_vae: int = 10_000
    minutes_vae: float = 600.0
    steps_unet: int = 2400
    minutes_unet: float = 600.0
    batch_vae: int = 8
    batch_unet: int = 16
    bf16: bool = False
    rate_vae: float = 1.5e-3
    rate_unet: float = 8e-4
    until: str = "export"
    only: str | None = None


class PocketRecipe:
    """Runs the recipe, stage by stage."""

    def __init__(self, settings: RecipeSettings) -> None:
        s = self.settings = settings
        torch.manual_seed(s.seed)
        self.vae = autoencoder.build(s.vae_widths, s.image_size).to(s.device)
        self._scaled = False
        self.corpus: Corpus = build(
            s.out / "corpus", count=s.pictures, size=s.image_size, seed=s.seed, workers=s.workers
        )
        self.tokenizer = self._tokenizer()
        torch.manual_seed(s.seed + 1)
        self.unet = denoiser.build_unet(s.unet_widths, s.image_size // 4).to(s.device)
        self.text = denoiser.build_text_encoder(self.tokenizer, s.text_layers).to(s.device)

    def _tokenizer(self) -> Any:
        folder = self.settings.out / "tokenizer"
        if not (folder / "tokenizer.json").exists():
            tokens.save(tokens.build(self.corpus.words()), folder)
        return tokens.load(folder)

    def go(self, *, stop_at: int | None = None) -> None:
        """Run or continue the requested stages; ``stop_at`` pauses each stage at that step."""
        s = self.settings
        wanted = (s.only,) if s.only else STAGES[: STAGES.index(s.until) + 1]
        for stage in ("autoencoder", "denoiser"):
            if stage in wanted and not is_finished(s.out / stage):
                getattr(self, f"_{stage}")(s.out / stage, stop_at)
                if not is_finished(s.out / stage):
                    return
        if "export" in wanted:
            self.write(s.out / "weights")

    def _autoencoder(self, folder: Path, stop_at: int | None) -> None:
        s = self.settings
        plan = Plan(s.steps_vae, s.minutes_vae, s.rate_vae, seed=s.seed)
        autoencoder.train(
            self.vae, self.corpus, plan, folder, self._compute(s.batch_vae), stop_at=stop_at
        )

    def _compute(self, batch_size: int) -> Compute:
        return Compute(batch_size, self.settings.device, self.settings.bf16)

    def _denoiser(self, folder: Path, stop_at: int | None) -> None:
        s = self.settings
        self._restore_vae()
        plan = Plan(s.steps_unet, s.minutes_unet, s.rate_unet, ema=0.999, seed=s.seed + 1)
        compute = self._compute(s.batch_unet)
        denoiser.train(
            self.unet,
            self.text,
            self._latents(),
            plan,
            folder,
            compute,
            on_save=self._preview,
            stop_at=stop_at,
        )

    def _restore_vae(self) -> None:
        s = self.settings
        load(s.out / "autoencoder", self.vae)
        if not self._scaled:
            autoencoder.set_scale(self.vae, self.corpus, s.device)
            self._scaled = True

    def write(self, out: Path) -> None:
        """Export the pipeline of the last checkpoints, with the averaged UNet."""
        s = self.settings
        self._restore_vae()
        torch.manual_seed(s.seed + 1)
        unet = denoiser.build_unet(s.unet_widths, s.image_size // 4)
        text = denoiser.build_text_encoder(self.tokenizer, s.text_layers)
        if (s.out / "denoiser" / "state.json").exists():
            denoiser.restore(unet, text, s.out / "denoiser", averaged=True)
        export.write(
            out,
            vae=self.vae,
            unet=unet,
            text_encoder=text,
            tokenizer=self.tokenizer,
            scheduler=denoiser.build_scheduler(),
        )

    def _preview(self) -> None:
        if self.settings.preview is not None:
            self.write(self.settings.preview)

    def _latents(self) -> denoiser.Latents:
        c, s = self.corpus, self.settings
        scale = float(self.vae.config.scaling_factor)
        photos, filled = c.photos[: len(c.portraits) // 10], c.circles[: len(c.portraits) // 5]
        stored = s.out / "denoiser" / "latents.safetensors"
        if stored.exists():
            tensors = load_file(stored)
        else:
            means, stds = autoencoder.encode(
                self.vae, torch.cat([c.portraits, photos, filled]), s.device
            )
            tensors = {"means": means * scale, "stds": stds * scale}
            stored.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, stored)
        words = [*c.prompts, *c.photo_prompts[: len(photos)], *c.circle_prompts[: len(filled)]]
        ids = tokens.encode(self.tokenizer, words)
        empty = tokens.encode(self.tokenizer, [""])[0]
        return denoiser.Latents(
            means=tensors["means"], stds=tensors["stds"], tokens=ids, empty=empty
        )


def parse(arguments: Sequence[str] | None = None) -> RecipeSettings:
    """Return the settings of a command line."""
    p = argparse.ArgumentParser(prog="python -m victims.pocket.recipe", description=__doc__)
    d = RecipeSettings(out=Path())
    p.add_argument(
        "--out", type=Path, required=True, help="Folder of the run; an existing run is continued."
    )
    p.add_argument(
        "--preview", type=Path, help="Folder to write a usable pipeline to at every checkpoint."
    )
    p.add_argument("--device", default=d.device)
    p.add_argument("--seed", type=int, default=d.seed)
    p.add_argument("--pictures", type=int, default=d.pictures, help="Number of training portraits.")
    p.add_argument(
        "--workers", type=int, default=d.workers, help="Number of processes that draw portraits."
    )
    p.add_argument("--steps-vae", type=int, default=d.steps_vae)
    p.add_argument("--minutes-vae", type=float, default=d.minutes_vae)
    p.add_argument("--steps-unet", type=int, default=d.steps_unet)
    p.add_argument("--minutes-unet", type=float, default=d.minutes_unet)
    p.add_argument("--batch-vae", type=int, default=d.batch_vae)
    p.add_argument("--batch-unet", type=int, default=d.batch_unet)
    p.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        default=d.bf16,
        help="Compute in bfloat16, for a GPU.",
    )
    p.add_argument("--until", choices=STAGES, default=d.until, help="Last stage to run.")
    p.add_argument(
        "--only",
        choices=STAGES,
        help="Run this stage alone, with the earlier stages' files in DIR.",
    )
    return RecipeSettings(**vars(p.parse_args(arguments)))


def main() -> None:
    """Run the command line."""
    PocketRecipe(parse()).go()


if __name__ == "__main__":
    main()
