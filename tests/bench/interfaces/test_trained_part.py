"""Trained parts of a defence are stepped with the client, stored with the model, and restored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.interfaces import (
    CONTROL_FEATURES,
    Channel,
    Defense,
    ProtectContext,
    Silent,
    TrainedPart,
    TrainingPlan,
)
from defenses.compose import Compose
from defenses.sign import Sign
from tests.conftest import make_records
from victims.classifier.split_cnn import SplitCnn
from victims.diffusion.split_controlnet import SplitControlNet

PLAN = TrainingPlan(epochs=1, batch_size=4, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32")
RECORDS = make_records(8)


class Gain(TrainedPart):
    """One number by which features are multiplied."""

    def __init__(self) -> None:
        self.gain = torch.ones(1, requires_grad=True)
        self.steps = 0

    def step(self) -> None:
        assert self.gain.grad is not None
        self.gain = (self.gain.detach() - self.gain.grad.sign() * 0.1).requires_grad_()
        self.steps += 1

    def state(self) -> dict[str, Tensor]:
        return {"gain": self.gain}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.gain = state["gain"]


class Scaled(Defense):
    name = "scaled"

    def __init__(self) -> None:
        super().__init__()
        self.trained_part = Gain()

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        return tensor * self.trained_part.gain.to(tensor) if channel == CONTROL_FEATURES else tensor


def test_a_stack_keeps_each_part_by_place() -> None:
    one, other = (
        Compose.from_parts([Sign(), Scaled(), Scaled()]),
        Compose.from_parts([Sign(), Scaled(), Scaled()]),
    )
    one.parts[1].trained_part.gain = torch.tensor([3.0])
    held = one.trained_state()
    assert set(held) == {"1-scaled/gain", "2-scaled/gain"}
    other.restore_trained(held)
    assert [float(p.trained_part.gain) for p in other.parts[1:]] == [3.0, 1.0]
    assert Sign().trained_state() == {}
    Sign().train_step()


@pytest.mark.parametrize("protocol", SplitCnn.protocols)
def test_a_split_classifier_trains_and_keeps_it(tmp_path: Path, protocol: str) -> None:
    victim, defense = SplitCnn.build({"size": 16, "width": 4, "label": "identity"}), Scaled()
    capture = victim.train(
        RECORDS, defense, PLAN, protocol=protocol, out=tmp_path / "c", progress=Silent()
    )
    gain = float(defense.trained_part.gain.detach())
    assert defense.trained_part.steps == 2
    assert gain != 1.0
    fresh = Scaled()
    victim.utility(
        capture, RECORDS, fresh, SimpleNamespace(device="cpu", seed=0), protocol=protocol
    )  # type: ignore[arg-type]
    assert fresh.trained_part.gain.item() == gain


@pytest.mark.parametrize("protocol", ["gradient", "u-shaped"])
def test_a_diffusion_client_trains_and_keeps_it(
    tmp_path: Path, tiny_model: Path, protocol: str
) -> None:
    victim, defense = SplitControlNet.build({"model": str(tiny_model)}), Scaled()
    capture = victim.train(
        RECORDS, defense, PLAN, protocol=protocol, out=tmp_path / "c", progress=Silent()
    )
    assert defense.trained_part.steps == 2
    held = load_file(capture.model_dir / "defense.safetensors")
    assert held["0-scaled/gain"].item() == defense.trained_part.gain.item()
    fresh = Scaled()
    victim.load_trained(capture.model_dir, fresh, protocol, "cpu")
    assert fresh.trained_part.gain.item() == defense.trained_part.gain.item()
