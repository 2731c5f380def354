"""The public client as a function sends what the client sends, and can be differentiated."""

from __future__ import annotations

import copy

import pytest
import torch

from bench.interfaces import (
    CONTROL_FEATURES,
    UNET_FEATURES,
    Defense,
    NotApplicableError,
    PublicClient,
    generator,
)
from bench.interfaces.public_forward import CONDITION, CONDITION_LATENTS, NOISY, TIMESTEPS
from defenses.activation import Activation
from defenses.compose import Compose
from defenses.prompt import PromptRetention
from victims.diffusion.parts.client import ClientRandomness
from victims.diffusion.parts.controlnet import HintStem
from victims.diffusion.split_controlnet import SplitControlNet

DEFENSES = {
    "none": Defense,
    "activation": Activation,
    "stack": lambda: Compose.from_parts([Activation(), PromptRetention()]),
}


@pytest.fixture(params=["no-gradient", "gradient"])
def protocol(request):
    return request.param


def halves(tiny_model, records, protocol, defense):
    """A client whose hint block does something, and the public one with the same weights."""
    victim = SplitControlNet.build({"model": str(tiny_model)})
    client, _ = victim.halves(defense, protocol, "cpu")
    if isinstance(client.stem, HintStem):
        torch.nn.init.normal_(client.stem.hint.conv_out.weight, std=0.1, generator=generator(3))
    public = victim.public(defense, records, protocol=protocol, device="cpu").client
    return client, public.with_weights(client.stem.state_dict())


@pytest.mark.parametrize("name", DEFENSES)
def test_it_sends_what_the_client_sends(tiny_model, records, protocol, name):
    client, public = halves(tiny_model, records, protocol, DEFENSES[name]())
    rng = ClientRandomness.seeded(1)
    batch = client.encode(records, [0, 2, 5], rng)
    sent = client.release(batch, rng)
    again = ClientRandomness.seeded(1)
    client.encode(records, [0, 2, 5], again)
    t = client.defense.sample_timesteps(batch.record_ids, client.model.schedule, again.timesteps)
    noise = client.defense.sample_noise(
        batch.record_ids, tuple(batch.image_latents.shape), again.noise
    )
    forward = public.forward(32)
    everything = {
        NOISY: client.model.schedule.add_noise(batch.image_latents, noise, t),
        TIMESTEPS: t,
        CONDITION: batch.condition,
        CONDITION_LATENTS: batch.condition_latents,
    }
    inputs = {n: everything[n] for n in forward.inputs()}
    for unknown, tensor in zip(forward.inputs().values(), inputs.values(), strict=True):
        assert tuple(tensor.shape[1:]) == unknown.shape
    found = forward.send(inputs, generator(0))
    assert found.keys() == {CONTROL_FEATURES, UNET_FEATURES}
    for channel, tensor in found.items():
        assert torch.equal(tensor, sent[channel])
    assert forward.send({NOISY: inputs[NOISY]}, generator(0)).keys() == {UNET_FEATURES}


def test_it_is_differentiable_in_inputs_and_weights_and_shares_neither(
    tiny_model, records, protocol
):
    _, public = halves(tiny_model, records, protocol, Activation())
    forward = public.forward(32)
    rng = generator(2)
    inputs = {
        name: torch.rand(2, *unknown.shape, generator=rng).requires_grad_()
        for name, unknown in forward.inputs().items()
        if not unknown.integer
    }
    before = forward.send(inputs, rng)[CONTROL_FEATURES]
    before.float().square().sum().backward()
    assert all(float(tensor.grad.abs().max()) > 0 for tensor in inputs.values())
    trained = [p for p in forward.stem.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert bool(trained) == (protocol == "gradient")
    other = copy.deepcopy(public.forward(32).stem.state_dict())
    with torch.no_grad():
        for weight in trained:
            weight.add_(1.0)
    assert all(torch.equal(other[n], w) for n, w in public.forward(32).stem.state_dict().items())
    if trained:
        assert not torch.equal(forward.send(inputs, rng)[CONTROL_FEATURES], before)


def test_found_inputs_claim_the_condition(tiny_model, records, protocol):
    _, public = halves(tiny_model, records, protocol, Defense())
    forward = public.forward(32)
    name = forward.stem.takes
    guess = torch.rand(2, *forward.inputs()[name].shape, generator=generator(1))
    estimate = forward.estimates({name: guess})["condition"]
    if name == CONDITION:
        assert torch.equal(estimate.images.pixels, guess)
    else:
        assert torch.equal(estimate.latents, guess)
    assert forward.estimates({NOISY: guess}) == {}


def test_rendering_is_decoding_with_a_slope(tiny_model, records):
    model = SplitControlNet.build({"model": str(tiny_model)}).load("cpu")
    latents = model.encode(records.image_batch())[:2].requires_grad_()
    pixels = model.render(latents)
    torch.testing.assert_close(pixels.detach().clamp(0, 1), model.decode(latents).pixels)
    pixels.sum().backward()
    assert float(latents.grad.abs().max()) > 0


def test_a_client_that_cannot_be_differentiated_says_so():
    class Plain(PublicClient):
        def with_weights(self, parts):
            return self

        def simulator(self, records):
            raise NotImplementedError

    with pytest.raises(NotApplicableError, match="cannot be differentiated"):
        Plain().forward(32)
