import json
from pathlib import Path

import pytest
import torch

from bench.util.torchvision_guard import guard_torchvision
from victims.pocket import tokenizer as tokens
from victims.pocket.corpus import HELD_OUT_IDENTITY, HELD_OUT_PHOTOS, crops, portraits
from victims.pocket.figures import WEIGHTS, noise_losses, retrieval, round_trip, sample, stem_rank

guard_torchvision()

LARGEST_FILE = 16 * 2**20
LEAST_SSIM, LEAST_PSNR, LEAST_SSIM_OF_PHOTOS = 0.91, 28.0, 0.80


@pytest.fixture(scope="module")
def pipe():  # type: ignore[no-untyped-def]
    from victims.pocket.figures import load

    return load()


def files() -> list[Path]:
    return [p for p in WEIGHTS.rglob("*") if p.is_file()]


def test_files_are_small_and_hold_no_pickles() -> None:
    assert max(p.stat().st_size for p in files()) < LARGEST_FILE
    assert sum(p.stat().st_size for p in files()) < 24 * 2**20
    assert {p.suffix for p in files()} == {".json", ".safetensors"}


def test_configurations_name_no_place_on_the_machine_that_made_them() -> None:
    for path in files():
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            json.loads(text)
            assert "/tmp" not in text
            assert "/work" not in text


def test_parts_fit_one_another(pipe) -> None:  # type: ignore[no-untyped-def]
    assert len(pipe.tokenizer) == pipe.text_encoder.config.vocab_size
    assert pipe.tokenizer.model_max_length == tokens.MAX_TOKENS
    assert pipe.text_encoder.config.max_position_embeddings == tokens.MAX_TOKENS
    assert pipe.unet.config.cross_attention_dim == pipe.text_encoder.config.hidden_size
    assert pipe.unet.config.in_channels == pipe.vae.config.latent_channels == 4
    assert pipe.vae_scale_factor == 4


def test_the_noising_process_is_stable_diffusions(pipe) -> None:  # type: ignore[no-untyped-def]
    share = pipe.scheduler.alphas_cumprod
    assert len(share) == 1000
    assert float(share[0]) == pytest.approx(1 - 0.00085, abs=1e-6)
    assert float(share[-1]) == pytest.approx(0.00466, abs=1e-4)


def test_any_text_can_be_tokenised(pipe) -> None:  # type: ignore[no-untyped-def]
    ids = tokens.encode(pipe.tokenizer, ["żółw 日本 \t??", "", "word " * 100])
    assert ids.shape == (3, tokens.MAX_TOKENS)
    assert int(ids.max()) < len(pipe.tokenizer)


def test_round_trip_keeps_held_out_portraits(pipe) -> None:  # type: ignore[no-untyped-def]
    similarity, ratio = round_trip(pipe.vae, portraits(HELD_OUT_IDENTITY, 16, 64, 1)[0])
    assert similarity > LEAST_SSIM
    assert ratio > LEAST_PSNR


def test_round_trip_keeps_photographs_it_never_saw(pipe) -> None:  # type: ignore[no-untyped-def]
    similarity, _ = round_trip(pipe.vae, crops(HELD_OUT_PHOTOS, 16, 64, 7)[0])
    assert similarity > LEAST_SSIM_OF_PHOTOS


@pytest.mark.slow
def test_samples_show_what_their_prompts_say(pipe) -> None:  # type: ignore[no-untyped-def]
    prompts = portraits(HELD_OUT_IDENTITY, 16, 64, 1)[1]
    share, cosine = retrieval(sample(pipe, prompts, 0, steps=10), prompts)
    assert share > 3 / 16  # chance is one in sixteen
    assert cosine > retrieval(sample(pipe, prompts, 0, steps=10).roll(1, 0), prompts)[1] + 0.1


def test_latents_have_about_unit_spread(pipe) -> None:  # type: ignore[no-untyped-def]
    images = portraits(HELD_OUT_IDENTITY, 16, 64, 1)[0].float() / 127.5 - 1
    with torch.no_grad():
        z = pipe.vae.encode(images).latent_dist.mean * pipe.vae.config.scaling_factor
    assert 0.8 < float(z.std()) < 1.2


def test_the_stem_can_be_inverted_and_the_unet_denoises(pipe) -> None:  # type: ignore[no-untyped-def]
    rank, columns, _ = stem_rank(pipe.unet)
    assert rank == columns == 36
    images, prompts = portraits(HELD_OUT_IDENTITY, 16, 64, 1)
    losses = noise_losses(pipe, images, prompts, 0)
    assert losses[500][0] < 0.15
    assert losses[999][0] < 0.03
