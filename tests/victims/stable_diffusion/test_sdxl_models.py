"""Stable Diffusion XL: which models are loaded, which are refused, and one run from end to end."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bench.cli.main import main
from bench.interfaces import (
    POOLED_PROMPT,
    DataError,
)
from tests.support.tiny_sdxl import POOLED, make_tiny_sdxl
from victims.diffusion.split_controlnet import PROTOCOLS
from victims.stable_diffusion.model import StableDiffusion


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_read_as_float32(
    tiny_sdxl: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    path = tmp_path / "model"
    shutil.copytree(tiny_sdxl, path)
    model = StableDiffusion.load(str(path))
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        getattr(model, name).to(dtype).save_pretrained(path / name)
    half = StableDiffusion.load(str(path))
    for network in (half.unet, half.vae, half.text_encoder, half.text_encoder_2):
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    code = half.prompt_code(["a cat"])
    torch.testing.assert_close(
        code.states, StableDiffusion.load(str(tiny_sdxl)).embed(["a cat"]), rtol=0, atol=0.1
    )


def set_entry(file: Path, **entries: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def other_words(path: Path) -> None:
    file = path / "tokenizer_2" / "tokenizer.json"
    table = json.loads(file.read_text())
    vocabulary = table["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(table))


DAMAGES = {
    "text_encoder_2/ is missing": lambda path: shutil.rmtree(path / "text_encoder_2"),
    "tokenizer_2/ is missing": lambda path: shutil.rmtree(path / "tokenizer_2"),
    "'text_image'": lambda path: set_entry(
        path / "unet" / "config.json", addition_embed_type="text_image"
    ),
    "not those of tokenizer/": other_words,
    "read 77 and 10 tokens": lambda path: set_entry(
        path / "text_encoder" / "config.json", max_position_embeddings=77
    ),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_what_is_no_whole_model_is_refused(tiny_sdxl: Path, tmp_path: Path, message: str) -> None:
    path = tmp_path / "model"
    shutil.copytree(tiny_sdxl, path)
    DAMAGES[message](path)
    with pytest.raises(DataError, match=message):
        StableDiffusion.load(str(path))


def test_a_refiner_is_refused(tiny_sdxl: Path, tmp_path: Path) -> None:
    """Its UNet takes the states of the second encoder only, and five time ids."""
    from diffusers import UNet2DConditionModel

    path = tmp_path / "model"
    shutil.copytree(tiny_sdxl, path)
    config = UNet2DConditionModel.load_config(path / "unet")
    config |= {"projection_class_embeddings_input_dim": POOLED + 5 * 8}
    UNet2DConditionModel.from_config(config).save_pretrained(path / "unet")
    with pytest.raises(DataError, match="pooled"):
        StableDiffusion.load(str(path))


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose autoencoder makes pictures."""
    return make_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "model", trained_vae=True)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_the_command_trains_and_the_closed_form_reaches_its_ceiling(
    pictured: Path, protocol: str, tmp_path: Path
) -> None:
    sizes = {
        "records": 8,
        "auxiliary": 12,
        "calibration": 8,
        "evaluation": 8,
        "epochs": 1,
        "batch-size": 4,
    }
    options = {
        **sizes,
        "targets": 4,
        "utility-steps": 2,
        "backbones": "embedded",
        "results": tmp_path,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    attacks = ["--attack", "closed-form", "--attack", "prompt-decode"]
    arguments = ["run", "--model", str(pictured), "--protocol", protocol, *attacks, *words]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with (tmp_path / "rows.csv").open() as file:
        rows = {(row["attack"], row["target"]): row for row in csv.DictReader(file)}
    image = rows["closed-form", "image"]
    assert image["status"] == "ok"
    assert float(image["ssim"]) > 0.8
    assert float(image["ssim"]) == pytest.approx(float(image["ssim_ceiling"]), abs=1e-3)
    assert float(rows["prompt-decode", "prompt"]["token_accuracy"]) == 1.0
    assert POOLED_PROMPT in image["channels_sent"].split()
    if protocol == "no-gradient":
        condition = rows["closed-form", "condition"]
        assert float(condition["ssim"]) == pytest.approx(float(condition["ssim_ceiling"]), abs=1e-3)
