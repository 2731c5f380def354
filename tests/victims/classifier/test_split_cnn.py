"""The split classifier: what crosses its wire, how it trains, and what the truth is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from attacks.learned.parts.inverse_network import InverseNetwork
from attacks.learned.parts.simulated_releases import Inputs
from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LABEL,
    PREDICTION_DOWN,
    Capture,
    Defense,
    RequestError,
    Silent,
    TrainingPlan,
    generator,
)
from bench.interfaces.public_forward import PIXELS
from bench.scoring.controls.images import ORACLE
from defenses.activation import Activation, activation
from tests.conftest import make_records
from victims.classifier.parts.cnn import CUTS, halves, network
from victims.classifier.parts.labelled_records import pool
from victims.classifier.split_cnn import SplitCnn

RECORDS = make_records(9)
SMALL = {"size": 16, "width": 4, "label": "identity"}
PLAN = TrainingPlan(epochs=2, batch_size=4, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32")


def train(
    out: Path, protocol: str, defense: Defense | None = None, **params: object
) -> tuple[SplitCnn, Capture]:
    victim = SplitCnn.build({**SMALL, **params})
    chosen = Defense() if defense is None else defense
    return victim, victim.train(
        RECORDS, chosen, PLAN, protocol=protocol, out=out, progress=Silent()
    )


@pytest.mark.parametrize("cut", CUTS)
def test_both_halves_are_the_whole(cut: str) -> None:
    whole = network(width=4, size=16, classes=3, seed=0)
    client, server = halves(whole, cut)
    pixels = torch.rand(2, 3, 16, 16, generator=generator(1))
    assert torch.equal(server(client(pixels)), whole(pixels))
    assert client(pixels).ndim == 4
    assert [name for name, _ in client.named_children()][-1] == cut


def test_the_network_is_that_of_the_paper() -> None:
    """CIFAR10CNN at 32x32 has 2 convolutions of 64 and 4 of 128 channels, then 512 and 10 units."""
    shapes = [tuple(w.shape) for w in network(64, 32, 10, 0).parameters() if w.ndim > 1]
    convolutions = [(64, 3), (64, 64), (128, 64), (128, 128), (128, 128), (128, 128)]
    assert shapes == [*((o, i, 3, 3) for o, i in convolutions), (512, 128 * 16), (10, 512)]


def test_split_training_is_training(tmp_path: Path) -> None:
    """Losses and weights equal those of one network with one AdamW for each half."""
    victim, capture = train(tmp_path / "c", "gradient", cut="relu11")
    whole = network(4, 16, 10, 0)
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-3)
    pixels, classes = pool(RECORDS.images, 16), victim.labels(RECORDS)
    steps = sorted({release.step for release in capture.transcript.releases()})
    for step, expected in zip(steps, capture.costs.losses, strict=True):
        rows = [
            capture.secrets.position[r] for r in capture.transcript.releases() if r.step == step
        ]
        index = capture.secrets.record_index[rows]
        loss = functional.cross_entropy(whole(pixels[index]), classes[index])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    sent = capture.transcript.parts(CLIENT_WEIGHTS)[0].tensors
    for name, tensor in halves(whole, "relu11")[0].state_dict().items():
        torch.testing.assert_close(sent[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("protocol", SplitCnn.protocols)
def test_the_wire_carries_the_channels_of_the_protocol(tmp_path: Path, protocol: str) -> None:
    victim, capture = train(tmp_path / "c", protocol)
    assert capture.transcript.channels() == victim.channels(protocol)
    expected = {"inference": {PREDICTION_DOWN}, "gradient": {LABEL, GRADIENT_DOWN}}[protocol]
    assert victim.channels(protocol) == {CONTROL_FEATURES, CLIENT_WEIGHTS} | expected
    epochs = 1 if protocol == "inference" else 2
    assert len(capture.transcript.releases()) == epochs * len(RECORDS)


def test_deployed_features_are_those_of_the_weights_on_the_wire(tmp_path: Path) -> None:
    victim, capture = train(tmp_path / "c", "inference", Activation(), cut="relu12")
    public = victim.public(Activation(), RECORDS, protocol="inference", device="cpu").client
    assert public is not None
    forward = public.with_weights(capture.transcript.parts(CLIENT_WEIGHTS)[0].tensors).forward(32)
    releases = capture.transcript.releases()
    index = capture.secrets.record_index[[capture.secrets.position[r] for r in releases]]
    pixels = pool(RECORDS.images, 16)[index].requires_grad_()
    sent = forward.send({PIXELS: pixels}, generator(0))[CONTROL_FEATURES]
    assert torch.equal(sent, capture.transcript.rows(CONTROL_FEATURES, releases))
    torch.testing.assert_close(sent.float(), activation(forward.stem(pixels)), rtol=1e-2, atol=1e-3)
    sent.float().sum().backward()
    assert pixels.grad is not None
    assert float(pixels.grad.abs().max()) > 0
    simulated = public.simulator(RECORDS).emit([1, 0, 1], generator(0)).sent[CONTROL_FEATURES]
    assert simulated.shape[1:] == sent.shape[1:]


def test_the_truth_is_the_pooled_picture_and_the_oracle_gives_it_back(tmp_path: Path) -> None:
    victim, capture = train(tmp_path / "c", "inference")
    _, truth = capture.secrets.truth(capture.transcript.releases())
    public = victim.public(None, RECORDS, protocol="inference", device="cpu")
    pixels = truth["image"].images.pixels
    assert torch.equal(
        image_controls("image", truth["image"], RECORDS, public.codec, seed=0)[
            ORACLE
        ].images.pixels,
        pixels,
    )
    assert public.client is not None
    claimed = public.client.forward(32).estimates({PIXELS: pixels[..., ::2, ::2]})["image"]
    assert torch.equal(claimed.images.pixels, pixels)


def test_the_inverse_network_takes_maps_of_a_deeper_cut() -> None:
    maps = Inputs(torch.rand(2, 8, 4, 4, generator=generator(1)), None)
    guesses = InverseNetwork(maps, width=8, depth=1, size=(16, 16))(maps)
    assert [tuple(guess.shape) for guess in guesses] == [(2, 4, 16, 16)] * 2


def test_training_repeats_itself_and_can_be_measured(tmp_path: Path) -> None:
    victim, capture = train(tmp_path / "c", "gradient")
    _, again = train(tmp_path / "d", "gradient")
    assert [m.sha256 for m in capture.transcript.messages] == [
        m.sha256 for m in again.transcript.messages
    ]
    plan = SimpleNamespace(device="cpu", seed=0)
    utility = victim.utility(capture, RECORDS, Defense(), plan, protocol="gradient")  # type: ignore[arg-type]
    assert set(utility) == {"accuracy", "accuracy_blind"}
    assert all(0 <= value <= 1 for value in utility.values())


def test_brightness_is_a_label_that_every_record_has() -> None:
    victim = SplitCnn.build({"label": "brightness", "classes": 4})
    level = victim.labels(RECORDS)
    assert torch.equal(level, (RECORDS.images.float().mean((1, 2, 3)) / 255 * 4).long())
    with pytest.raises(RequestError, match="no attribute 'hair_colour' for its label"):
        SplitCnn.build({}).check_records(RECORDS, Silent())
    with pytest.raises(RequestError, match="no multiple"):
        SplitCnn.build({"size": 24}).check(64)
