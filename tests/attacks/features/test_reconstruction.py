"""Search for the inputs behind features: parts on known answers, attacks on small clients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.common.optimisation.adam import Adam
from attacks.common.optimisation.priors import TotalVariation
from attacks.features.reconstruction import Reconstruction
from attacks.features.search.coordinates import Direct, SearchInputs
from attacks.features.search.match import Match
from attacks.features.search.nuisance import affine_in_noisy, conv_span, project_out
from attacks.features.search.problem import FeatureProblem
from attacks.features.unsplit import UnSplit
from bench.interfaces import (
    CONTROL_FEATURES,
    TIMESTEP,
    Budget,
    ImageBatch,
    NotApplicableError,
    PublicForward,
    Silent,
    ThreatModel,
    Unknown,
    generator,
)
from bench.interfaces.public_forward import NOISY, PIXELS
from defenses.activation import Activation
from defenses.gaussian_noise import GaussianNoise
from defenses.none import NoDefense
from tests.conftest import make_records
from tests.support.attacked import train_and_view
from victims.classifier.split_cnn import SplitCnn
from victims.diffusion.split_controlnet import SplitControlNet

RECORDS = make_records(6)


class Blur(PublicForward):
    """A linear client: a convolution of the pixels."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 12, 3, padding=1)

    def inputs(self):
        return {PIXELS: Unknown((3, 6, 6), low=0.0, high=1.0)}

    def send(self, inputs, rng):
        return {CONTROL_FEATURES: self.stem(inputs[PIXELS])}

    def estimates(self, inputs):
        return {}


def problem(pixels: torch.Tensor, restarts: int = 1, priors=(), warm=None) -> FeatureProblem:
    client = Blur()
    observed = client.send({PIXELS: pixels}, generator(0))
    return FeatureProblem(
        client,
        Match({c: t.detach() for c, t in observed.items()}),
        SearchInputs({}, {PIXELS: Direct(client.inputs()[PIXELS])}, warm or {}),
        priors=priors,
        restarts=restarts,
        rng=generator(1),
        device="cpu",
    )


def test_the_search_finds_pixels_behind_a_convolution():
    pixels = torch.rand(3, 3, 6, 6, generator=generator(2))
    search = problem(pixels, restarts=2)
    found = Adam(rate=0.05, schedule="cosine", amsgrad=True).minimise(
        search, search.first, 300, lambda _: None
    )
    assert (
        found.first.tolist() == pytest.approx([1.0] * 6)
        if found.first.ndim == 1
        else bool((found.first == 1).all())
    )
    assert float(found.match.max()) < 1e-4
    for restart in (0, 1):
        guess = search.inputs(found.point, torch.full((3,), restart))[PIXELS]
        torch.testing.assert_close(guess, pixels, atol=0.02, rtol=0)


def test_records_and_restarts_do_not_touch_each_other():
    """Slopes of a batch equal those of its records one by one, with priors, and for some rows."""
    pixels = torch.rand(3, 3, 6, 6, generator=generator(3))
    priors = (TotalVariation(0.3, 2),)
    together = problem(pixels, restarts=2, priors=priors)
    point = torch.rand(3, 2, 108, generator=generator(4))
    whole = together.evaluate(point)
    some = together.evaluate(point[[2, 0]], rows=torch.tensor([2, 0]))
    torch.testing.assert_close(some.slope, whole.slope[[2, 0]])
    torch.testing.assert_close(some.total, whole.total[[2, 0]])
    moved = point.clone()
    moved[1] = 0.0
    again = together.evaluate(moved)
    torch.testing.assert_close(again.slope[[0, 2]], whole.slope[[0, 2]])
    numeric = point.clone()
    numeric[0, 1, 5] += 1e-3
    rise = (together.evaluate(numeric).total - whole.total)[0, 1] / 1e-3
    assert float(rise) == pytest.approx(float(whole.slope[0, 1, 5]), rel=0.1, abs=1e-3)
    assert bool((whole.total > whole.match).all())


def test_a_warm_start_is_the_first_restart_only():
    pixels = torch.rand(2, 3, 6, 6, generator=generator(5))
    search = problem(pixels, restarts=2, warm={PIXELS: pixels})
    torch.testing.assert_close(search.first[:, 0], pixels.flatten(1))
    assert not torch.allclose(search.first[:, 1], pixels.flatten(1))


