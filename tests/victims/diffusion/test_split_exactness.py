"""The split step is the undivided step, and the wire alone retrains the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.interfaces import (
    GRADIENT_DOWN,
    NOISE_TARGET,
    DataError,
    Defense,
    Records,
    Silent,
    TrainingPlan,
    Transcript,
    TranscriptWriter,
)
from defenses.activation import Activation
from defenses.prompt import PromptRetention
from victims.common.batches import epoch_batches
from victims.diffusion.parts.base import PUBLIC_SEED, ModelParams
from victims.diffusion.parts.client import ClientRandomness
from victims.diffusion.parts.controlnet import new_controlnet, predict
from victims.diffusion.parts.undivided_step import draw, undivided_loss
from victims.diffusion.split_controlnet import PROTOCOLS, SplitControlNet


def victim(model: Path) -> SplitControlNet:
    return SplitControlNet(ModelParams(model=str(model)))


def prompt_arguments(released: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What diffusers' networks take of the prompts of 32x32 pictures, written out."""
    prompt: dict[str, Any] = {"encoder_hidden_states": released["prompt_embedding"].float()}
    if "pooled_prompt" in released:
        ids = torch.tensor([[32.0, 32.0, 0.0, 0.0, 32.0, 32.0]] * len(released["timestep"]))
        prompt["added_cond_kwargs"] = {
            "text_embeds": released["pooled_prompt"].float(),
            "time_ids": ids,
        }
    return prompt


