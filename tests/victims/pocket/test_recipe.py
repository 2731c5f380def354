import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from bench.util.torchvision_guard import guard_torchvision
from victims.pocket.figures import round_trip, sample, stem_rank
from victims.pocket.recipe import PocketRecipe, RecipeSettings, parse
from victims.pocket.tokenizer import learn_merges

guard_torchvision()


def tiny(out: Path) -> RecipeSettings:
    return RecipeSettings(
        out=out,
        pictures=8,
        workers=1,
        vae_widths=(8, 8, 8),
        unet_widths=(32, 32),
        text_layers=1,
        steps_vae=4,
        steps_unet=4,
        batch_vae=4,
        batch_unet=4,
    )


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return load_file(folder / state["checkpoint"] / "weights.safetensors")


def test_the_recipe_runs_through_and_its_result_is_a_pipeline(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    PocketRecipe(tiny(tmp_path / "run")).go()
    weights = tmp_path / "run" / "weights"
    pipe = StableDiffusionPipeline.from_pretrained(
        weights, local_files_only=True, torch_dtype=torch.float32
    )
    assert len(pipe.tokenizer) == pipe.text_encoder.config.vocab_size
    pipe.set_progress_bar_config(disable=True)
    pictures = sample(pipe, ["a happy woman", ""], 0)
    assert pictures.shape == (2, 3, 64, 64)
    round_trip(pipe.vae, pictures)
    assert stem_rank(pipe.unet)[1] == 36
    assert not [p for p in weights.rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]
    for stage, steps in (("autoencoder", 4), ("denoiser", 4)):
        state = json.loads((tmp_path / "run" / stage / "state.json").read_text(encoding="utf-8"))
        assert state["done"]
        assert state["step"] == steps
        assert (tmp_path / "run" / stage / "losses.jsonl").read_text(encoding="utf-8")
    for config in weights.rglob("*.json"):
        assert str(tmp_path) not in config.read_text(encoding="utf-8")


def test_an_interrupted_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    broken = replace(tiny(tmp_path / "broken"), until="autoencoder")
    PocketRecipe(broken).go(stop_at=2)
    PocketRecipe(broken).go()
    PocketRecipe(replace(broken, out=tmp_path / "whole")).go()
    a, b = (checkpoint(tmp_path / name / "autoencoder") for name in ("broken", "whole"))
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-4, atol=1e-5)


def test_the_command_line_keeps_the_defaults_of_the_shipped_weights(tmp_path: Path) -> None:
    assert parse(["--out", str(tmp_path)]) == RecipeSettings(out=tmp_path)


def test_merges_make_every_word_one_symbol() -> None:
    from collections import Counter

    merges = learn_merges(Counter({"hair": 5, "chair": 2, "a": 9, "air": 1}))
    assert {a + b for a, b in merges} >= {"hair</w>", "chair</w>", "air</w>"}
