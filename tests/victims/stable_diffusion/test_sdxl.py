"""Stable Diffusion XL: what diffusers makes of a prompt, what crosses the wire, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from attacks.common.denoising import DiffusionPrior
from attacks.common.wire_algebra import pooled_prompts
from attacks.prompts.prompt_decode import PromptDecode
from attacks.prompts.prompt_optimise import PromptOptimise
from bench.cli.main import main
from bench.interfaces import (
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    Budget,
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
from defenses.dp_sgd import DpSgd
from defenses.mixup import Mixup
from defenses.prompt import PromptRetention
from tests.conftest import make_records
from tests.support.tiny_sdxl import LENGTH, POOLED, make_tiny_sdxl
from tests.support.views import made_public, made_view
from victims.diffusion.centralised import Centralised
from victims.diffusion.federated import Federated
from victims.diffusion.parts.base import PUBLIC_SEED
from victims.diffusion.parts.client import ClientRandomness
from victims.diffusion.parts.controlnet import new_controlnet
from victims.diffusion.parts.public_denoiser import UNetDenoiser
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


def test_every_prompt_is_decoded_from_the_states(model: StableDiffusion) -> None:
    public = made_public(model, make_records(4))
    prompts = (*PROMPTS, "wow!! a")
    code = model.prompt_code(list(prompts))
    assert code.pooled is not None
    view = made_view(public, {PROMPT_EMBEDDING: code.states, POOLED_PROMPT: code.pooled})
    run: dict[str, Any] = {
        "rng": generator(0),
        "budget": Budget(iterations=0, batch_size=3),
        "progress": Silent(),
    }
    claim = PromptDecode().run(view, **run)
    assert claim.estimates["prompt"].tokens == model.text().tokens(prompts)
    assert claim.diagnostics["decode_explained"] == 1.0
    assert claim.estimates["prompt"].texts[:2] == ("a cat", "")
    noisy = code.states + 1e-3 * torch.randn(code.states.shape, generator=generator(1))
    searched = PromptDecode.build({"beam": 3, "shortlist": 0}).run(
        made_view(public, {PROMPT_EMBEDDING: noisy}), **run
    )
    assert searched.estimates["prompt"].tokens == model.text().tokens(prompts)


def test_prompts_can_be_searched_for_by_gradient(model: StableDiffusion) -> None:
    view = made_view(
        made_public(model, make_records(4)), {PROMPT_EMBEDDING: model.embed(list(PROMPTS))}
    )
    claim = PromptOptimise().run(
        view, rng=generator(0), budget=Budget(iterations=40, batch_size=4), progress=Silent()
    )
    assert claim.diagnostics["attack_loss_last"] < 0.8 * claim.diagnostics["attack_loss_first"]


def test_the_denoiser_is_told_states_and_pooled_prompts(model: StableDiffusion) -> None:
    code = model.prompt_code(["a", "b", "c"])
    assert code.pooled is not None
    noisy, t = torch.randn(3, 4, 16, 16, generator=generator(0)), torch.tensor([1, 500, 999])
    view = made_view(
        made_public(model, make_records(4)),
        {PROMPT_EMBEDDING: code.states, POOLED_PROMPT: code.pooled},
    )
    prior = DiffusionPrior(UNetDenoiser(model), model.schedule, code.states, pooled_prompts(view))
    ids = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]])

    def expected(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        added = {"text_embeds": pooled, "time_ids": ids.expand(len(states), -1)}
        with torch.no_grad():
            return model.unet(
                noisy[: len(states)], t[: len(states)], states, added_cond_kwargs=added
            ).sample

    torch.testing.assert_close(prior.predict(noisy, t), expected(code.states, code.pooled))
    rows = torch.tensor([0, 1])
    torch.testing.assert_close(
        prior.for_rows(rows).predict(noisy[:2], t[:2]), expected(code.states[:2], code.pooled[:2])
    )
    blind = DiffusionPrior(UNetDenoiser(model), model.schedule)
    torch.testing.assert_close(blind.predict(noisy, t), expected(0 * code.states, 0 * code.pooled))
    same = made_view(
        made_public(model, make_records(4)), {PROMPT_EMBEDDING: code.states[:1].expand(3, -1, -1)}
    )
    assert pooled_prompts(same) is None


@pytest.mark.parametrize(
    ("kind", "protocol", "defense"),
    [
        (Centralised, "none", Defense()),
        (Centralised, "none", DpSgd()),
        (Federated, "fedavg", Defense()),
        (Federated, "secure-aggregation", Defense()),
    ],
    ids=lambda v: v if isinstance(v, str) else getattr(v, "__name__", type(v).__name__),
)
def test_clients_that_train_the_whole_network_work(
    tiny_sdxl: Path,
    records: Records,
    plan: TrainingPlan,
    tmp_path: Path,
    kind: type[Centralised] | type[Federated],
    protocol: str,
    defense: Defense,
) -> None:
    victim = kind.build({"model": str(tiny_sdxl)})
    capture = victim.train(
        records, defense, plan, protocol=protocol, out=tmp_path, progress=Silent()
    )
    assert all(0 < loss < 10 for loss in capture.costs.losses)
    whole = victim.trained(capture.model_dir, Defense(), protocol, "cpu").controlnet.state_dict()
    start = new_controlnet(victim.load("cpu"), PUBLIC_SEED).state_dict()
    assert (
        max(float((whole[n] - start[n]).abs().max()) for n in whole if "add_embedding" in n) > 1e-4
    )


def test_a_federated_clients_gradient_can_be_rebuilt(
    tiny_sdxl: Path, records: Records, plan: TrainingPlan
) -> None:
    """With the pooled prompt among what it is computed on, also under vmap as attacks run it."""
    victim = Federated.build({"model": str(tiny_sdxl), "optimizer": "sgd", "records_per_update": 1})
    trainer = victim.public(None, records, protocol="fedavg", device="cpu").trainer
    assert trainer is not None
    weights = dict(new_controlnet(victim.load("cpu"), PUBLIC_SEED).named_parameters())
    unknowns = trainer.unknowns()
    assert unknowns["pooled_text"].shape == (POOLED,)
    assert unknowns["pooled_text"].channel == POOLED_PROMPT
    rng = generator(0)
    inputs = {n: torch.rand(2, 1, *u.shape, generator=rng) for n, u in unknowns.items()}
    inputs["timestep"] = torch.tensor([[5], [700]])
    both = torch.func.vmap(trainer.gradient, in_dims=(None, 0))(weights, inputs)
    alone = trainer.gradient(weights, {n: t[1] for n, t in inputs.items()})
    name = "controlnet_mid_block.weight"
    assert float(alone[name].detach().abs().max()) > 0
    torch.testing.assert_close(both[name][1], alone[name], rtol=1e-3, atol=1e-6)
    inputs["pooled_text"] = inputs["pooled_text"] + 1.0
    other = trainer.gradient(weights, {n: t[1] for n, t in inputs.items()})
    assert not torch.allclose(other[name], alone[name], rtol=1e-3)


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
