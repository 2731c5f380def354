"""Stable Diffusion XL at full size, on tensors without data: counts, cut and bytes are the known ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.interfaces import CLIENT_WEIGHTS, Defense
from tests.support.paths import ROOT
from tests.support.sdxl_shape import make_sdxl_shape
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

STEM, LATENT, TEXT = 320 * 128 * 128, 4 * 128 * 128, 77 * 2048 + 1280  # numbers a record
HINT_BLOCK, CONV_IN, UNET, CONTROLNET = 1_086_480, 11_840, 2_567_463_684, 1_251_014_160
ENCODER, TEXT_ENCODERS = 34_163_664, 123_060_480 + 694_659_840
DOCUMENTATION = ROOT / "docs" / "stable-diffusion.md"


class ReadOnce(SplitControlNet):
    """Gives both halves one model; reading that much configuration takes a second each time."""

    model: StableDiffusion

    def load(self, device: str) -> StableDiffusion:
        return self.model


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sdxl_shape(tmp_path_factory.mktemp("sdxl") / "model")


@pytest.fixture(scope="module")
def model(shape: Path) -> StableDiffusion:
    return StableDiffusion.load(str(shape), "meta")


@pytest.fixture(scope="module")
def halves(shape: Path, model: StableDiffusion) -> dict[str, tuple[ClientHalf, ServerHalf]]:
    victim = ReadOnce(ModelParams(model=str(shape)))
    victim.model = model
    return {
        protocol: victim.halves(Defense(), protocol, "meta")
        for protocol in ("no-gradient", "u-shaped")
    }


@pytest.mark.slow
def test_every_network_has_the_published_number_of_parameters(model: StableDiffusion) -> None:
    controlnet = new_controlnet(model, PUBLIC_SEED)
    assert model_parts(model, controlnet) == {
        "UNet": UNET,
        "ControlNet": CONTROLNET,
        "autoencoder": 83_653_863,
        "text encoder": 123_060_480,
        "second text encoder": 694_659_840,
    }
    assert parameters(controlnet.controlnet_cond_embedding) == HINT_BLOCK


def test_configuration_of_the_hub(shape: Path, model: StableDiffusion) -> None:
    assert model.vae.config.scaling_factor == 0.13025
    assert (model.schedule.prediction, model.schedule.steps) == ("epsilon", 1000)
    assert model.zeros_for_no_prompt
    assert native_size(shape) == 1024
    check_size(shape, 1024)


def test_prompts_have_the_known_shapes(model: StableDiffusion) -> None:
    code = model.prompt_code(["a", "b"])
    assert code.states.shape == (2, 77, 768 + 1280)
    assert code.pooled is not None
    assert code.pooled.shape == (2, 1280)


@pytest.mark.slow
def test_who_holds_what(halves: dict[str, tuple[ClientHalf, ServerHalf]]) -> None:
    frozen = ENCODER + TEXT_ENCODERS + CONV_IN
    assert ParameterCounts.from_halves(*halves["no-gradient"]) == ParameterCounts(
        client_frozen=frozen,
        client_trained=0,
        server_frozen=UNET - CONV_IN,
        server_trained=CONTROLNET - HINT_BLOCK,
    )
    assert ParameterCounts.from_halves(*halves["u-shaped"]) == ParameterCounts(
        client_frozen=frozen,
        client_trained=CONV_IN + HINT_BLOCK,
        server_frozen=UNET - CONV_IN,
        server_trained=CONTROLNET - CONV_IN - HINT_BLOCK,
    )


# Numbers that go up and down a record and step; a timestep is eight bytes beside them.
NUMBERS = {
    "no-gradient": (STEM + LATENT + LATENT + TEXT, 0),
    "u-shaped": (STEM + STEM + LATENT + TEXT, LATENT + STEM),
}


@pytest.mark.parametrize("protocol", list(NUMBERS))
def test_the_wire_carries_the_known_bytes_at_1024(
    halves: dict[str, tuple[ClientHalf, ServerHalf]], protocol: str
) -> None:
    client, server = halves[protocol]
    wire = WireTensors.from_halves(client, server, 1024)
    up, down = NUMBERS[protocol]
    assert payload(wire.up.values(), torch.float32) == 4 * up + 8
    assert payload(wire.down.values(), torch.float32) == 4 * down
    assert {*wire.up, *wire.down} | {CLIENT_WEIGHTS} == PROTOCOLS[protocol].channels(
        pooled=True
    ) | {CLIENT_WEIGHTS}


@pytest.mark.slow
def test_the_server_half_takes_what_the_client_half_sends(
    halves: dict[str, tuple[ClientHalf, ServerHalf]],
) -> None:
    client, server = halves["no-gradient"]
    wire = WireTensors.from_halves(client, server, 1024)
    code = PromptCode(wire.up["prompt_embedding"], wire.up["pooled_prompt"]).arguments(1024, 1024)
    features = wire.up["unet_features"], wire.up["control_features"]
    output = predict(server.unet, server.controlnet, *features, wire.up["timestep"], code, code)
    assert output.shape == (1, 4, 128, 128)


def test_the_cut_and_the_undivided_network_agree_in_shape(
    model: StableDiffusion, halves: dict[str, tuple[ClientHalf, ServerHalf]]
) -> None:
    client, server = halves["u-shaped"]
    whole = client.stem.join(server.controlnet)
    assert parameters(whole) == CONTROLNET
    latent, hint = (
        torch.empty(1, 4, 128, 128, device="meta"),
        torch.empty(1, 3, 1024, 1024, device="meta"),
    )
    code = model.prompt_code(["a"]).arguments(1024, 1024)
    t = torch.zeros(1, dtype=torch.long, device="meta")
    assert predict_undivided(model, whole, latent, t, code, hint).shape == latent.shape


@pytest.mark.slow
def test_the_documentation_has_these_figures(
    model: StableDiffusion, halves: dict[str, tuple[ClientHalf, ServerHalf]]
) -> None:
    text = DOCUMENTATION.read_text()
    parts = model_parts(model, new_controlnet(model, PUBLIC_SEED))
    assert "; ".join(f"{count:,}" for count in parts.values()) in text
    for protocol, (client, server) in halves.items():
        wire, who = (
            WireTensors.from_halves(client, server, 1024),
            ParameterCounts.from_halves(client, server),
        )
        full, half = (
            [payload(side.values(), dtype) for side in (wire.up, wire.down)]
            for dtype in (torch.float32, torch.bfloat16)
        )
        assert f"| `{protocol}` | {full[0]:,} | {full[1]:,} | {half[0]:,}; {half[1]:,} |" in text
        for count in (who.client_frozen, who.client_trained, who.server_frozen, who.server_trained):
            assert not count or f"{count:,}" in text
    needed = sum(4 * count for name, count in parts.items() if name != "ControlNet")
    assert f"{needed / 1e9:.1f} GB in float32 (computed)" in text
