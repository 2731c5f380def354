"""Checkpoints in a single file are refused with a command that converts them to a directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.interfaces import DataError, RequestError
from tests.support.model_layouts import LFS_POINTER, write_index
from tests.support.single_file_layout import save_single_file
from victims.stable_diffusion import hub
from victims.stable_diffusion.files import locate
from victims.stable_diffusion.model import StableDiffusion
from victims.stable_diffusion.single_file import conversion

UNET = "model.diffusion_model.input_blocks.0.0.weight"
VAE = "first_stage_model.encoder.conv_in.weight"


def tensors(*names: str, channels: int = 4) -> dict[str, Tensor]:
    return {name: torch.zeros(1, channels, 3, 3) for name in names}


CONTENTS: list[tuple[dict[str, Tensor], str]] = [
    (
        tensors(UNET, VAE, "cond_stage_model.transformer.text_model.x"),
        "a Stable Diffusion 1 in a single file",
    ),
    (tensors(UNET, VAE, "cond_stage_model.model.x"), "a Stable Diffusion 2 in a single file"),
    (
        tensors(UNET, VAE, "conditioner.embedders.0.x", "conditioner.embedders.1.x"),
        "a Stable Diffusion XL in a single",
    ),
    (tensors(UNET, VAE, "conditioner.embedders.0.x"), "the refiner of Stable Diffusion XL"),
    (
        tensors(UNET, VAE, "cond_stage_model.x", channels=9),
        "a UNet that takes 9 channels, as for inpainting",
    ),
    (tensors(UNET, VAE), "a UNet without its text encoder"),
    (tensors(UNET, "cond_stage_model.transformer.x"), "a UNet without its autoencoder"),
    (tensors("lora_unet_down_blocks_0.lora_down.weight"), "a LoRA, which is a change to a model"),
    (tensors("unet.up_blocks.0.attn.to_k.lora_A.weight"), "a LoRA, which is a change to a model"),
    (tensors("control_model.time_embed.0.weight"), "a ControlNet"),
    (tensors("model.diffusion_model.joint_blocks.0.x"), "a Stable Diffusion 3"),
    (tensors("double_blocks.0.img_attn.norm.key_norm.scale"), "a Flux"),
    (tensors("decoder.conv_in.weight"), "no checkpoint of a whole Stable Diffusion"),
]


@pytest.mark.parametrize(("given", "words"), CONTENTS)
def test_a_file_is_refused_by_what_it_holds(
    given: dict[str, Tensor], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.safetensors"
    save_file(given, file)
    with pytest.raises(RequestError, match=f"x.safetensors: {words}") as caught:
        locate(str(file))
    text = str(caught.value)
    assert "\n" not in text
    assert "diffusers layout" in text
    assert ("python -c" in text) == ("in a single file" in text)
    if "python -c" in text:
        assert f'save_pretrained("{tmp_path / "x"}")' in text


@pytest.mark.parametrize(
    "name", ["models/x.safetensors", "./x.safetensors", "owner/name.CKPT", "~/x.gguf"]
)
def test_a_missing_file_is_never_asked_for_at_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "download", lambda model: pytest.fail("asked the hub"))
    monkeypatch.setattr(hub, "cached_snapshot", lambda model: pytest.fail("asked the cache"))
    with pytest.raises(RequestError, match="no such file"):
        locate(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.ckpt", "a pickle, which is not loaded because loading it may run code"),
        ("notes.txt", "not a model; give a directory"),
    ],
)
def test_other_files_are_refused_by_their_ending(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(RequestError, match=words):
        locate(str(tmp_path / name))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_text(LFS_POINTER)
    with pytest.raises(DataError, match="is a Git LFS pointer, not the file; run `git lfs pull`"):
        locate(str(file))
    file.write_bytes(b"anything")
    with pytest.raises(DataError, match="truncated, damaged or no safetensors file"):
        locate(str(file))


def test_a_directory_with_a_single_file_says_how_to_convert_it(tmp_path: Path) -> None:
    save_file(CONTENTS[0][0], tmp_path / "x.safetensors")
    with pytest.raises(
        DataError,
        match=r"unet/ is missing; .*x\.safetensors: a Stable Diffusion 1 in a single file",
    ):
        locate(str(tmp_path))


def test_the_conversion_needs_no_hub_where_a_configuration_is_given(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers reads a single file without the hub if it gets configuration and vocabulary."""
    configuration = Path(shutil.copytree(tiny_model, tmp_path / "configuration"))
    write_index(configuration, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    for file in configuration.glob("*/*.safetensors"):
        file.unlink()
    save_single_file(tiny_model, tmp_path / "x.safetensors")
    with pytest.raises(
        RequestError, match="a Stable Diffusion 1 in a single file; make a directory"
    ):
        locate(str(tmp_path / "x.safetensors"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("reached for the network"))
    exec(conversion(tmp_path / "x.safetensors", "Stable Diffusion 1", configuration), {})
    before, after = (StableDiffusion.load(str(path)) for path in (tiny_model, tmp_path / "x"))
    for part in ("vae", "unet", "text_encoder"):
        loaded = getattr(after, part).state_dict()
        assert all(
            torch.equal(loaded[name], tensor)
            for name, tensor in getattr(before, part).state_dict().items()
        )
    assert torch.equal(before.embed(["a cat"]), after.embed(["a cat"]))
