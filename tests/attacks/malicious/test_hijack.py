"""A malicious server: where it can run, what it changes, and that hijacking moves features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attacks.malicious.hijack import Hijack
from attacks.malicious.hold import Hold
from attacks.malicious.parts.hijack_server import (
    CriticPlan,
    DecoderPlan,
    HijackServer,
    train_autoencoder,
)
from attacks.malicious.parts.target_features import ClientPilot
from bench.cell.job import Job
from bench.cell.runner import Runner
from bench.data.portraits.dataset import Portraits
from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    Attack,
    Budget,
    Channel,
    Defense,
    Estimate,
    Records,
    RequestError,
    ServerAdversary,
    Silent,
    TrainingPlan,
)
from bench.interfaces.public_forward import PIXELS
from bench.interfaces.threat import PRESETS
from bench.metrics.structural_similarity import ssim
from bench.settings.cell import CaptureSpec
from tests.conftest import make_records
from tests.support.attacked import train_and_view
from victims.classifier.split_cnn import SplitCnn
from victims.diffusion.split_controlnet import SplitControlNet

DECODER = DecoderPlan(width=8, steps=60, batch_size=8, rate=3e-3)
CRITIC = CriticPlan(width=8, rate=3e-3, steps=3, penalty=10.0, horizon=0)


SMALL_CUT = {"cut": "conv11", "width": 4, "size": 16, "label": "brightness"}


class Silence(ServerAdversary):
    """Sends no gradient at all."""

    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        assert CONTROL_FEATURES in sent
        return {name: torch.zeros_like(tensor) for name, tensor in honest.items()}


@pytest.mark.parametrize(
    ("protocol", "threat", "reason"),
    [
        (
            "no-gradient",
            "malicious_server",
            "needs a client that trains with what",
        ),
        ("gradient", "server", "needs a malicious server"),
    ],
)
def test_where_there_is_nothing_to_hijack(
    make_job: Callable[..., Job], protocol: str, threat: str, reason: str
):
    with pytest.raises(RequestError, match=reason):
        make_job(attack="hijack", protocol=protocol, threat=threat)


def test_the_adversary_shapes_the_capture_and_an_honest_server_is_not_mentioned(
    make_job: Callable[..., Job],
):
    honest = make_job(attack="closed-form", protocol="gradient").cell.capture
    taken = make_job(attack="hijack", protocol="gradient", threat="malicious_server").cell.capture
    assert "adversary" not in honest.canonical()
    assert taken.content_hash() != honest.content_hash()
    assert taken.model_copy(update={"adversary": None}) == honest
    for spec in (honest, taken):
        assert CaptureSpec.model_validate_json(spec.canonical()) == spec


def test_its_answers_are_what_the_client_trains_with(
    tiny_model: Path, records: Records, tmp_path: Path
):
    plan = TrainingPlan(1, 4, 1e-3, 0, "cpu", "fp32", adversary=Silence())
    victim = SplitControlNet.build({"model": str(tiny_model)})
    capture = victim.train(
        records, Defense(), plan, protocol="gradient", out=tmp_path / "c", progress=Silent()
    )
    down = [m for m in capture.transcript.messages if m.direction == "down"]
    assert down
    assert all(bool((capture.transcript.read(m)[GRADIENT_DOWN] == 0).all()) for m in down)


def test_features_that_follow_its_gradient_come_to_be_read():
    """A client of free features, as flexible as can be: they end among the pilot's."""
    rng = torch.Generator().manual_seed(0)
    tones = torch.rand(24, 3, 1, 1, generator=rng).expand(-1, -1, 16, 16).contiguous()
    networks = train_autoencoder(
        tones, (4, 8, 8), DECODER, torch.Generator().manual_seed(1), "cpu", Silent(), 3
    )
    again = train_autoencoder(
        tones, (4, 8, 8), DECODER, torch.Generator().manual_seed(1), "cpu", Silent(), 3
    )
    assert torch.equal(networks.pilot(tones), again.pilot(tones))
    server = HijackServer(
        networks.pilot, tones, (4, 8, 8), CRITIC, torch.Generator().manual_seed(2)
    )
    pilot = networks.pilot(tones)
    features = torch.randn(12, 4, 8, 8, generator=rng) + 3

    def distance() -> float:
        return float((features.mean(0) - pilot.mean(0)).square().mean())

    start = distance()
    for _ in range(60):
        sent = {CONTROL_FEATURES: features}
        gradient = server.answer(sent, {GRADIENT_DOWN: torch.zeros_like(features)})[GRADIENT_DOWN]
        features = features - 0.3 * gradient / gradient.flatten(1).norm(dim=1).mean() * 16
    assert distance() < 0.5 * start