def test_features_of_any_convolution_of_x_t_are_in_its_shadow():
    public, own = (nn.Conv2d(4, 8, 3, padding=1) for _ in range(2))
    noisy = torch.randn(2, 4, 10, 10, generator=generator(6))
    basis = conv_span(public, noisy)
    assert basis.shape == (2, 100, 37)
    assert float(project_out(own(noisy), basis).abs().max().detach()) < 1e-5
    assert (
        float(project_out(torch.rand(2, 8, 10, 10, generator=generator(7)), basis).abs().max())
        > 0.1
    )
    assert conv_span(public, noisy[..., :4, :4]) is None


def test_only_features_that_x_t_enters_affinely_have_a_shadow(tiny_model):
    victim = SplitControlNet.build({"model": str(tiny_model)})
    for defense, expected in ((NoDefense(), True), (Activation(), False)):
        forward = victim.public(defense, RECORDS, protocol="gradient", device="cpu").client.forward(
            32
        )
        rng = generator(8)
        inputs = {
            name: torch.zeros(1, dtype=torch.long)
            if u.integer
            else torch.rand(1, *u.shape, generator=rng)
            for name, u in forward.inputs().items()
        }
        assert NOISY in inputs
        assert affine_in_noisy(forward, inputs) == expected


def attacked(victim, protocol, defense, out, attack, iterations=200, withhold=(), initial=None):
    """The claim of an attack on a fresh training, and the truth."""
    threat = ThreatModel(withhold=tuple(withhold))
    seen = train_and_view(
        victim, RECORDS, out, defense=defense, protocol=protocol, count=3, threat=threat
    )
    budget = Budget(iterations, 32)
    return attack.run(seen.view, rng=generator(0), budget=budget, progress=Silent()), seen.truth


def error(claim, truth, target: str) -> float:
    return float(
        (claim.estimates[target].images.pixels - truth[target].images.pixels).square().mean()
    )


CNN = {"size": 16, "width": 8, "label": "identity"}


@pytest.mark.parametrize("defense", [NoDefense, Activation])
def test_the_first_convolution_gives_the_picture_away(tmp_path, defense):
    victim = SplitCnn.build({**CNN, "cut": "conv11"})
    claim, truth = attacked(
        victim, "inference", defense(), tmp_path / "c", Reconstruction.build({})
    )
    blind = float((truth["image"].images.pixels - 0.5).square().mean())
    assert error(claim, truth, "image") < 0.02 * blind
    assert set(claim.estimates) == {"image"}
    assert claim.diagnostics["attack_loss_last"] < 0.01 * claim.diagnostics["attack_loss_first"]


def test_smoothness_is_asked_for_where_the_wire_is_noisy_and_only_there(tmp_path):
    """The weight is tried on the attacker's pictures, behind the public defence."""
    victim = SplitCnn.build({**CNN, "cut": "conv11"})
    noisy = GaussianNoise.build({"multiplier": 0.01})
    errors = {}
    for tv in (None, 0.0):
        claim, truth = attacked(
            victim, "inference", noisy, tmp_path / str(tv), Reconstruction.build({"tv": tv}), 100
        )
        errors[tv] = error(claim, truth, "image")
    assert errors[None] < 0.8 * errors[0.0]
    exact, _ = attacked(
        victim, "inference", NoDefense(), tmp_path / "exact", Reconstruction.build({}), 100
    )
    assert exact.diagnostics["attack_smoothness"] == 0


@pytest.mark.slow
def test_deeper_layers_tell_less(tmp_path):
    errors = []
    for cut in ("conv11", "relu22", "pool3"):
        victim = SplitCnn.build({**CNN, "cut": cut})
        claim, truth = attacked(
            victim, "inference", NoDefense(), tmp_path / cut, Reconstruction.build({}), 100
        )
        errors.append(error(claim, truth, "image"))
    assert errors[0] < 0.5 * errors[1] < 0.5 * errors[2]


@pytest.mark.parametrize("defense", [NoDefense, Activation])
def test_the_condition_latents_are_found_through_the_activation(tiny_model, tmp_path, defense):
    victim = SplitControlNet.build({"model": str(tiny_model)})
    claim, truth = attacked(
        victim, "no-gradient", defense(), tmp_path / "c", Reconstruction.build({})
    )
    for target in ("image", "condition"):
        exact = truth[target].latents
        off = (claim.estimates[target].latents - exact).square().mean() / exact.var()
        assert float(off) < 0.01


