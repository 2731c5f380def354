"""Planning checks a whole model: each defect gets one sentence that says how to repair it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.interfaces import DataError
from tests.support.model_layouts import (
    LFS_POINTER,
    edit_json,
    resave,
    split_vocabulary,
    write_index,
)
from victims.diffusion.split_controlnet import SplitControlNet
from victims.stable_diffusion.files import fingerprint, locate
from victims.stable_diffusion.model_checks import check_model
from victims.stable_diffusion.model_kind import SD, SDXL, model_kind
from victims.stable_diffusion.networks import read_network

UNET = "unet/config.json"


@pytest.fixture(scope="session")
def whole_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with every kind of file: an index, shards, a vocabulary in two files."""
    path = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("whole") / "model"))
    write_index(path)
    resave(path / "unet", shard_size="500KB")
    split_vocabulary(path / "tokenizer")
    check_model(path)
    return path


@pytest.fixture
def model(whole_model: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(whole_model, tmp_path / "model"))


def refusal(model: Path) -> str:
    """The one sentence that planning and ``bench describe`` end in, the same for each."""
    victim = SplitControlNet.build({"model": str(model)})
    sentences = set()
    for ask in (victim.fingerprint, lambda: victim.check(32), victim.notes):
        with pytest.raises(DataError) as caught:
            ask()
        sentences.add(str(caught.value))
    (sentence,) = sentences
    assert "\n" not in sentence
    assert str(model) in sentence
    return sentence


FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)

DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": lambda file: file.unlink(),
    "emptied": lambda file: file.write_bytes(b""),
    "cut in half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "a byte short": lambda file: file.write_bytes(file.read_bytes().rstrip()[:-1]),
    "a Git LFS pointer": lambda file: file.write_text(LFS_POINTER),
    "an open brace": lambda file: file.write_text("{"),
    "a list": lambda file: file.write_text("[]"),
    "null": lambda file: file.write_text("null"),
    "nothing but zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "deeply nested": lambda file: file.write_text("[" * 100_000),
}


