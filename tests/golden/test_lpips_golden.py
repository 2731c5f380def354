"""LPIPS from checked files against the paper's formula on torchvision's own networks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.backbones import external_backbones as external
from bench.backbones.external_backbones import WeightFile
from bench.backbones.selection import load_backbones
from bench.interfaces import DataError, ImageBatch
from bench.util.torchvision_guard import guard_torchvision

# Which activations of torchvision's ``features`` LPIPS 0.1 compares.
TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}


def trunk(net: str) -> nn.Sequential:
    """torchvision's convolutions with random weights."""
    guard_torchvision()
    import torchvision

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        whole = {"alex": torchvision.models.alexnet, "vgg": torchvision.models.vgg16}[net](
            weights=None
        )
    features: nn.Sequential = whole.features.to_empty(device="cpu")
    rng = torch.Generator().manual_seed(0)
    for parameter in features.parameters():
        fan_in = max(1, parameter[0].numel())
        parameter.data = (
            torch.randn(parameter.shape, generator=rng) * (2 / fan_in) ** 0.5 * (parameter.ndim > 1)
        )
    return features.eval()


def lpips_by_hand(net: str, features: nn.Sequential, first: Tensor, second: Tensor) -> Tensor:
    """Zhang et al. 2018, equation 1, on inputs in [-1, 1], with the heads of the package."""
    import lpips

    file = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    levels = []
    for images in (first, second):
        taken, x = [], (images - shift) / scale
        for number, layer in enumerate(features):
            x = layer(x)
            if number in TAPS[net]:
                taken.append((x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)).clone())
        levels.append(taken)
    total = torch.zeros(len(first))
    for number, (one, two) in enumerate(zip(*levels, strict=True)):
        total += (
            ((one - two).square() * heads[f"lin{number}.model.1.weight"])
            .sum(dim=1)
            .mean(dim=(1, 2))
        )
    return total


@pytest.mark.parametrize("net", ["alex", "vgg"])
@torch.no_grad()
def test_a_checked_file_gives_lpips(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = trunk(net)
    torch.save(
        {f"features.{name}": t for name, t in features.state_dict().items()}, tmp_path / "made"
    )
    name = f"{net}-{hashlib.sha256((tmp_path / 'made').read_bytes()).hexdigest()[:8]}.pth"
    (tmp_path / "made").rename(tmp_path / name)
    monkeypatch.setitem(external.FILES, net, WeightFile(name, "nowhere"))

    backbone = load_backbones(net, tmp_path).perceptual
    assert backbone.name == f"lpips-{net}"
    rng = torch.Generator().manual_seed(1)
    first, second = (ImageBatch(torch.rand(3, 3, 64, 64, generator=rng)) for _ in range(2))
    expected = lpips_by_hand(net, features, first.signed(), second.signed())
    assert float(expected.min()) > 0.0
    torch.testing.assert_close(backbone.distance(first, second), expected, rtol=1e-4, atol=1e-6)
    assert backbone.distance(first, first).tolist() == [0.0] * 3

    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(content))
    with pytest.raises(DataError, match="has sha256"):
        load_backbones(net, tmp_path)
