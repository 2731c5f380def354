"""Stable Diffusion 1.5 and XL at full size, on tensors without data: counts, cut and bytes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from bench.cli.main import main
from bench.interfaces import CLIENT_WEIGHTS, DataError, Defense, NoiseSchedule, TranscriptWriter
from tests.support.full_size_shapes import make_sd15_shape, make_sdxl_shape
from tests.support.paths import ROOT
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

HINT_BLOCK, CONV_IN, ENCODER, TEXT_ENCODER = 1_086_480, 11_840, 34_163_664, 123_060_480
Halves = dict[str, tuple[ClientHalf, ServerHalf]]


@dataclass(frozen=True)
class FullSize:
    """One model, with its published numbers."""

    make: Callable[[Path], Path]
    pixels: int
    state_width: int  # numbers in a token's state
    pooled_width: int  # numbers in a pooled prompt; 0 without one
    scaling: float
    networks: dict[str, int]
    protocols: tuple[str, ...]
    needs: str  # the documentation's sentence on the size of all parts but the ControlNet

    @property
    def cells(self) -> int:
        return self.pixels // 8

    @property
    def numbers(self) -> dict[str, tuple[int, int]]:
        """Numbers up and down for a record and step; a timestep takes eight bytes more."""
        stem, latent = 320 * self.cells**2, 4 * self.cells**2
        text = 77 * self.state_width + self.pooled_width
        return {
            "no-gradient": (stem + latent + latent + text, 0),
            "gradient": (stem + stem + latent + text, stem),
            "u-shaped": (stem + stem + latent + text, latent + stem),
        }


SIZES = {
    "sd15": FullSize(
        make=make_sd15_shape,
        pixels=512,
        state_width=768,
        pooled_width=0,
        scaling=0.18215,  # not in the hub's file
        networks={
            "UNet": 859_520_964,
            "ControlNet": 361_279_120,
            "autoencoder": 83_653_863,
            "text encoder": TEXT_ENCODER,
        },
        protocols=tuple(PROTOCOLS),
        needs="tokenizer and scheduler: {:.1f} GB (computed)",
    ),
    "sdxl": FullSize(
        make=make_sdxl_shape,
        pixels=1024,
        state_width=768 + 1280,
        pooled_width=1280,
        scaling=0.13025,
        networks={
            "UNet": 2_567_463_684,
            "ControlNet": 1_251_014_160,
            "autoencoder": 83_653_863,
            "text encoder": TEXT_ENCODER,
            "second text encoder": 694_659_840,
        },
        protocols=("no-gradient", "u-shaped"),
        needs="{:.1f} GB in float32 (computed)",
    ),
}
only_sd15 = pytest.mark.parametrize("size", ["sd15"], indirect=True)


class ReadOnce(SplitControlNet):
    """Gives both halves one model; reading that much configuration takes a second each time."""

    model: StableDiffusion

    def load(self, device: str) -> StableDiffusion:
        return self.model


@pytest.fixture(scope="module", params=["sd15", pytest.param("sdxl", marks=pytest.mark.slow)])
def size(request: pytest.FixtureRequest) -> FullSize:
    return SIZES[request.param]


@pytest.fixture(scope="module")
def shape(size: FullSize, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return size.make(tmp_path_factory.mktemp("full") / "model")


@pytest.fixture(scope="module")
def model(shape: Path) -> StableDiffusion:
    return StableDiffusion.load(str(shape), "meta")


@pytest.fixture(scope="module")
def halves(size: FullSize, shape: Path, model: StableDiffusion) -> Halves:
    victim = ReadOnce(ModelParams(model=str(shape)))
    victim.model = model
    return {protocol: victim.halves(Defense(), protocol, "meta") for protocol in size.protocols}


def test_every_network_has_the_published_number_of_parameters(
    size: FullSize, model: StableDiffusion
) -> None:
    controlnet = new_controlnet(model, PUBLIC_SEED)
    assert model_parts(model, controlnet) == size.networks
    assert parameters(controlnet.controlnet_cond_embedding) == HINT_BLOCK
    assert {p.device.type for p in controlnet.parameters()} == {"meta"}


def test_the_configuration_of_the_hub_gives_the_published_schedule_and_sizes(
    size: FullSize, shape: Path, model: StableDiffusion
) -> None:
    torch.testing.assert_close(
        model.schedule.alphas_cumprod,
        NoiseSchedule.stable_diffusion().alphas_cumprod,
        rtol=1e-4,
        atol=1e-7,
    )
    assert (model.schedule.prediction, model.schedule.steps) == ("epsilon", 1000)
    assert model.scheduler.config.steps_offset == 1
    assert model.vae.config.scaling_factor == size.scaling
    assert model.zeros_for_no_prompt == bool(size.pooled_width)
    assert native_size(shape) == size.pixels
    check_size(shape, size.pixels)


def test_prompts_have_the_known_shapes(size: FullSize, model: StableDiffusion) -> None:
    code = model.prompt_code(["a", "b"])
    assert code.states.shape == (2, 77, size.state_width)
    pooled = None if code.pooled is None else tuple(code.pooled.shape)
    assert pooled == ((2, size.pooled_width) if size.pooled_width else None)


def test_each_side_holds_the_known_number_of_parameters(size: FullSize, halves: Halves) -> None:
    """The client of no-gradient holds frozen public parts only; in others it trains the stem."""
    texts = sum(count for name, count in size.networks.items() if "text encoder" in name)
    for protocol, (client, server) in halves.items():
        stem = 0 if protocol == "no-gradient" else CONV_IN
        assert ParameterCounts.from_halves(client, server) == ParameterCounts(
            client_frozen=ENCODER + texts + CONV_IN,
            client_trained=stem and CONV_IN + HINT_BLOCK,
            server_frozen=size.networks["UNet"] - CONV_IN,
            server_trained=size.networks["ControlNet"] - stem - HINT_BLOCK,
        )


def test_the_stem_is_on_the_client_alone(halves: Halves) -> None:
    for protocol, (client, server) in halves.items():
        if protocol == "no-gradient":
            continue
        names = {
            name.partition(".")[0] for name, p in client.stem.named_parameters() if p.requires_grad
        }
        assert names == {"conv_in", "hint"}
        assert not any(
            name.startswith(("conv_in", "controlnet_cond"))
            for name, _ in server.controlnet.named_parameters()
        )
        assert not any(name.startswith("conv_in") for name, _ in server.unet.named_parameters())


def test_the_wire_carries_the_known_bytes(size: FullSize, halves: Halves) -> None:
    for protocol, (client, server) in halves.items():
        wire = WireTensors.from_halves(client, server, size.pixels)
        up, down = size.numbers[protocol]
        assert payload(wire.up.values(), torch.float32) == 4 * up + 8
        assert payload(wire.up.values(), torch.bfloat16) == 2 * up + 8
        assert payload(wire.down.values(), torch.float32) == 4 * down
        assert payload(wire.down.values(), torch.bfloat16) == 2 * down
        channels = PROTOCOLS[protocol].channels(pooled=bool(size.pooled_width))
        assert {*wire.up, *wire.down} | {CLIENT_WEIGHTS} == channels | {CLIENT_WEIGHTS}


@only_sd15
def test_the_wire_in_figures(halves: Halves) -> None:
    """5.2 MB for each stem, 65,536 bytes for a latent, 236,544 for the prompt."""
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


@only_sd15
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
    length = writer.close().bytes("up")
    assert 0 < length - payload(up.values(), dtype) < 1000


def test_the_server_half_takes_what_the_client_half_sends(size: FullSize, halves: Halves) -> None:
    for client, server in halves.values():
        up = WireTensors.from_halves(client, server, size.pixels).up
        code = PromptCode(up["prompt_embedding"], up.get("pooled_prompt"))
        prompt = code.arguments(size.pixels, size.pixels)
        features = up["unet_features"], up["control_features"]
        output = predict(server.unet, server.controlnet, *features, up["timestep"], prompt, prompt)
        assert output.shape == (1, 4, size.cells, size.cells)


def test_the_cut_and_the_undivided_network_agree_in_shape(
    size: FullSize, model: StableDiffusion, halves: Halves
) -> None:
    client, server = halves["u-shaped"]
    whole = client.stem.join(server.controlnet)
    assert parameters(whole) == size.networks["ControlNet"]
    latent = torch.empty(2, 4, size.cells, size.cells, device="meta")
    hint = torch.empty(2, 3, size.pixels, size.pixels, device="meta")
    prompt = model.prompt_code(["a", "b"]).arguments(size.pixels, size.pixels)
    t = torch.zeros(2, dtype=torch.long, device="meta")
    assert predict_undivided(model, whole, latent, t, prompt, hint).shape == latent.shape


@pytest.mark.slow
@only_sd15
def test_describe_says_counts_bytes_and_what_the_rank_means(shape: Path) -> None:
    result = CliRunner().invoke(
        main, ["describe", "split-controlnet", "--model", str(shape)], catch_exceptions=False
    )
    text = " ".join(result.output.split())
    for words in (
        "UNet 859,520,964, ControlNet 361,279,120, autoencoder 83,653,863, "
        "text encoder 123,060,480",
        "320 x 36, rank 36",
        "x_t can be read off unet_features exactly",
        "client holds 157,235,984 parameters frozen and trains 1,098,320",
        "server holds 859,509,124 frozen and trains 360,180,800",
        "5,610,504 up and 0 down a record and step at 512x512, sent in float32",
        "10,787,848 up and 5,242,880 down",
    ):
        assert words in text


def test_the_documentation_has_these_figures(
    size: FullSize, halves: Halves, model: StableDiffusion
) -> None:
    text = (ROOT / "docs" / "stable-diffusion.md").read_text()
    parts = model_parts(model, new_controlnet(model, PUBLIC_SEED))
    assert "; ".join(f"{count:,}" for count in parts.values()) in text
    for protocol, (client, server) in halves.items():
        wire = WireTensors.from_halves(client, server, size.pixels)
        counts = ParameterCounts.from_halves(client, server)
        full, half = (
            [payload(side.values(), dtype) for side in (wire.up, wire.down)]
            for dtype in (torch.float32, torch.bfloat16)
        )
        assert f"| `{protocol}` | {full[0]:,} | {full[1]:,} | {half[0]:,}; {half[1]:,} |" in text
        for count in vars(counts).values():
            assert not count or f"{count:,}" in text
    needed = sum(4 * count for name, count in parts.items() if name != "ControlNet")
    assert size.needs.format(needed / 1e9) in text


@only_sd15
def test_a_network_that_lacks_weights_is_not_filled_at_random(shape: Path, tmp_path: Path) -> None:
    shape = Path(shutil.copytree(shape, tmp_path / "model", copy_function=os.link))
    file = shape / "vae" / "diffusion_pytorch_model.safetensors"
    file.unlink()
    save_file({}, file)
    with pytest.raises(
        DataError, match=r"vae: the weights lack decoder\.conv_in\.bias and \d+ more"
    ):
        StableDiffusion.load(str(shape))