def reference_weights(
    model_path: Path, records: Records, plan: TrainingPlan, protocol: str, defense: Defense
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Train the same thing in one piece: one graph, one optimiser, no wire."""
    split = victim(model_path)
    model = split.load("cpu")
    controlnet = new_controlnet(model, PUBLIC_SEED).train()
    client = split.client_half(model, controlnet, defense, protocol)
    rng = ClientRandomness.seeded(plan.seed)
    hint = PROTOCOLS[protocol].stem == "hint"
    if not hint:
        controlnet.controlnet_cond_embedding.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [p for p in controlnet.parameters() if p.requires_grad], lr=plan.learning_rate
    )
    losses = []
    for epoch in range(plan.epochs):
        for index in epoch_batches(len(records), plan.batch_size, epoch, plan.seed):
            if hint:
                loss = undivided_loss(client, controlnet, draw(client, records, index, rng))
            else:
                seen: list[torch.Tensor] = []
                hook = model.unet.conv_in.register_forward_pre_hook(
                    lambda _, inputs, seen=seen: seen.append(inputs[0])
                )
                released = client.release(client.encode(records, index, rng), rng)
                hook.remove()
                server_net = client.stem.server_part(controlnet)
                # The undivided network, its hint block silenced, on the very same input.
                whole = controlnet
                silent, whole.controlnet_cond_embedding = (
                    whole.controlnet_cond_embedding,
                    (server_net.controlnet_cond_embedding),
                )
                prompt = prompt_arguments(released)
                output = predict(
                    model.unet,
                    whole,
                    seen[0],  # x_t, bit for bit
                    released["control_features"].float(),
                    released["timestep"],
                    prompt,
                    prompt,
                )
                loss = torch.nn.functional.mse_loss(output, released["noise_target"])
                whole.controlnet_cond_embedding = silent
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return controlnet.state_dict(), losses


def assert_same(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float
) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], rtol=tolerance, atol=tolerance, msg=name
        )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_split_training_equals_undivided_training(any_model, records, plan, protocol, tmp_path):
    capture = victim(any_model).train(
        records, Defense(), plan, protocol=protocol, out=tmp_path, progress=Silent()
    )
    expected, losses = reference_weights(any_model, records, plan, protocol, Defense())
    trained = victim(any_model).load_trained(tmp_path / "model", Defense(), protocol, "cpu")
    whole = trained.client.stem.join(trained.controlnet).state_dict()
    initial = new_controlnet(victim(any_model).load("cpu"), PUBLIC_SEED).state_dict()
    assert_same(whole, expected, 2e-5)
    torch.testing.assert_close(
        torch.tensor(capture.costs.losses), torch.tensor(losses), rtol=1e-5, atol=1e-6
    )
    moved = max(float((whole[k] - initial[k]).abs().max()) for k in whole)
    assert moved > 1e-3, "training must change the weights, or the comparison says nothing"


@pytest.mark.parametrize("protocol", ["gradient", "u-shaped"])
def test_gradient_at_the_cut_equals_the_undivided_gradient(
    any_model, records, plan, protocol, tmp_path
):
    """The second step's dL/dh_ctrl; in the first it is zero because of the zero convolutions."""
    split = victim(any_model)
    capture = split.train(
        records, Defense(), plan, protocol=protocol, out=tmp_path, progress=Silent()
    )
    sent = [m for m in capture.transcript.messages if GRADIENT_DOWN in m.tensors]
    first, second = (capture.transcript.read(m)[GRADIENT_DOWN] for m in sent[:2])
    assert float(first.abs().max()) == 0.0
    assert float(second.abs().max()) > 0.0

    model = split.load("cpu")
    client = split.client_half(model, new_controlnet(model, PUBLIC_SEED), Defense(), protocol)
    server = split.server_half(Defense(), protocol, plan)
    rng = ClientRandomness.seeded(plan.seed)
    batches = epoch_batches(len(records), plan.batch_size, 0, plan.seed)
    released = [client.release(client.encode(records, index, rng), rng) for index in batches[:2]]
    up = [m for m in capture.transcript.messages if m.direction == "up" and m.rows][:2]
    server.receive(capture.transcript.read(up[0]))
    if protocol == "u-shaped":
        server.receive(capture.transcript.read(up[1]))
    stem = released[1]["control_features"].detach().clone().requires_grad_(True)
    # The client's stem moved by nothing in step one, so its second release can be rebuilt from
    # public weights.
    prompt = prompt_arguments(released[1])
    output = predict(
        server.unet,
        server.controlnet,
        released[1]["unet_features"],
        stem,
        released[1]["timestep"],
        prompt,
        prompt,
    )
    loss = torch.nn.functional.mse_loss(output, released[1]["noise_target"])
    (expected,) = torch.autograd.grad(loss, stem)
    torch.testing.assert_close(second, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("protocol", "defense"),
    [
        ("no-gradient", Defense()),
        ("no-gradient", Activation()),
        ("no-gradient", PromptRetention.build({"null": "learned"})),
        ("gradient", Defense()),
        ("u-shaped", Defense()),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_completeness_server_retrains_from_the_transcript_alone(
    any_model, records, plan, protocol, defense, tmp_path
):
    split = victim(any_model)
    capture = split.train(
        records, defense, plan, protocol=protocol, out=tmp_path, progress=Silent()
    )
    replayed = victim(any_model).retrain_server(
        capture.transcript, type(defense)(defense.params), plan, protocol
    )
    trained = split.load_trained(tmp_path / "model", type(defense)(defense.params), protocol, "cpu")
    assert_same(replayed.controlnet.state_dict(), trained.controlnet.state_dict(), 1e-6)
    assert_same(replayed.adapter.state_dict(), trained.adapter.state_dict(), 1e-6)


def test_completeness_catches_a_server_that_gets_something_off_the_wire(
    tiny_model, records, plan, tmp_path
):
    """Sabotage: the noise target reaches the server by a way that the transcript does not show."""
    split = victim(tiny_model)
    capture = split.train(
        records, Defense(), plan, protocol="no-gradient", out=tmp_path / "run", progress=Silent()
    )
    writer = TranscriptWriter(tmp_path / "cut", victim=split.name, protocol="no-gradient")
    for message in capture.transcript.messages:
        tensors = {k: v for k, v in capture.transcript.read(message).items() if k != NOISE_TARGET}
        writer.send(
            tensors,
            step=message.step,
            epoch=message.epoch,
            direction=message.direction,
            sender=message.sender,
            receiver=message.receiver,
            rows=message.rows,
        )
    with pytest.raises((KeyError, DataError)):
        split.retrain_server(writer.close(), Defense(), plan, "no-gradient")


def test_completeness_catches_an_answer_that_was_not_recorded(tiny_model, records, plan, tmp_path):
    """Sabotage: a gradient comes down but is not recorded in the transcript."""
    split = victim(tiny_model)
    capture = split.train(
        records, Defense(), plan, protocol="gradient", out=tmp_path / "run", progress=Silent()
    )
    header = capture.transcript.header
    kept = tuple(m for m in header.messages if GRADIENT_DOWN not in m.tensors)
    (capture.transcript.path / "transcript.json").write_text(
        header.model_copy(update={"messages": kept}).model_dump_json()
    )
    with pytest.raises(DataError, match="was not recorded"):
        split.retrain_server(Transcript(capture.transcript.path), Defense(), plan, "gradient")


def test_another_seed_gives_another_transcript(tiny_model, records, plan, tmp_path):
    import dataclasses

    split = victim(tiny_model)
    hashes = []
    for run, seed in enumerate((0, 0, 1)):
        capture = split.train(
            records,
            Defense(),
            dataclasses.replace(plan, seed=seed),
            protocol="no-gradient",
            out=tmp_path / str(run),
            progress=Silent(),
        )
        hashes.append([m.sha256 for m in capture.transcript.messages])
    assert hashes[0] == hashes[1]
    assert not set(hashes[0]) & set(hashes[2])