def test_the_damaged_files_are_all_there_are(whole_model: Path) -> None:
    covered = {
        file.relative_to(whole_model).as_posix()
        for file in whole_model.rglob("*")
        if file.is_file()
    }
    assert covered == set(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_every_damage_ends_in_one_sentence_at_planning(model: Path, name: str, damage: str) -> None:
    DAMAGES[damage](model / name)
    if (name, damage) == ("model_index.json", "deleted"):  # the parts say it all
        check_model(model)
        return
    sentence = refusal(model)
    folder = (model / name).parent
    assert str(folder) in sentence
    if damage == "a Git LFS pointer":
        assert (
            sentence
            == f"{model / name} is a Git LFS pointer, not the file; run `git lfs pull` in {folder}"
        )


@pytest.mark.parametrize("part", ["vae", "unet", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(model: Path, part: str) -> None:
    shutil.rmtree(model / part)
    assert f"not a diffusers Stable Diffusion directory, {part}/ is missing" in refusal(model)


def test_the_command_line_gives_the_refusal_too(model: Path) -> None:
    (model / ".git").mkdir()
    (model / UNET).write_text(LFS_POINTER)
    result = CliRunner().invoke(main, ["describe", "split-controlnet", "--model", str(model)])
    assert result.exit_code == 2
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert f"is a Git LFS pointer, not the file; run `git lfs pull` in {model}" in " ".join(
        result.output.split()
    )


CONFIGURATIONS: list[tuple[str, dict[str, object], str]] = [
    (UNET, {"in_channels": 9}, r"4 latent channels, the UNet takes 9 \(an inpainting UNet\)"),
    (UNET, {"in_channels": 8}, r"4 latent channels, the UNet takes 8 \(an InstructPix2Pix UNet\)"),
    (UNET, {"in_channels": 16}, "4 latent channels, the UNet takes 16;"),
    (UNET, {"in_channels": "four"}, "in_channels is 'four', not a positive whole number"),
    (UNET, {"out_channels": 8}, "out_channels is 8, not the 4 of the latent"),
    (
        UNET,
        {"cross_attention_dim": 1024},
        r"prompt states of 1024 numbers .*, the text encoder gives 16",
    ),
    (
        UNET,
        {"class_embed_type": "projection"},
        "class_embed_type is 'projection'; such a UNet takes class labels",
    ),
    (UNET, {"time_cond_proj_dim": 256}, r"takes a guidance scale \(latent consistency models\)"),
    (UNET, {"attention_type": "gated"}, r"attention_type is 'gated' \(GLIGEN\)"),
    (UNET, {"addition_embed_type": "image"}, "the UNet takes conditions of the kind 'image'"),
    (
        UNET,
        {"_class_name": "UNet3DConditionModel"},
        "names UNet3DConditionModel instead of UNet2DConditionModel",
    ),
    (UNET, {"quantization_config": {"load_in_8bit": True}}, "quantised weights"),
    (UNET, {"block_out_channels": 16}, "block_out_channels is not a list"),
    (
        UNET,
        {"block_out_channels": [16, 64]},
        "has the shape .* weights and config.json are not of one model",
    ),
    (
        UNET,
        {"layers_per_block": 2},
        "has the shape .* weights and config.json are not of one model",
    ),
    (
        UNET,
        {"encoder_hid_dim": 24},
        "encoder_hid_dim is 24; such a UNet takes prompt states of another encoder",
    ),
    (
        "text_encoder/config.json",
        {"num_hidden_layers": 3},
        r"the weights lack .*layers\.2\..* not of one model",
    ),
    (UNET, {"norm_num_groups": 5}, "no network can be built from it"),
    (
        "vae/config.json",
        {"latent_channels": 16},
        "the autoencoder has 16 latent channels, the UNet takes 4;",
    ),
    (
        "vae/config.json",
        {"_class_name": "AutoencoderTiny"},
        "names AutoencoderTiny instead of AutoencoderKL",
    ),
    ("vae/config.json", {"in_channels": 1}, "does not take and give pictures of 3 channels"),
    (
        "vae/config.json",
        {"block_out_channels": [8] * 5},
        "5 blocks; a ControlNet's hint block fits",
    ),
    (
        "vae/config.json",
        {"scaling_factor": "large"},
        "scaling_factor 'large' or shift_factor 0.0 scales no latent",
    ),
    (
        "vae/config.json",
        {"scaling_factor": 0},
        "scaling_factor 0 or shift_factor 0.0 scales no latent",
    ),
    (UNET, {"cross_attention_dim": {}}, "prompt states of {} numbers"),
    (
        "scheduler/scheduler_config.json",
        {"timestep_spacing": "wide"},
        "no scheduler can be built from it, wide is not",
    ),
    ("vae/config.json", {"latents_mean": [0.0] * 4}, "latents_mean and latents_std are set"),
    ("text_encoder/config.json", {"hidden_size": 32}, "the text encoder gives 32"),
    (
        "text_encoder/config.json",
        {"vocab_size": 49408},
        "514 tokens, but the text encoder has 49408",
    ),
    (
        "text_encoder/config.json",
        {"architectures": ["T5EncoderModel"]},
        "T5EncoderModel instead of CLIPTextModel",
    ),
    (
        "model_index.json",
        {"tokenizer": ["transformers", "T5Tokenizer"]},
        "T5Tokenizer instead of CLIPTokenizer",
    ),
    (
        "model_index.json",
        {"vae": ["diffusers", "AutoencoderDC"]},
        "AutoencoderDC instead of AutoencoderKL",
    ),
]


@pytest.mark.parametrize(("name", "changes", "words"), CONFIGURATIONS)
def test_parts_that_do_not_fit_are_refused_by_name(
    model: Path, name: str, changes: dict[str, object], words: str
) -> None:
    edit_json(model / name, **changes)
    with pytest.raises(DataError, match=words):
        locate(str(model))


@pytest.mark.parametrize(
    "pipeline",
    ["StableDiffusion3Pipeline", "FluxPipeline", "KandinskyV22Pipeline", "PixArtAlphaPipeline"],
)
def test_other_pipelines_are_refused_by_name(model: Path, pipeline: str) -> None:
    index = {
        "_class_name": pipeline,
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "V"],
    }
    (model / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(
        DataError, match=f"names {pipeline}; only Stable Diffusion 1.x, 2.x and XL are taken"
    ):
        locate(str(model))
    shutil.rmtree(model / "unet")
    with pytest.raises(DataError, match=f"names {pipeline}; only"):
        locate(str(model))


def test_pipelines_with_the_parts_of_a_stable_diffusion_are_taken(
    model: Path, whole_model: Path
) -> None:
    write_index(
        model,
        _class_name="StableDiffusionImg2ImgPipeline",
        tokenizer=["transformers", "CLIPTokenizerFast"],
    )
    assert fingerprint(locate(str(model))) == fingerprint(whole_model)


def as_xl(model: Path) -> None:
    """Add a second text encoder and a UNet that takes both, as in Stable Diffusion XL."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig.from_pretrained(model / "text_encoder")
    config.projection_dim = 12
    CLIPTextModelWithProjection(config).save_pretrained(model / "text_encoder_2")
    shutil.copytree(model / "tokenizer", model / "tokenizer_2")
    unet = read_network(model / "unet")
    changes = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 12,
        "cross_attention_dim": 32,
    }
    for file in (model / "unet").glob("*.safetensors*"):
        file.unlink()
    type(unet).from_config({**unet.config, **changes}).save_pretrained(model / "unet")
    write_index(
        model,
        _class_name="StableDiffusionXLPipeline",
        text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
        tokenizer_2=["transformers", "CLIPTokenizer"],
    )


def test_the_kind_of_a_model_is_known(model: Path) -> None:
    assert model_kind(model) == SD
    as_xl(model)
    assert model_kind(model) == SDXL
    check_model(model)
    (model / "model_index.json").unlink()
    assert model_kind(model) == SDXL


def test_every_part_of_an_xl_is_checked(model: Path) -> None:
    as_xl(model)
    before = fingerprint(model)
    edit_json(model / "model_index.json", force_zeros_for_empty_prompt=False)
    assert fingerprint(model) != before, "what no prompt means is part of the model"
    edit_json(model / "model_index.json", text_encoder=[None, None])
    with pytest.raises(DataError, match="text_encoder is unset, as in the refiner"):
        check_model(model)
    write_index(model, _class_name="StableDiffusionXLPipeline")
    edit_json(model / UNET, projection_class_embeddings_input_dim=100)
    with pytest.raises(
        DataError, match=r"takes a pooled prompt of 52 numbers, text_encoder_2 gives 12"
    ):
        check_model(model)
    edit_json(model / UNET, projection_class_embeddings_input_dim=60)
    check_model(model)
    (model / "tokenizer_2" / "vocab.json").write_text(LFS_POINTER)
    with pytest.raises(DataError, match=r"tokenizer_2/vocab.json is a Git LFS pointer"):
        check_model(model)
    shutil.rmtree(model / "text_encoder_2")
    with pytest.raises(DataError, match="text_encoder_2/ is missing"):
        locate(str(model))


@pytest.mark.parametrize("side", ["large", 0, [], [64, None]])
def test_a_size_that_is_none_is_refused_where_it_is_asked_for(model: Path, side: object) -> None:
    edit_json(model / UNET, sample_size=side)
    with pytest.raises(DataError, match=r"sample_size is .* not the side of a latent"):
        SplitControlNet.build({"model": str(model)}).notes()


def test_the_directory_that_was_meant_is_named(model: Path) -> None:
    with pytest.raises(DataError, match=f"one part of a model, give {model}"):
        locate(str(model / "unet"))
    cache = model.parent / "models--owner--name"
    (cache / "snapshots").mkdir(parents=True)
    with pytest.raises(DataError, match=r"give one of the directories in .*snapshots"):
        locate(str(cache))


def test_a_model_is_checked_again_when_a_file_changes(model: Path) -> None:
    check_model(model)
    (model / "vae" / "diffusion_pytorch_model.safetensors").write_text(LFS_POINTER)
    with pytest.raises(DataError, match="Git LFS"):
        check_model(model)
