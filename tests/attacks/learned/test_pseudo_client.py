"""The pseudo-client: it recovers trained weights, and refuses what it is not granted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attacks.learned.parts.pseudo_client_data import PseudoClientData
from attacks.learned.parts.pseudo_client_training import MatchingObjective, match_features
from bench.cell.job import Job
from bench.cell.runner import Runner
from bench.interfaces import (
    CONTROL_FEATURES,
    UNET_FEATURES,
    Budget,
    Channel,
    Estimate,
    PublicForward,
    Silent,
    Unknown,
)
from bench.interfaces.public_forward import CONDITION, NOISY, PIXELS

FORA, CRITIC = (
    MatchingObjective(1.0, 0.0, 0.0, 1e-2, 1e-3, 8),
    MatchingObjective(0.0, 0.3, 1.0, 1e-2, 1e-3, 8),
)


class Linear(PublicForward):
    """Six mixtures of the three colours of every pixel."""

    def __init__(self, stem: nn.Conv2d) -> None:
        self.stem = stem

    def inputs(self) -> Mapping[str, Unknown]:
        return {PIXELS: Unknown((3, 8, 8), low=0.0, high=1.0)}

    def send(self, inputs: Mapping[str, Tensor], rng: torch.Generator) -> dict[Channel, Tensor]:
        return {CONTROL_FEATURES: self.stem(inputs[PIXELS])}

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        return {}


class Noised(Linear):
    """The same of a condition, and a convolution of x_t beside it."""

    def __init__(self, stem: nn.ModuleList) -> None:
        self.stem = stem

    def inputs(self) -> Mapping[str, Unknown]:
        return {NOISY: Unknown((4, 8, 8)), CONDITION: Unknown((3, 8, 8), low=0.0, high=1.0)}

    def send(self, inputs: Mapping[str, Tensor], rng: torch.Generator) -> dict[Channel, Tensor]:
        conv, hint = self.stem
        return {
            CONTROL_FEATURES: conv(inputs[NOISY]) + hint(inputs[CONDITION]),
            UNET_FEATURES: inputs[NOISY],
        }


def convolution(entering: int, rng: torch.Generator, size: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(entering, 6, size, padding=size // 2)
    for weight in conv.parameters():
        weight.data = torch.randn(weight.shape, generator=rng) / entering**0.5
    return conv


def shifted(module: nn.Module, rng: torch.Generator, by: float) -> nn.Module:
    """A copy whose weights have moved, as training moves them."""
    moved = copy.deepcopy(module)
    for weight in moved.parameters():
        weight.data += by * torch.randn(weight.shape, generator=rng)
    return moved


def pictures(count: int, rng: torch.Generator) -> Tensor:
    """Tones of unlike spread by colour, so that colours can be distinguished."""
    coarse = torch.rand(count, 3, 4, 4, generator=rng) ** torch.tensor([0.3, 1.0, 3.0]).view(
        1, 3, 1, 1
    )
    return nn.functional.interpolate(coarse, size=8)


def brightness(images: Tensor) -> Tensor:
    """The task: in which quarter of the scale a picture's mean is."""
    return (images.mean((1, 2, 3)) * 4).long()


def decoded(features: Tensor, conv: nn.Conv2d) -> Tensor:
    """Least squares for the picture behind the features."""
    assert conv.bias is not None
    inverse = torch.linalg.pinv(conv.weight.detach()[:, :, 0, 0])
    return torch.einsum("dc,bchw->bdhw", inverse, features - conv.bias.detach().view(1, -1, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("objective", [FORA, CRITIC])
def test_it_reads_the_pictures_of_a_client_that_moved_better_than_the_public_start(
    objective: MatchingObjective,
):
    rng = torch.Generator().manual_seed(0)
    public = convolution(3, rng)
    victim = shifted(public, rng, 0.15)
    private, own = pictures(48, rng), pictures(48, rng)
    with torch.no_grad():
        seen = victim(private)

    def found(iterations: int) -> nn.Conv2d:
        torch.manual_seed(0)
        scene = PseudoClientData(
            Linear(copy.deepcopy(public)),
            seen,
            {},
            PIXELS,
            own,
            brightness(private),
            brightness(own),
        )
        losses = match_features(
            scene,
            objective,
            Budget(iterations, 16),
            torch.Generator().manual_seed(1),
            lambda n: None,
        )
        assert len(losses) == iterations
        assert isinstance(scene.forward.stem, nn.Conv2d)
        return scene.forward.stem

    assert torch.equal(found(3).weight, found(3).weight)
    errors = [
        float((decoded(seen, conv) - private).square().mean()) for conv in (public, found(100))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_what_x_t_puts_into_the_features_is_fitted_and_left_out():
    rng = torch.Generator().manual_seed(0)
    public = nn.ModuleList([convolution(4, rng, 3), convolution(3, rng)])
    victim = Noised(shifted(public, rng, 0.1))  # type: ignore[arg-type]
    given = {NOISY: torch.randn(64, 4, 8, 8, generator=rng), CONDITION: pictures(64, rng)}
    with torch.no_grad():
        seen = victim.send(given, rng)[CONTROL_FEATURES]
    scene = PseudoClientData(
        Noised(public), seen, {NOISY: given[NOISY]}, CONDITION, pictures(8, rng)
    )
    before = float((public[0].weight - victim.stem[0].weight).square().mean())  # type: ignore[index]
    hint = public[1].weight.clone()
    rest = scene.picture_part(rounds=20)
    after = float((public[0].weight - victim.stem[0].weight).square().mean())  # type: ignore[index]
    assert after < 0.05 * before
    assert torch.equal(hint, public[1].weight)
    assert float((rest - victim.stem[1](given[CONDITION])).std((0, 2, 3)).max()) < 0.1  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "protocol", "target"),
    [("fora", "gradient", "condition"), ("sdar", "gradient", None)],
)
def test_on_a_hint_block_it_applies_where_no_classes_are_needed(
    make_job: Callable[..., Job], tmp_path: Path, objective: str, protocol: str, target: str | None
):
    job = make_job(
        attack=f"pseudo-client:objective={objective}",
        protocol=protocol,
        withhold=("client_weights",),
    )
    rows = {str(row["target"]): row for row in Runner(tmp_path, Silent()).compute(job).rows}
    if target is None:
        assert "needs label" in str(rows["image"]["reason"])
        return
    assert rows[target]["status"] == "ok", rows[target]["reason"]
    assert "client_weights" not in str(rows[target]["channels_read"])


@pytest.mark.slow
def test_a_client_that_trains_nothing_is_left_to_inversion(
    make_job: Callable[..., Job], tmp_path: Path
):
    row = Runner(tmp_path, Silent()).compute(make_job(attack="pseudo-client")).rows[0]
    assert row["status"] == "not_applicable"
    assert "use inversion" in str(row["reason"])
