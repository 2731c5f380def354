"""Stable Diffusion XL: prompt codes and sampling as in diffusers, and the pooled channel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.interfaces import (
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    DataError,
    Defense,
    Records,
    RequestError,
    ServerAdapter,
    Silent,
    TrainingPlan,
    TranscriptWriter,
    generator,
)
from bench.interfaces.threat import PRESETS
from defenses.mixup import Mixup
from defenses.prompt import PromptRetention
from tests.conftest import make_records
from tests.support.tiny_sdxl import LENGTH, POOLED
from victims.diffusion.parts.base import PUBLIC_SEED
from victims.diffusion.parts.client import ClientRandomness
from victims.diffusion.parts.controlnet import new_controlnet
from victims.diffusion.parts.sampling import SamplingPlan, TrainedControl, sample
from victims.diffusion.split_controlnet import PROTOCOLS, SplitControlNet
from victims.stable_diffusion.model import StableDiffusion
from victims.stable_diffusion.prompt_code import time_ids

PROMPTS = ("a cat", "", "far too long for it", "b? (2)")


@pytest.fixture(scope="module")
def model(tiny_sdxl: Path) -> StableDiffusion:
    return StableDiffusion.load(str(tiny_sdxl))


def pipeline(model: StableDiffusion, controlnet: Any = None) -> Any:
    """The library's own pipeline on the same parts."""
    from diffusers import StableDiffusionXLControlNetPipeline

    controlnet = new_controlnet(model, PUBLIC_SEED) if controlnet is None else controlnet
    made = StableDiffusionXLControlNetPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        text_encoder_2=model.text_encoder_2,
        tokenizer=model.tokenizer,
        tokenizer_2=model.tokenizer_2,
        unet=model.unet,
        controlnet=controlnet,
        scheduler=model.scheduler,
        add_watermarker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def test_prompts_become_what_the_library_makes_of_them(model: StableDiffusion) -> None:
    states, _, pooled, _ = pipeline(model).encode_prompt(
        list(PROMPTS), device="cpu", do_classifier_free_guidance=False
    )
    code = model.prompt_code(list(PROMPTS))
    assert code.states.shape == (4, LENGTH, 16 + 24)
    assert code.pooled is not None
    assert code.pooled.shape == (4, POOLED)
    torch.testing.assert_close(code.states, states)
    torch.testing.assert_close(code.pooled, pooled)
    torch.testing.assert_close(model.embed(list(PROMPTS)), states)