def test_an_untrained_hint_block_tells_nothing(tiny_model, tmp_path):
    """Its last convolution starts at zero: without the trained weights there is no slope."""
    victim = SplitControlNet.build({"model": str(tiny_model)})
    with pytest.raises(NotApplicableError, match="zero"):
        attacked(
            victim,
            "gradient",
            NoDefense(),
            tmp_path / "c",
            Reconstruction.build({}),
            5,
            withhold=("client_weights",),
        )


def test_the_condition_is_searched_for_through_the_hint_block(tiny_model):
    """With weights that let the hint through, and a copy of conv_in that the attacker lacks."""
    victim = SplitControlNet.build({"model": str(tiny_model)})
    client, _ = victim.halves(NoDefense(), "gradient", "cpu")
    nn.init.normal_(client.stem.hint.conv_out.weight, std=0.3, generator=generator(1))
    weights = {name: tensor.clone() for name, tensor in client.stem.state_dict().items()}
    nn.init.normal_(client.stem.conv_in.weight, std=0.3, generator=generator(2))
    view = view_of_release(victim, client, weights)
    attack = Reconstruction.build({})
    claim = attack.run(view, rng=generator(0), budget=Budget(150, 32), progress=Silent())
    truth = RECORDS.select(range(3)).condition_batch().pixels
    guess = claim.estimates["condition"].images.pixels
    assert float((guess - truth).square().mean()) < 0.5 * float((truth - 0.5).square().mean())
    assert claim.diagnostics["attack_loss_last"] < 0.05


def view_of_release(victim, client, weights):
    """A view of one release of three records, with the weights that are in view."""
    from types import SimpleNamespace

    from bench.interfaces import CLIENT_WEIGHTS
    from bench.wire.transcript import NamedTensors
    from victims.diffusion.parts.client import ClientRandomness

    rng = ClientRandomness.seeded(1)
    with torch.no_grad():
        sent = client.release(client.encode(RECORDS, [0, 1, 2], rng), rng)
    public = victim.public(NoDefense(), RECORDS, protocol="gradient", device="cpu")
    return SimpleNamespace(
        worked_out_channels=frozenset(),
        public=public,
        has=lambda channel: channel in {*sent, CLIENT_WEIGHTS},
        read=lambda channel, every=False: sent[channel],
        parts=lambda channel: [NamedTensors(0, weights)],
        targets=(0, 1, 2),
        batch_sizes=lambda: [3, 3, 3],
    )


def test_a_view_without_timestep_still_gives_the_condition(tiny_model, tmp_path):
    victim = SplitControlNet.build({"model": str(tiny_model)})
    claim, truth = attacked(
        victim,
        "no-gradient",
        NoDefense(),
        tmp_path / "c",
        Reconstruction.build({}),
        100,
        withhold=(TIMESTEP,),
    )
    assert isinstance(claim.estimates["condition"].images, ImageBatch)
    exact = truth["condition"].latents
    assert (
        float((claim.estimates["condition"].latents - exact).square().mean() / exact.var()) < 0.05
    )


def test_unsplit_does_without_the_trained_weights(tmp_path):
    """A clone that starts from public weights, of a client that has trained since."""
    victim = SplitCnn.build({**CNN, "cut": "conv11"})
    errors = {}
    for attack in (UnSplit.build({"turns": 4}), Reconstruction.build({})):
        out = tmp_path / attack.name
        claim, truth = attacked(
            victim, "gradient", NoDefense(), out, attack, 60, withhold=("client_weights",)
        )
        errors[attack.name] = error(claim, truth, "image")
        assert claim.diagnostics["attack_loss_last"] < 0.2 * claim.diagnostics["attack_loss_first"]
    blind = float((truth["image"].images.pixels - 0.5).square().mean())
    assert errors["unsplit"] < 0.3 * blind


def test_unsplit_moves_a_hint_block_that_starts_at_zero(tiny_model, tmp_path):
    victim = SplitControlNet.build({"model": str(tiny_model)})
    claim, _ = attacked(
        victim,
        "gradient",
        NoDefense(),
        tmp_path / "c",
        UnSplit.build({"turns": 2}),
        6,
        withhold=("client_weights",),
    )
    assert set(claim.estimates) == {"image", "condition"}


def test_unsplit_is_reconstruction_where_nothing_trains(tiny_model, tmp_path):
    victim = SplitControlNet.build({"model": str(tiny_model)})
    with pytest.raises(NotApplicableError, match="use reconstruction"):
        attacked(victim, "no-gradient", NoDefense(), tmp_path / "c", UnSplit.build({}), 2)
