"""Which files make a model, its hash, and the errors for missing or damaged files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.interfaces import DataError, ImageBatch
from victims.diffusion.split_controlnet import SplitControlNet
from victims.stable_diffusion.files import POCKET, conv_in_report, fingerprint, locate, weight_files
from victims.stable_diffusion.model import StableDiffusion, images_at_once


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_variants_beside_the_weights_change_nothing(model: Path, tiny_model: Path) -> None:
    for name in (
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.non_ema.safetensors",
    ):
        save_file({"conv_in.weight": torch.zeros(1, 1, 1, 1)}, model / "unet" / name)
    assert fingerprint(model) == fingerprint(tiny_model)
    assert conv_in_report(model) == conv_in_report(tiny_model)
    (plain,) = weight_files(model / "unet")
    plain.unlink()
    (model / "unet" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    with pytest.raises(
        DataError, match=r"unet: no weights .* only diffusion_pytorch_model\.non_ema\.safetensors"
    ):
        locate(str(model))


def test_pickled_weights_are_not_read(model: Path) -> None:
    (file,) = weight_files(model / "vae")
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(DataError, match="no safetensors weights; pickled ones are not read"):
        locate(str(model))


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ((), "tokenizer: tokenizer_config.json is missing"),
        (
            ("tokenizer_config.json",),
            "tokenizer: the vocabulary is missing, tokenizer.json or vocab.json",
        ),
    ],
)
def test_a_tokenizer_without_its_vocabulary_is_refused(
    model: Path, kept: tuple[str, ...], words: str
) -> None:
    """The library makes one of two tokens of it, without a word."""
    for file in (model / "tokenizer").iterdir():
        if file.name not in kept:
            file.unlink()
    with pytest.raises(DataError, match=words):
        StableDiffusion.load(str(model))


def test_a_tokenizer_of_another_model_is_refused(model: Path) -> None:
    shutil.rmtree(model / "tokenizer")
    shutil.copytree(POCKET / "tokenizer", model / "tokenizer")
    with pytest.raises(DataError, match=r"tokenizer: 1108 tokens, but the text encoder has 514"):
        locate(str(model))


def test_weights_that_lack_a_tensor_are_refused(model: Path) -> None:
    (file,) = weight_files(model / "text_encoder")
    tensors = load_file(file)
    name = next(key for key in tensors if key.endswith("position_embedding.weight"))
    tensors.pop(name)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        DataError, match=r"text_encoder: the weights lack .*position_embedding\.weight"
    ):
        StableDiffusion.load(str(model))


def test_the_old_tensor_names_of_the_hub_are_understood(model: Path, tiny_model: Path) -> None:
    """SD 1.x files prefix tensors of the text encoder by ``text_model.`` and hold position ids."""
    (file,) = weight_files(model / "text_encoder")
    tensors = {f"text_model.{k.removeprefix('text_model.')}": t for k, t in load_file(file).items()}
    save_file(
        {**tensors, "text_model.embeddings.position_ids": torch.arange(8)[None]},
        file,
        metadata={"format": "pt"},
    )
    old, new = (StableDiffusion.load(str(path)).embed(["a cat"]) for path in (model, tiny_model))
    assert torch.equal(old, new)


def test_the_hash_of_a_model_is_that_of_the_bytes_that_are_used(
    model: Path, tiny_model: Path
) -> None:
    for file in (
        "README.md",
        ".DS_Store",
        "unet/.DS_Store",
        "unet/README.txt",
        "vae/._config.json",
        "vae/old.json",
    ):
        (model / file).write_text("anything")
    (model / ".cache" / "huggingface").mkdir(parents=True)
    (model / "tokenizer" / "notes.txt").write_text("anything")
    assert fingerprint(model) == fingerprint(tiny_model)
    assert fingerprint(POCKET) == "eae3b6c14c54323e3fb6ffd0a7bd3b87a2936b38343f2af80531e0e8966a2f8a"
    config = model / "vae" / "config.json"
    config.write_text(config.read_text().replace('"scaling_factor": 1.0', '"scaling_factor": 0.5'))
    assert fingerprint(model) != fingerprint(tiny_model)


def test_a_malformed_configuration_is_named(model: Path) -> None:
    (model / "unet" / "config.json").write_text(json.dumps({"sample_size": 8}))
    with pytest.raises(DataError, match=r"config\.json: block_out_channels is missing"):
        SplitControlNet.build({"model": str(model)}).check(64)


def test_large_pictures_go_through_in_smaller_groups(tiny_model: Path) -> None:
    assert [images_at_once(side, most=64) for side in (32, 64, 128, 256, 512, 2048)] == [
        64,
        64,
        64,
        16,
        4,
        1,
    ]
    model = StableDiffusion.load(str(tiny_model))
    pixels = torch.rand(3, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    together = model.encode(ImageBatch(pixels))
    assert torch.allclose(together[2:], model.encode(ImageBatch(pixels[2:])), atol=1e-5)
    assert model.decode(together).pixels.shape == pixels.shape