def test_a_pilot_that_is_the_client_stays_as_everybody_knows_it(make_job: Callable[..., Job]):
    job = make_job(victim="split-cnn:cut=conv11,width=4,size=16", protocol="gradient", model=None)
    public = job.new_victim().public(None, job.splits.auxiliary, protocol="gradient", device="cpu")
    assert public.client is not None
    forward, plain = public.client.forward(64), public.client.forward(64)
    pictures = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pilot = ClientPilot(forward, PIXELS).requires_grad_(False)
    networks = train_autoencoder(
        pictures, (4, 16, 16), DECODER, torch.Generator().manual_seed(1), "cpu", Silent(), pilot
    )
    expected = plain.send({PIXELS: pictures}, torch.Generator())[CONTROL_FEATURES]
    assert torch.equal(networks.pilot(pictures), expected)
    blind = float((pictures.mean(0) - pictures).square().mean())
    assert float((networks.inverse(expected) - pictures).square().mean()) < blind


def read_at_the_end(
    attack: Attack, records: Records, plan: TrainingPlan, out: Path, auxiliary: Records
) -> float:
    """SSIM of what ``attack`` makes of the last epoch, whoever serves."""
    victim = SplitCnn.build(SMALL_CUT)
    seen = train_and_view(
        victim,
        records,
        out,
        auxiliary=auxiliary,
        epoch=plan.epochs - 1,
        count=48,
        threat=PRESETS["malicious_server"],
        protocol="gradient",
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        adversary=plan.adversary,
    )
    found = attack.run(
        seen.view, rng=torch.Generator(), budget=Budget(0, 16), progress=Silent()
    ).estimates["image"]
    assert isinstance(found, Estimate)
    return float(ssim(found.images, seen.records.image_batch()).mean())


def likeness(
    attack: Attack, records: Records, plan: TrainingPlan, auxiliary: Records, out: Path
) -> tuple[float, float]:
    """SSIM under the server that ``attack`` puts up, and under an honest one."""
    public = SplitCnn.build(SMALL_CUT).public(None, auxiliary, protocol="gradient", device="cpu")
    adversary = attack.take_over(public, rng=torch.Generator().manual_seed(0), progress=Silent())
    taken = read_at_the_end(
        attack, records, replace(plan, adversary=adversary), out / "taken", auxiliary
    )
    return taken, read_at_the_end(attack, records, plan, out / "honest", auxiliary)


@pytest.mark.slow
def test_a_client_that_is_held_is_read_to_the_end_where_an_honest_one_is_not(tmp_path: Path):
    """The certificate, on pictures of 16x16 and a client that runs far in 30 steps."""
    auxiliary, private = make_records(32, seed=1), make_records(16, seed=2)
    attack = Hold.build({"width": 16, "steps": 150, "learning_rate": 3e-3})
    plan = TrainingPlan(15, 8, 1e-2, 0, "cpu", "fp32")
    held, honest = likeness(attack, private, plan, auxiliary, tmp_path)
    assert held > 0.85
    assert honest < 0.3


@pytest.mark.slow
def test_a_client_that_is_hijacked_is_read_where_an_honest_one_is_not(tmp_path: Path):
    """The certificate with a quarter of its steps; the critic has to see real pictures."""
    portraits = Portraits(Portraits.parse({"photos_per_identity": 1})).load(
        160, image_size=64, condition="canny", progress=Silent()
    )
    private, auxiliary = portraits.select(range(64)), portraits.select(range(64, 160))
    attack = Hijack.build(
        {"width": 16, "pilot_steps": 200, "pilot_rate": 3e-3, "critic_width": 16, "horizon": 160}
    )
    plan = TrainingPlan(40, 16, 5e-3, 0, "cpu", "fp32")
    hijacked, honest = likeness(attack, private, plan, auxiliary, tmp_path)
    assert hijacked > 0.65
    assert honest < 0.5


def test_a_gradient_that_has_faded_leaves_the_client_alone():
    tones = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pilot = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3, padding=1)).requires_grad_(
        False
    )
    server = HijackServer(
        pilot, tones, (4, 8, 8), replace(CRITIC, horizon=4), torch.Generator().manual_seed(1)
    )
    features = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    sent = {CONTROL_FEATURES: features}
    norms = [
        float(
            server.answer(sent, {GRADIENT_DOWN: torch.zeros_like(features)})[GRADIENT_DOWN].norm()
        )
        for _ in range(6)
    ]
    assert norms[0] > 0
    assert norms[4] == norms[5] == 0


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["gradient", "u-shaped"])
def test_a_hijacked_run_claims_conditions(
    make_job: Callable[..., Job], tmp_path: Path, protocol: str
):
    job = make_job(attack="hijack:pilot_steps=3", protocol=protocol, threat="malicious_server")
    rows = {row["target"]: row for row in Runner(tmp_path, Silent()).compute(job).rows}
    assert rows["condition"]["status"] == "ok"
    assert rows["image"]["status"] == "not_claimed"
    assert rows["condition"]["channels_read"] == CONTROL_FEATURES
