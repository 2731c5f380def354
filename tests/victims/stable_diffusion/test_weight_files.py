"""Which weights are loaded (float32, half precision, shards), and which are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.interfaces import DataError
from tests.support.model_layouts import edit_json, resave
from victims.stable_diffusion.files import conv_in_report, fingerprint, locate
from victims.stable_diffusion.model import StableDiffusion
from victims.stable_diffusion.weight_files import conversion, find_weights, weight_files

PARTS = ("vae", "unet", "text_encoder")


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be saved anew."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def networks(model: Path) -> dict[str, torch.Tensor]:
    """All weights that are loaded, in whatever type they are held."""
    loaded = StableDiffusion.load(str(model))
    modules = {"vae": loaded.vae, "unet": loaded.unet, "text_encoder": loaded.text_encoder}
    return {
        f"{part}.{name}": w
        for part, module in modules.items()
        for name, w in module.state_dict().items()
    }


def names(part: Path) -> list[str]:
    return sorted(file.name for file in part.glob("*.safetensors*"))


def test_half_precision_alone_is_cast_to_float32(model: Path, tiny_model: Path) -> None:
    for part in PARTS:
        resave(model / part, variant="fp16")
    assert names(model / "unet") == ["diffusion_pytorch_model.fp16.safetensors"]
    assert names(model / "text_encoder") == ["model.fp16.safetensors"]
    full, half = networks(tiny_model), networks(model)
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    assert all(torch.equal(half[name], tensor.half().float()) for name, tensor in full.items())
    assert conv_in_report(model)["rank"] == conv_in_report(tiny_model)["rank"]
    assert fingerprint(model) != fingerprint(tiny_model)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_are_loaded(model: Path, tiny_model: Path, variant: str | None) -> None:
    for part in PARTS:
        resave(model / part, variant=variant, shard_size="20KB")
        end = f".{variant}.json" if variant else ".json"
        assert any(name.endswith(f".safetensors.index{end}") for name in names(model / part))
        assert len(weight_files(model / part)) > 1
    full, sharded = networks(tiny_model), networks(model)
    assert full.keys() == sharded.keys()
    assert all(
        torch.equal(sharded[n], w if variant is None else w.half().float()) for n, w in full.items()
    )


def test_float32_goes_before_half_precision(model: Path, tiny_model: Path) -> None:
    before = {part: (model / part / names(model / part)[0]).read_bytes() for part in PARTS}
    for part in PARTS:
        resave(model / part, variant="fp16", shard_size="20KB")
        name = (
            "model.safetensors" if part == "text_encoder" else "diffusion_pytorch_model.safetensors"
        )
        (model / part / name).write_bytes(before[part])
        weights = find_weights(model / part)
        assert weights is not None
        assert weights.variant is None
        assert [file.name for file in weights.files] == [name]
    assert fingerprint(model) == fingerprint(tiny_model)


def test_a_missing_shard_is_found_before_training(model: Path) -> None:
    resave(model / "unet", shard_size="20KB")
    shards = weight_files(model / "unet")
    shards[1].unlink()
    with pytest.raises(
        DataError, match=rf"unet: 1 of {len(shards)} shards are missing, {shards[1].name}; download"
    ):
        locate(str(model))


def test_an_index_that_names_what_is_not_there_is_refused(model: Path) -> None:
    resave(model / "unet", shard_size="20KB")
    index = next((model / "unet").glob("*.index.json"))
    first = weight_files(model / "unet")[0].name
    edit_json(index, weight_map={"conv_in.weight": "../../elsewhere/model.safetensors"})
    with pytest.raises(DataError, match="which is no safetensors file of this directory"):
        locate(str(model))
    edit_json(index, weight_map={"no.such.tensor": first})
    with pytest.raises(
        DataError, match=f"{first}: lacks no.such.tensor, which {index.name} assigns to it"
    ):
        locate(str(model))
    edit_json(index, weight_map={})
    with pytest.raises(DataError, match="weight_map is missing or empty"):
        locate(str(model))


@pytest.mark.parametrize("part", PARTS)
def test_pickled_weights_are_refused_with_a_command_that_converts_them(
    model: Path, tiny_model: Path, part: str
) -> None:
    (file,) = weight_files(model / part)
    tensors = load_file(file)
    file.unlink()
    name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
    torch.save(tensors, model / part / name)
    with pytest.raises(
        DataError, match=f"pickled ones are not read, {name}; if you trust .* python -c"
    ) as caught:
        locate(str(model))
    assert conversion(model / part) in str(caught.value)
    exec(conversion(model / part), {})
    before, after = networks(tiny_model), networks(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_a_part_without_weights_is_refused(model: Path) -> None:
    weight_files(model / "vae")[0].unlink()
    with pytest.raises(
        DataError, match="vae: no weights; download the model's safetensors files again"
    ):
        locate(str(model))
