"""CLIP from the user's directory: its hash names it, its parts must fit, each role is possible."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from bench.backbones import clip
from bench.backbones.clip import MEAN, PUBLISHED, STD, ClipBackbone, clip_input, load_directory
from bench.backbones.embedded_backbone import load_embedded
from bench.backbones.selection import backbone_names, load_backbones
from bench.cell.runner import Runner
from bench.interfaces import (
    DataError,
    ImageBackbone,
    ImageBatch,
    PromptBackbone,
    RequestError,
    Silent,
)
from bench.util.files import sha256_file
from tests.support.tiny_clip import make_tiny_clip

NAME = "clip-vit-base-patch32"
EMBEDDED = load_embedded().name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_clip(tmp_path_factory.mktemp("weights") / NAME)


@pytest.fixture
def published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder to give as --weights; the tiny CLIP passes for the published one."""
    digest = sha256_file(folder / "model.safetensors")
    monkeypatch.setitem(clip.PUBLISHED, NAME, replace(PUBLISHED[NAME], sha256=digest))
    return folder.parent


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--openai--clip-vit-base-patch32" / "snapshots"


@pytest.fixture(scope="module")
def images() -> ImageBatch:
    return ImageBatch(torch.rand(20, 3, 48, 48, generator=torch.Generator().manual_seed(0)))


def test_it_fills_two_roles_with_unit_embeddings(folder: Path, images: ImageBatch) -> None:
    backbone = load_directory(folder)
    assert isinstance(backbone, ImageBackbone)
    assert isinstance(backbone, PromptBackbone)
    for vectors in (backbone.embed(images), backbone.text_embed(("a cat", "") * 10)):
        assert vectors.shape == (20, 8)
        assert vectors.norm(dim=1).tolist() == pytest.approx([1.0] * 20, abs=1e-5)
    scores = backbone.prompt_score(images, tuple(f"number {i}" for i in range(20)))
    assert scores.shape == (20,)
    assert float(scores.abs().max()) <= 1.0
    assert float(scores.std()) > 0.0
    with pytest.raises(DataError, match="20 images but 1 prompts"):
        backbone.prompt_score(images, ("a",))


def test_scores_are_those_of_transformers(folder: Path, images: ImageBatch) -> None:
    """Golden: the library's own joint forward pass, from ids written by hand."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    ids = torch.tensor([[512, *(ord(c) - ord("!") for c in "ca"), 256 + ord("t") - ord("!"), 513]])
    with torch.no_grad():
        output = model(input_ids=ids, pixel_values=clip_input(images.pixels, 32))
    expected = (output.image_embeds @ output.text_embeds.T).flatten()
    found = load_directory(folder).prompt_score(images, ("cat",) * 20)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(60, 90), (20, 16), (32, 32)])
def test_pictures_are_prepared_as_pillow_does(size: tuple[int, int]) -> None:
    """Golden: shorter side to 32 by Pillow's bicubic filter, middle cut out, then normalized."""
    height, width = size
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 6, 6, generator=rng)
    pixels = (
        torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
        .mul(255)
        .round()
        .to(torch.uint8)
    )
    scale = 32 / min(size)
    resized = Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).resize(
        (round(width * scale), round(height * scale)), Image.Resampling.BICUBIC
    )
    left, top = (resized.width - 32) // 2, (resized.height - 32) // 2
    cut = np.asarray(resized.crop((left, top, left + 32, top + 32)), dtype=np.float32) / 255
    expected = torch.from_numpy((cut - np.array(MEAN)) / np.array(STD)).permute(2, 0, 1).float()
    assert (clip_input(pixels.float() / 255, 32)[0] - expected).abs().max() < 2 / 255 / min(STD)


def test_another_file_gets_another_name(folder: Path, tmp_path: Path) -> None:
    other = make_tiny_clip(tmp_path / "my-clip", seed=1)
    names = {load_directory(path).name for path in (folder, other)}
    assert names == {
        f"{path.name}#{sha256_file(path / 'model.safetensors')[:8]}" for path in (folder, other)
    }


def test_a_published_file_has_its_own_name_wherever_it_lies(
    published: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(published / NAME, tmp_path / "elsewhere")
    assert load_directory(copy).name == NAME
    assert load_backbones(NAME, published).prompt.name == NAME


def test_a_random_network_under_a_published_name_is_refused(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"has sha256 .{8}…, the published file 99d28a65…; .* clip:DIRECTORY"
    ):
        load_backbones(NAME, folder.parent)
    with pytest.warns(UserWarning, match="embedded backbone instead"):
        assert load_backbones("auto", folder.parent).identity.name == EMBEDDED


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_missing_one_says_which_files_to_put_where(
    name: str, tmp_path: Path, cache: Path
) -> None:
    with pytest.raises(DataError) as caught:
        load_backbones(name, tmp_path)
    text = str(caught.value)
    assert str(tmp_path / name) in text
    assert "config.json, model.safetensors, vocab.json and merges.txt" in text
    assert f"hf download openai/{name} --revision {PUBLISHED[name].revision}" in text
    with pytest.raises(DataError, match="nothing is downloaded") as caught:
        load_backbones(name)
    assert str(cache.parents[1]) in str(caught.value)


def test_the_hubs_cache_may_keep_the_parts_in_two_snapshots(published: Path, cache: Path) -> None:
    """The library's conversion puts safetensors into a snapshot beside that of the other files."""
    one, two = cache / "3d74", cache / "c237"
    shutil.copytree(published / NAME, one)
    two.mkdir()
    shutil.move(one / "model.safetensors", two / "model.safetensors")
    assert load_backbones(NAME).identity.name == NAME
    assert load_backbones("auto").prompt.name == NAME


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("vocab.json", "needs config.json, model.safetensors and a tokenizer's files"),
        ("merges.txt", "cannot be read"),
        ("model.safetensors", "needs config.json, model.safetensors and a tokenizer's files"),
    ],
)
def test_an_incomplete_directory_is_refused(
    folder: Path, tmp_path: Path, file: str, words: str
) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / file).unlink()
    with pytest.raises(DataError, match=words):
        load_backbones(f"clip:{broken}", tmp_path)


