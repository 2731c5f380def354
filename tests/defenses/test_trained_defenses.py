"""Learned noise and learned pruning: their effect, their state, and what an attacker learns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from attacks.common.disco_mask import kept_channels
from attacks.common.shredder_noise import estimate_collection, grouped
from attacks.features.reconstruction import Reconstruction
from attacks.learned.inversion import Inversion
from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    UNET_FEATURES,
    Budget,
    Capture,
    Defense,
    NoiseSchedule,
    ProtectContext,
    RequestError,
    Silent,
    ThreatModel,
    TrainingPlan,
    View,
    generator,
)
from defenses.compose import Compose
from defenses.disco import Disco
from defenses.none import NoDefense
from defenses.shredder import Shredder
from defenses.sign import Sign
from tests.conftest import make_records
from victims.classifier.split_cnn import SplitCnn
from victims.diffusion.split_controlnet import SplitControlNet

RECORDS, OWN = make_records(24), make_records(32, seed=1)
VICTIM = {"size": 16, "width": 8, "label": "identity"}
SCHEDULE = NoiseSchedule.stable_diffusion()


def context(count: int, seed: int = 0) -> ProtectContext:
    times = torch.zeros(count, dtype=torch.long)
    return ProtectContext(
        "training", times, SCHEDULE, torch.zeros(1, 1, 1), [""] * count, generator(seed)
    )


def maps(count: int = 6, channels: int = 8) -> torch.Tensor:
    return torch.randn(count, channels, 6, 6, generator=generator(1)).requires_grad_()


def trained(
    out: Path, defense: Defense, protocol: str = "inference", epochs: int = 2
) -> tuple[SplitCnn, Capture]:
    victim = SplitCnn.build(VICTIM)
    plan = TrainingPlan(epochs, 8, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32")
    return victim, victim.train(
        RECORDS, defense, plan, protocol=protocol, out=out, progress=Silent()
    )


def seen(victim: SplitCnn, capture: Capture, defense: Defense, protocol: str = "inference") -> View:
    public = victim.public(defense, OWN, protocol=protocol, device="cpu")
    return ThreatModel().project(
        capture.transcript, public, capture.transcript.releases()[:6], history=True
    )


def error(
    capture: Capture, view: View, attack: Reconstruction | Inversion, iterations: int
) -> float:
    claim = attack.run(view, rng=generator(0), budget=Budget(iterations, 8), progress=Silent())
    truth = capture.secrets.truth([view.releases[i] for i in view.targets])[1]["image"]
    return float((claim.estimates["image"].images.pixels - truth.images.pixels).square().mean())  # type: ignore[union-attr]


def test_a_release_gets_one_tensor_of_the_collection_and_others_get_none() -> None:
    defense, features = Shredder.build({"collection": 3}), maps(40)
    added = defense.protect(CONTROL_FEATURES, features, context(40)) - features
    collection = defense.trained_state()["0-shredder/noise"]
    nearest = torch.cdist(added.detach().flatten(1), collection.flatten(1))
    assert float(nearest.amin(1).max()) < 0.1
    assert set(nearest.argmin(1).tolist()) == {0, 1, 2}
    assert defense.protect(UNET_FEATURES, features, context(40)) is features
    assert float(collection.mean()) == pytest.approx(0.6, abs=0.15), (
        "Laplace(0.6, 1.2), as in the paper's code"
    )
    assert float((collection - 0.6).abs().mean()) == pytest.approx(1.2, rel=0.15)


def test_the_noise_grows_while_the_loss_asks_for_it(tmp_path: Path) -> None:
    spread = {}
    for coeff in (0.0, 5.0):
        defense = Shredder.build({"coeff": coeff, "scale": 0.1})
        start = Shredder.build({"coeff": coeff, "scale": 0.1})
        victim, _ = trained(tmp_path / str(coeff), defense, "gradient", epochs=4)
        features = victim.public(None, RECORDS, protocol="gradient", device="cpu").client.simulator(
            RECORDS
        )  # type: ignore[union-attr]
        start.protect(
            CONTROL_FEATURES, features.emit([0], generator(0)).sent[CONTROL_FEATURES], context(1)
        )
        spread[coeff] = (start.trained_part.spread().item(), defense.trained_part.spread().item())
    assert spread[5.0][1] > spread[5.0][0] + 0.05, (
        "Adam moves every number by about the rate a step"
    )
    assert spread[5.0][1] > spread[0.0][1] + 0.05


@pytest.mark.parametrize("kind", [Shredder, Disco])
@pytest.mark.parametrize("protocol", SplitCnn.protocols)
def test_what_was_learned_is_kept_for_the_deployed_client_and_never_sent(
    tmp_path: Path, kind, protocol: str
) -> None:
    defense, fresh = kind(), kind()
    victim, capture = trained(tmp_path / "c", defense, protocol)
    plan = SimpleNamespace(device="cpu", seed=0)
    assert victim.utility(capture, RECORDS, fresh, plan, protocol=protocol)["accuracy"] >= 0  # type: ignore[arg-type]
    learned, restored = defense.trained_state(), fresh.trained_state()
    assert learned.keys() == restored.keys()
    assert all(torch.equal(restored[name], tensor) for name, tensor in learned.items())
    sent = capture.transcript.parts(CLIENT_WEIGHTS)[0].tensors
    assert set(sent) == set(victim.halves(NoDefense(), "cpu")[0].stem.state_dict())


@pytest.mark.parametrize("kind", [Shredder, Disco])
def test_the_gradient_reaches_the_features_and_what_is_learned(kind) -> None:
    defense, features = kind(), maps()
    sent = defense.protect(CONTROL_FEATURES, features, context(6))
    (sent * torch.randn(sent.shape, generator=generator(2))).sum().backward()
    before = {name: tensor.clone() for name, tensor in defense.trained_state().items()}
    assert float(features.grad.abs().max()) > 0
    defense.train_step()
    assert all(
        not torch.equal(before[name], tensor) for name, tensor in defense.trained_state().items()
    )
    assert defense.guarantee(1, SCHEDULE) is None


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.99])
def test_every_release_keeps_exactly_the_share_of_channels(ratio: float) -> None:
    features = maps(5, 8)
    sent = Disco.build({"ratio": ratio}).protect(CONTROL_FEATURES, features, context(5))
    kept = sent.abs().sum((2, 3)) > 0
    assert kept.sum(1).tolist() == [max(1, 8 - round(8 * ratio))] * 5
    torch.testing.assert_close(sent[kept], features[kept])


def test_the_adversary_descends_and_the_features_get_the_opposite_slope() -> None:
    features, pictures = maps(), torch.rand(6, 3, 12, 12, generator=generator(3))
    slopes = {}
    for rho in (0.0, 0.75):
        defense = Disco.build({"rho": rho})
        sent = defense.protect(CONTROL_FEATURES, features, context(6))
        loss = defense.client_loss({"condition": pictures}, {CONTROL_FEATURES: sent})
        decoder = next(iter(defense.trained_part.decoder.parameters()))
        slopes[rho] = (*torch.autograd.grad(loss, [sent, decoder]), loss, defense, sent)
    own, turned = slopes[0.0], slopes[0.75]
    torch.testing.assert_close(own[1], turned[1])
    assert float(own[0].abs().max()) == 0, "rho 0 is no adversary for the features"
    _, _, loss, defense, sent = turned
    small = torch.nn.functional.adaptive_avg_pool2d(pictures, (6, 6))
    plain = torch.nn.functional.mse_loss(defense.trained_part.decoder(sent), small)
    torch.testing.assert_close(loss, plain)
    (slope,) = torch.autograd.grad(plain, sent)
    torch.testing.assert_close(turned[0], -3 * slope)


@pytest.mark.parametrize("kind", [Shredder, Disco])
def test_without_a_client_that_trains_it_is_refused(tiny_model: Path, tmp_path: Path, kind) -> None:
    victim = SplitControlNet.build({"model": str(tiny_model)})
    plan = TrainingPlan(1, 4, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32")
    for defense in (kind(), Compose.from_parts([Sign(), kind()])):
        with pytest.raises(RequestError, match="needs a client that trains layers"):
            victim.train(
                RECORDS,
                defense,
                plan,
                protocol="no-gradient",
                out=tmp_path / "c",
                progress=Silent(),
            )
    kind().check(SCHEDULE, victim.channels("u-shaped"))


def test_rows_are_grouped_by_the_centre_they_are_nearest_to() -> None:
    centres = 5 * torch.randn(3, 40, generator=generator(4))
    truth = torch.arange(30) % 3
    groups = grouped(centres[truth] + torch.randn(30, 40, generator=generator(5)), 3)
    assert all(len(groups[truth == k].unique()) == 1 for k in range(3))
    assert len(groups.unique()) == 3
    assert grouped(torch.randn(2, 4, generator=generator(6)), 5).shape == (2,)


@pytest.mark.slow
def test_an_attacker_finds_the_collection_and_takes_it_off(tmp_path: Path) -> None:
    options = {"collection": 2, "scale": 0.8}
    defense = Shredder.build(options)
    victim, capture = trained(tmp_path / "c", defense)
    view = seen(victim, capture, Shredder.build(options))
    client = view.public.client.with_weights(view.parts(CLIENT_WEIGHTS)[-1].tensors)
    estimated = estimate_collection(view, client)
    learned = defense.trained_state()["0-shredder/noise"]
    near = (
        torch.cdist(estimated.collection.flatten(1), learned.flatten(1)).amin(1).square()
        / learned[0].numel()
    )
    assert float(near.max()) < 0.1 * float(learned.square().mean())
    blunt = error(capture, view, Reconstruction.build({"adapt": False}), 150)
    assert error(capture, view, Reconstruction.build({}), 150) < 0.5 * blunt
    assert estimate_collection(seen(victim, capture, NoDefense()), client) is None


@pytest.mark.slow
def test_an_attacker_leaves_pruned_channels_out(tmp_path: Path) -> None:
    defense = Disco.build({"ratio": 0.5})
    victim, capture = trained(tmp_path / "c", defense)
    view = seen(victim, capture, Disco.build({"ratio": 0.5}))
    assert kept_channels(view).sum((1, 2, 3)).tolist() == [4.0] * 6
    assert kept_channels(seen(victim, capture, NoDefense())) is None
    blunt = error(capture, view, Reconstruction.build({"adapt": False}), 150)
    assert error(capture, view, Reconstruction.build({}), 150) < 0.2 * blunt


@pytest.mark.parametrize("options", [{"adapt": True}, {"adapt": False}])
@pytest.mark.parametrize("kind", [Shredder, Disco])
def test_inversion_learns_through_both(tmp_path: Path, kind, options: dict[str, bool]) -> None:
    victim, capture = trained(tmp_path / "c", kind(), "gradient")
    assert (
        error(capture, seen(victim, capture, kind(), "gradient"), Inversion.build(options), 20) < 1
    )


def test_the_collection_is_found_beside_x_t(tmp_path: Path, tiny_model: Path) -> None:
    options = {"collection": 2}
    defense = Shredder.build(options)
    victim = SplitControlNet.build({"model": str(tiny_model)})
    plan = TrainingPlan(2, 8, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32")
    capture = victim.train(
        RECORDS, defense, plan, protocol="gradient", out=tmp_path / "c", progress=Silent()
    )
    public = victim.public(Shredder.build(options), OWN, protocol="gradient", device="cpu")
    view = ThreatModel().project(
        capture.transcript, public, capture.transcript.releases()[-4:], history=True
    )
    estimated = estimate_collection(
        view, public.client.with_weights(view.parts(CLIENT_WEIGHTS)[-1].tensors)
    )
    learned = defense.trained_state()["0-shredder/noise"]
    near = (
        torch.cdist(estimated.collection.flatten(1), learned.flatten(1)).amin(1).square()
        / learned[0].numel()
    )
    assert float(near.max()) < 0.1 * float(learned.square().mean())
