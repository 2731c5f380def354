"""Stable Diffusion 1.5 at full size, on tensors without data: counts, cut and bytes are the known ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from bench.cli.main import main
from bench.interfaces import CLIENT_WEIGHTS, DataError, Defense, NoiseSchedule, TranscriptWriter
from tests.support.paths import ROOT
from tests.support.sd15_shape import make_sd15_shape
from victims.diffusion.parts.base import PUBLIC_SEED, ModelParams
from victims.diffusion.parts.client import ClientHalf
from victims.diffusion.parts.controlnet import new_controlnet, predict, predict_undivided
from victims.diffusion.parts.server import ServerHalf
from victims.diffusion.parts.size_report import (
    ParameterCounts,
    WireTensors,
    model_parts,
    parameters,
    payload,
)
from victims.diffusion.split_controlnet import PROTOCOLS, SplitControlNet
from victims.stable_diffusion.files import check_size, native_size
from victims.stable_diffusion.model import StableDiffusion
from victims.stable_diffusion.prompt_code import PromptCode

STEM, LATENT, TEXT = 320 * 64 * 64, 4 * 64 * 64, 77 * 768  # numbers a record
HINT_BLOCK, CONV_IN, UNET, CONTROLNET = 1_086_480, 11_840, 859_520_964, 361_279_120
ENCODER, TEXT_ENCODER = 34_163_664, 123_060_480
Halves = dict[str, tuple[ClientHalf, ServerHalf]]


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sd15_shape(tmp_path_factory.mktemp("sd15") / "model")


@pytest.fixture(scope="module")
def model(shape: Path) -> StableDiffusion:
    return StableDiffusion.load(str(shape), "meta")


@pytest.fixture(scope="module")
def halves(shape: Path) -> Halves:
    victim = SplitControlNet(ModelParams(model=str(shape)))
    return {protocol: victim.halves(Defense(), protocol, "meta") for protocol in PROTOCOLS}


def test_every_network_has_the_published_number_of_parameters(model: StableDiffusion) -> None:
    controlnet = new_controlnet(model, PUBLIC_SEED)
    assert model_parts(model, controlnet) == {
        "UNet": UNET,
        "ControlNet": CONTROLNET,
        "autoencoder": 83_653_863,
        "text encoder": TEXT_ENCODER,
    }
    assert parameters(controlnet.controlnet_cond_embedding) == HINT_BLOCK
    assert {p.device.type for p in controlnet.parameters()} == {"meta"}


def test_the_scheduler_of_the_hub_gives_the_published_schedule(
    shape: Path, model: StableDiffusion
) -> None:
    expected = NoiseSchedule.stable_diffusion()
    torch.testing.assert_close(
        model.schedule.alphas_cumprod, expected.alphas_cumprod, rtol=1e-4, atol=1e-7
    )
    assert model.schedule.prediction == "epsilon"
    assert model.scheduler.config.steps_offset == 1
    assert model.vae.config.scaling_factor == 0.18215  # not in the hub's file
    assert native_size(shape) == 512
    check_size(shape, 512)


@pytest.mark.slow
def test_the_client_of_no_gradient_holds_frozen_public_parts_only(halves: Halves) -> None:
    assert ParameterCounts.from_halves(*halves["no-gradient"]) == ParameterCounts(
        client_frozen=ENCODER + TEXT_ENCODER + CONV_IN,
        client_trained=0,
        server_frozen=UNET - CONV_IN,
        server_trained=CONTROLNET - HINT_BLOCK,
    )


@pytest.mark.parametrize("protocol", ["gradient", "u-shaped"])
def test_the_client_of_classic_split_learning_trains_the_stem(
    halves: Halves, protocol: str
) -> None:
    client, server = halves[protocol]
    assert ParameterCounts.from_halves(client, server) == ParameterCounts(
        client_frozen=ENCODER + TEXT_ENCODER + CONV_IN,
        client_trained=CONV_IN + HINT_BLOCK,
        server_frozen=UNET - CONV_IN,
        server_trained=CONTROLNET - CONV_IN - HINT_BLOCK,
    )
    names = {
        name.partition(".")[0] for name, p in client.stem.named_parameters() if p.requires_grad
    }
    assert names == {"conv_in", "hint"}
    assert not any(
        name.startswith(("conv_in", "controlnet_cond"))
        for name, _ in server.controlnet.named_parameters()
    )
    assert not any(name.startswith("conv_in") for name, _ in server.unet.named_parameters())


# Numbers that go up and down a record and step; a timestep is eight bytes beside them.
NUMBERS = {
    "no-gradient": (STEM + LATENT + LATENT + TEXT, 0),
    "gradient": (STEM + STEM + LATENT + TEXT, STEM),
    "u-shaped": (STEM + STEM + LATENT + TEXT, LATENT + STEM),
}


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_the_wire_carries_the_known_bytes(halves: Halves, protocol: str) -> None:
    wire = WireTensors.from_halves(*halves[protocol], 512)
    up, down = NUMBERS[protocol]
    assert payload(wire.up.values(), torch.float32) == 4 * up + 8
    assert payload(wire.up.values(), torch.bfloat16) == 2 * up + 8
    assert payload(wire.down.values(), torch.float32) == 4 * down
    assert payload(wire.down.values(), torch.bfloat16) == 2 * down
    assert {*wire.up, *wire.down} | {CLIENT_WEIGHTS} == PROTOCOLS[protocol].channels() | {
        CLIENT_WEIGHTS
    }


def test_the_wire_in_figures(halves: Halves) -> None:
    """The same, written out: 5.2 MB for each stem, 65,536 bytes for a latent, 236,544 for the prompt."""
    up = WireTensors.from_halves(*halves["no-gradient"], 512).up
    assert {
        channel: (tuple(t.shape[1:]), payload([t], torch.float32)) for channel, t in up.items()
    } == {
        "control_features": ((4, 64, 64), 65_536),
        "unet_features": ((320, 64, 64), 5_242_880),
        "noise_target": ((4, 64, 64), 65_536),
        "prompt_embedding": ((77, 768), 236_544),
        "timestep": ((), 8),
    }
    assert payload(up.values(), torch.float32) == 5_610_504
    gradient = WireTensors.from_halves(*halves["gradient"], 512)
    assert payload(gradient.up.values(), torch.float32) == 10_787_848
    assert payload(gradient.down.values(), torch.float32) == 5_242_880


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_real_message_is_as_long_as_its_payload_and_a_short_header(
    halves: Halves, dtype: torch.dtype, tmp_path: Path
) -> None:
    up = WireTensors.from_halves(*halves["gradient"], 512).up
    filled = {
        c: torch.zeros(t.shape, dtype=dtype if t.is_floating_point() else t.dtype)
        for c, t in up.items()
    }
    writer = TranscriptWriter(tmp_path / "wire", victim="split-controlnet", protocol="gradient")
    writer.send(filled, step=0, epoch=0, direction="up", sender="client", receiver="server", rows=1)
    size = writer.close().bytes("up")
    assert 0 < size - payload(up.values(), dtype) < 1000


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_the_server_half_takes_what_the_client_half_sends(halves: Halves, protocol: str) -> None:
    client, server = halves[protocol]
    up = WireTensors.from_halves(client, server, 512).up
    prompt = PromptCode(up["prompt_embedding"]).arguments(512, 512)
    output = predict(
        server.unet,
        server.controlnet,
        up["unet_features"],
        up["control_features"],
        up["timestep"],
        prompt,
        prompt,
    )
    assert output.shape == (1, 4, 64, 64)


def test_the_cut_and_the_undivided_network_agree_in_shape(
    model: StableDiffusion, halves: Halves
) -> None:
    client, server = halves["gradient"]
    latent = torch.empty(2, 4, 64, 64, device="meta")
    t = torch.zeros(2, dtype=torch.long, device="meta")
    prompt = PromptCode(torch.empty(2, 77, 768, device="meta")).arguments(512, 512)
    whole = client.stem.join(server.controlnet)
    assert parameters(whole) == CONTROLNET
    output = predict_undivided(
        model, whole, latent, t, prompt, torch.empty(2, 3, 512, 512, device="meta")
    )
    assert output.shape == latent.shape


@pytest.mark.slow
def test_describe_says_counts_bytes_and_what_the_rank_means(shape: Path) -> None:
    result = CliRunner().invoke(
        main, ["describe", "split-controlnet", "--model", str(shape)], catch_exceptions=False
    )
    text = " ".join(result.output.split())
    for words in (
        "UNet 859,520,964, ControlNet 361,279,120, autoencoder 83,653,863, text encoder 123,060,480",
        "320 x 36, rank 36",
        "x_t can be read off unet_features exactly",
        "client holds 157,235,984 parameters frozen and trains 1,098,320",
        "server holds 859,509,124 frozen and trains 360,180,800",
        "5,610,504 up and 0 down a record and step at 512x512, sent in float32",
        "10,787,848 up and 5,242,880 down",
    ):
        assert words in text


def test_the_documentation_has_these_figures(halves: Halves, model: StableDiffusion) -> None:
    text = (ROOT / "docs" / "stable-diffusion.md").read_text()
    parts = model_parts(model, new_controlnet(model, PUBLIC_SEED))
    assert "; ".join(f"{count:,}" for count in parts.values()) in text
    for protocol, (client, server) in halves.items():
        wire, who = (
            WireTensors.from_halves(client, server, 512),
            ParameterCounts.from_halves(client, server),
        )
        full, half = (
            [payload(side.values(), dtype) for side in (wire.up, wire.down)]
            for dtype in (torch.float32, torch.bfloat16)
        )
        assert f"| `{protocol}` | {full[0]:,} | {full[1]:,} | {half[0]:,}; {half[1]:,} |" in text
        for count in (who.client_frozen, who.client_trained, who.server_frozen, who.server_trained):
            assert not count or f"{count:,}" in text
    needed = sum(4 * parts[name] for name in ("UNet", "autoencoder", "text encoder"))
    assert f"tokenizer and scheduler: {needed / 1e9:.1f} GB (computed)" in text


def test_a_network_that_lacks_weights_is_not_filled_at_random(shape: Path, tmp_path: Path) -> None:
    shape = Path(shutil.copytree(shape, tmp_path / "model", copy_function=os.link))
    file = shape / "vae" / "diffusion_pytorch_model.safetensors"
    file.unlink()
    save_file({}, file)
    with pytest.raises(
        DataError, match=r"vae: the weights lack decoder\.conv_in\.bias and \d+ more"
    ):
        StableDiffusion.load(str(shape))