def test_a_vocabulary_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "vocab.json").write_text('{"a": 0, "b": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}')
    with pytest.raises(DataError, match=r"has 4 tokens, the text tower 514"):
        load_directory(broken)


def test_damaged_or_foreign_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    tensors = load_file(broken / "model.safetensors")
    save_file(
        {**tensors, "text_model.embeddings.position_ids": torch.arange(12)[None]},
        broken / "model.safetensors",
    )
    load_directory(broken)
    tensors.pop("visual_projection.weight")
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(DataError, match=r"does not fit: .*visual_projection\.weight"):
        load_directory(broken)
    (broken / "model.safetensors").write_bytes(b"\x80\x04not tensors")
    with pytest.raises(DataError, match="does not fit"):
        load_directory(broken)


def test_loading_leaves_the_global_random_state_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    load_directory(folder)
    assert torch.equal(torch.rand(2), expected)


def test_roles_are_chosen_one_by_one(published: Path) -> None:
    own = f"clip:{published / NAME}"
    names = {
        "embedded": (EMBEDDED,) * 4,
        NAME: (NAME, EMBEDDED, EMBEDDED, NAME),
        own: (NAME, EMBEDDED, EMBEDDED, NAME),
        f"prompt={NAME}": (EMBEDDED, EMBEDDED, EMBEDDED, NAME),
        f"{NAME},identity=embedded": (EMBEDDED, EMBEDDED, EMBEDDED, NAME),
        "auto": (NAME, EMBEDDED, EMBEDDED, NAME),
        "auto,prompt=embedded": (NAME, EMBEDDED, EMBEDDED, EMBEDDED),
        f"identity={own}": (NAME, EMBEDDED, EMBEDDED, EMBEDDED),
    }
    for choice, expected in names.items():
        chosen = load_backbones(choice, published)
        found = (
            chosen.identity.name,
            chosen.distribution.name,
            chosen.perceptual.name,
            chosen.prompt.name,
        )
        assert found == expected, choice


def test_one_file_is_read_once_for_its_two_roles(published: Path) -> None:
    chosen = load_backbones(NAME, published)
    assert isinstance(chosen.identity, ClipBackbone)
    assert chosen.identity is chosen.prompt


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (
            "clip-vit-base-patch16",
            "unknown backbone 'clip-vit-base-patch16'; known: auto, embedded, alex",
        ),
        ("clip:", "unknown backbone 'clip:'"),
        (
            "judge=embedded",
            "unknown role 'judge' of a backbone; known: identity, distribution, perceptual, prompt",
        ),
        ("identity=alex", "backbone 'alex' cannot be identity; it can be perceptual"),
        ("prompt=embedded,prompt=clip:x", "choose one of embedded and clip:x for prompt"),
        (
            f"{NAME},clip-vit-large-patch14",
            f"choose one of {NAME} and clip-vit-large-patch14 for identity",
        ),
        ("auto,embedded", "choose one of auto and embedded"),
        ("prompt=auto", "unknown backbone 'auto'"),
        ("", "unknown backbone ''"),
    ],
)
def test_wrong_choices_end_in_one_sentence(choice: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        load_backbones(choice, tmp_path)
    assert words in str(caught.value)


def test_every_backbone_stands_in_the_row(make_job, folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    name = f"{NAME}#{sha256_file(folder / 'model.safetensors')[:8]}"
    # 60 records show 15 people, so that identified has a threshold.
    job = make_job(attack="closed-form", backbones=f"clip:{folder}", calibration=60)
    assert job.cell.backbones == backbone_names(job.backbones)
    row = Runner(tmp_path, Silent()).run(job).rows[0]
    assert row["backbones"] == (
        f"identity={name} distribution={EMBEDDED} perceptual={EMBEDDED} prompt={name}"
    )
    assert {m: row[f"{m}_backbone"] for m in ("id_top1", "id_top5", "identified", "lpips")} == {
        "id_top1": name,
        "id_top5": name,
        "identified": name,
        "lpips": EMBEDDED,
    }
    assert row["utility_prompt_score"] is not None
    assert make_job(attack="closed-form", backbones="embedded").cell.cell_id != job.cell.cell_id