def test_the_second_encoder_gets_its_own_padding_behind_the_end_only(
    model: StableDiffusion,
) -> None:
    ids = model.text().encode(["wow!"])
    own = torch.where((ids == 513) & (torch.arange(LENGTH) > 5), 0, ids)
    assert own.tolist()[0][4:] == [256, 513, 0, 0, 0, 0]
    expected = model.text_encoder_2(own, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(model.embed(["wow!"])[..., 16:], expected)
    assert model.tokenizer_2.pad_token_id == 0 != model.tokenizer.pad_token_id
    wrong = model.text_encoder_2(
        model.text().encode(["a cat"]), output_hidden_states=True
    ).hidden_states[-2]
    assert not torch.allclose(model.embed(["a cat"])[..., 16:], wrong, atol=1e-3)


@pytest.mark.parametrize("zeros", [None, True, False])
def test_no_prompt_is_what_the_library_makes_of_none(
    tiny_sdxl: Path, tmp_path: Path, zeros: bool | None
) -> None:
    path = tmp_path / "model"
    shutil.copytree(tiny_sdxl, path)
    if zeros is not None:
        (path / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": zeros}))
    model = StableDiffusion.load(str(path))
    pipe = pipeline(model)
    if zeros is not None:
        pipe.register_to_config(force_zeros_for_empty_prompt=zeros)
    _, states, _, pooled = pipe.encode_prompt(["a"], device="cpu", do_classifier_free_guidance=True)
    none = model.no_prompt()
    torch.testing.assert_close(none.states, states)
    torch.testing.assert_close(none.pooled, pooled)
    assert bool(states.any()) == (zeros is False)


def test_no_prompt_is_part_of_what_the_model_hashes_to(tiny_sdxl: Path, tmp_path: Path) -> None:
    hashes = []
    for zeros in (True, False):
        path = tmp_path / str(zeros)
        shutil.copytree(tiny_sdxl, path)
        (path / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": zeros}))
        hashes.append(SplitControlNet.build({"model": str(path)}).fingerprint())
    (path / "tokenizer_2" / "tokenizer_config.json").write_text("{}")
    hashes.append(SplitControlNet.build({"model": str(path)}).fingerprint())
    assert len({*hashes, SplitControlNet.build({"model": str(tiny_sdxl)}).fingerprint()}) == 3


def test_time_ids_are_the_librarys(model: StableDiffusion) -> None:
    ids = pipeline(model)._get_add_time_ids((64, 32), (0, 0), (64, 32), torch.float32, POOLED)
    assert torch.equal(time_ids(64, 32).float(), ids)


def test_sampling_with_guidance_is_the_librarys(model: StableDiffusion) -> None:
    """The pictures of the split halves, joined, and of ``StableDiffusionXLControlNetPipeline``."""
    records = make_records(2, size=64)
    controlnet = new_controlnet(model, PUBLIC_SEED)
    rng = generator(1)
    for block in (controlnet.controlnet_cond_embedding.conv_out, controlnet.controlnet_mid_block):
        torch.nn.init.normal_(block.weight, std=0.3, generator=rng)
    split = SplitControlNet()
    client = split.client_half(model, controlnet, Defense(), "gradient")
    trained = TrainedControl(client, client.stem.server_part(controlnet).eval(), ServerAdapter())
    drawn = sample(trained, records, SamplingPlan(steps=3, guidance=4.0, seed=5), Silent())
    latents = torch.randn((2, 4, 16, 16), generator=generator(5, "sampling", "0"))
    made = pipeline(model, controlnet.eval())(
        list(records.prompts),
        image=records.condition_batch().pixels,
        num_inference_steps=3,
        guidance_scale=4.0,
        latents=latents,
        output_type="pt",
    )
    torch.testing.assert_close(drawn.pixels, made.images.float(), rtol=1e-3, atol=1e-3)
    unguided = sample(trained, records, SamplingPlan(steps=3, guidance=1.0, seed=5), Silent())
    assert not torch.allclose(drawn.pixels, unguided.pixels, atol=1e-2)


def test_the_pooled_prompt_is_a_channel_that_goes_with_the_states(
    tiny_sdxl: Path, tiny_model: Path
) -> None:
    for path, both in (
        (tiny_sdxl, {PROMPT_EMBEDDING, POOLED_PROMPT}),
        (tiny_model, {PROMPT_EMBEDDING}),
    ):
        victim = SplitControlNet.build({"model": str(path)})
        for protocol in PROTOCOLS:
            sent = victim.channels(protocol)
            assert sent & {PROMPT_EMBEDDING, POOLED_PROMPT} == both
            for threat in PRESETS.values():
                assert threat.granted(sent) & both in (both, set()), threat.name
    with pytest.raises(RequestError, match="this protocol does not send it"):
        PRESETS["server"].model_copy(update={"withhold": ("pooled_prompt",)}).granted(sent)


def test_the_server_cannot_train_without_the_pooled_prompt(
    tiny_sdxl: Path, records: Records, plan: TrainingPlan, tmp_path: Path
) -> None:
    """Sabotage: the pooled prompt reaches the server by a way that the transcript does not show."""
    split = SplitControlNet.build({"model": str(tiny_sdxl)})
    capture = split.train(
        records, Defense(), plan, protocol="no-gradient", out=tmp_path / "run", progress=Silent()
    )
    assert capture.transcript.channels() == split.channels("no-gradient")
    writer = TranscriptWriter(tmp_path / "cut", victim=split.name, protocol="no-gradient")
    for m in capture.transcript.messages:
        tensors = {
            name: t for name, t in capture.transcript.read(m).items() if name != POOLED_PROMPT
        }
        ends = {"sender": m.sender, "receiver": m.receiver}
        writer.send(tensors, step=m.step, epoch=m.epoch, direction=m.direction, rows=m.rows, **ends)
    with pytest.raises(DataError, match="a message without pooled_prompt"):
        split.retrain_server(writer.close(), Defense(), plan, "no-gradient")


@pytest.mark.parametrize("null", ["zero", "empty", "learned"])
def test_prompt_retention_sends_constants_in_both_channels(
    tiny_sdxl: Path, records: Records, model: StableDiffusion, null: str
) -> None:
    defense = PromptRetention.build({"null": null})
    client, _ = SplitControlNet.build({"model": str(tiny_sdxl)}).halves(
        defense, "no-gradient", "cpu"
    )
    rng = ClientRandomness.seeded(0)
    sent = client.release(client.encode(records, [0, 1, 2], rng), rng)
    empty = model.prompt_code([""])
    for channel, of_empty in ((PROMPT_EMBEDDING, empty.states), (POOLED_PROMPT, empty.pooled)):
        assert of_empty is not None
        expected = of_empty if null == "empty" else torch.zeros_like(of_empty)
        torch.testing.assert_close(sent[channel], expected.expand_as(sent[channel]))


def test_batches_carry_the_pooled_prompt(
    tiny_sdxl: Path, records: Records, model: StableDiffusion
) -> None:
    client, _ = SplitControlNet.build({"model": str(tiny_sdxl)}).halves(
        Mixup(), "no-gradient", "cpu"
    )
    batch = client.encode(records, [3, 1], ClientRandomness.seeded(0))
    pooled = model.prompt_code(["p3", "p1"]).pooled
    assert batch.pooled_text is not None
    assert pooled is not None
    torch.testing.assert_close(batch.pooled_text, pooled)
    torch.testing.assert_close(batch.only(1).pooled_text, pooled[1:])
    sent = client.compute(batch, ClientRandomness.seeded(0))
    share = (sent[POOLED_PROMPT][0] - pooled[1]) / (pooled[0] - pooled[1])
    torch.testing.assert_close(share, share.mean().expand(POOLED), rtol=1e-3, atol=1e-3)
    assert 0.5 <= float(share.mean()) < 1.0
    own = (sent[PROMPT_EMBEDDING][0] - batch.text[1])[2] / (batch.text[0] - batch.text[1])[2]
    torch.testing.assert_close(own.median(), share.mean(), rtol=1e-3, atol=1e-3)
