"""What every registered plugin must hold to, whoever wrote it."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from bench.cell.attacker import Attacker
from bench.cell.job import Job
from bench.cell.snapshot import Snapshot
from bench.cell.targets import choose_targets
from bench.interfaces import (
    CLIENT_UPDATE,
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    NOISE_TARGET,
    PROMPT_EMBEDDING,
    TIMESTEP,
    UNET_FEATURES,
    Attack,
    AttributeOdds,
    Budget,
    Capture,
    Card,
    Channel,
    Claim,
    CompositeDefense,
    Dataset,
    Defense,
    Estimate,
    Fact,
    IdentityScores,
    Metric,
    NoiseSchedule,
    NotApplicableError,
    Plugin,
    ProtectContext,
    RequestError,
    Silent,
    Texts,
    TrainingPlan,
    Victim,
    View,
)
from bench.interfaces.hook_checks import with_hook_checks
from bench.interfaces.registry import KINDS, Registry, listing
from bench.interfaces.threat import PRESETS, ThreatModel
from bench.ledger.diagnostics import diagnostic_columns
from bench.scoring.claim_check import CLAIMED, check_claim
from bench.types.targets import ALL_TARGETS as TARGETS
from bench.util.global_random import GlobalRandom
from tests.support.shared import SharedFiles

MakeJob = Callable[..., Job]

BASES: dict[str, type[Plugin]] = {
    "attacks": Attack,
    "defenses": Defense,
    "victims": Victim,
    "metrics": Metric,
    "datasets": Dataset,
}
EVERY_PLUGIN = [(kind, name) for kind in KINDS for name in listing(kind).names()]
ATTACKS, DEFENSES, METRICS, VICTIMS = (
    listing(kind).names() for kind in ("attacks", "defenses", "metrics", "victims")
)
SLOW = {"gidm", "hijack", "hold", "reidentify"}
EACH_ATTACK = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in ATTACKS]
SOURCE = re.compile(
    r"arXiv:\d{4}\.\d{4,5}|\b(19|20)\d\d\b|ISO/IEC|this project|standard definition|layout"
)
TINY = Budget(iterations=2, batch_size=4)


def load(kind: str, name: str) -> type[Plugin]:
    return Registry(kind, BASES[kind]).load(name)


def required(cls: type[Plugin]) -> list[str]:
    return [name for name, field in cls.Params.model_fields.items() if field.is_required()]


@pytest.mark.parametrize(("kind", "name"), EVERY_PLUGIN)
def test_it_loads_and_says_what_it_is(kind: str, name: str) -> None:
    cls = load(kind, name)
    assert cls.name == name
    assert isinstance(cls.card, Card)
    assert cls.card.summary.endswith(".")
    assert "\n" not in cls.card.summary
    assert SOURCE.search(cls.card.source), f"names no paper, venue or standard: {cls.card.source!r}"
    package = cls.__module__.partition(".")[0]
    shipped = [
        other
        for other in cls.__subclasses__()
        if other.__module__.partition(".")[0] == package
        and getattr(sys.modules[other.__module__], other.__name__) is other  # not made at run time
    ]
    assert not any(other.name == name for other in shipped), "a subclass must have another name"


@pytest.mark.parametrize(("kind", "name"), EVERY_PLUGIN)
def test_its_parameters_are_frozen_validated_and_known(kind: str, name: str) -> None:
    cls = load(kind, name)
    assert cls.Params.model_config.get("frozen") is True
    with pytest.raises(RequestError, match=rf"^{name}: ") as caught:
        cls.parse({"no_such_parameter": 1})
    if required(cls):
        assert required(cls)[0] in str(caught.value)
        return
    assert "no_such_parameter" in str(caught.value)
    params = cls.parse({})
    assert cls.parse(params.model_dump(mode="json")) == params, (
        "defaults must pass their own validation"
    )
    for field in cls.Params.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(params, field, getattr(params, field))
    assert cls.build({}).params == params


# Attacks: on every victim and protocol.


def pairs() -> list[tuple[str, str]]:
    return [(name, protocol) for name in VICTIMS for protocol in load("victims", name).protocols]  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def captured(make_job: MakeJob, shared: SharedFiles) -> Callable[..., tuple[Job, Capture]]:
    """A job with its trained capture; each is trained once in a test run."""
    kept: dict[tuple[str, str, str], tuple[Job, Capture]] = {}

    def get(victim: str, protocol: str, defense: str = "none") -> tuple[Job, Capture]:
        key = (victim, protocol, defense)
        if key not in kept:
            job = make_job(victim=victim, protocol=protocol, defense=defense, **own_model(victim))
            place = shared.once(f"capture-{job.cell.cell_id}", lambda out: train(job, out))
            kept[key] = (job, Capture.open(place))
        return kept[key]

    return get


def own_model(victim: str) -> dict[str, None]:
    """A victim that takes no model is not given the tiny one."""
    return {} if "model" in load("victims", victim).Params.model_fields else {"model": None}


def train(job: Job, out: Path, epochs: int = 1) -> Capture:
    spec = job.cell.capture
    plan = TrainingPlan(
        epochs, spec.training.batch_size, spec.training.learning_rate, spec.seed, "cpu", "fp32"
    )
    stream = GlobalRandom(0)
    with stream.active():
        capture = job.new_victim().train(
            job.splits.victim,
            with_hook_checks(job.new_defense()),
            plan,
            protocol=spec.protocol,
            out=out,
            progress=Silent(),
        )
    assert not stream.drawn
    return capture


def seen(attack: Attack, job: Job, threat: ThreatModel) -> Attacker:
    """The knowledge of an attacker who runs ``attack`` under ``threat`` in place of the job's."""
    cell = job.cell.model_copy(update={"threat": threat})
    return Attacker.from_job(dataclasses.replace(job, attack=attack, cell=cell))


def attempt(attack: Attack, job: Job, capture: Capture, threat: str) -> tuple[View, Claim | None]:
    """The attack's claim, or None where it does not apply; any other error is the attack's."""
    targets = choose_targets(capture.transcript, job)
    view = seen(attack, job, PRESETS[threat]).view(capture.transcript, targets)
    if not targets or attack.requires - view.channels:
        return view, None
    handed, stream = Snapshot("view", view), GlobalRandom(0)
    try:
        with stream.active():
            claim = attack.run(
                view, rng=torch.Generator().manual_seed(0), budget=TINY, progress=Silent()
            )
    except NotApplicableError:
        return view, None
    finally:
        assert handed.changed() == []
        assert not stream.drawn
    diagnostic_columns(attack.name, claim.diagnostics)
    size = job.cell.capture.data.image_size
    return view, check_claim(
        attack.name, claim, targets=len(targets), releases=len(view.releases), image_size=size
    )


def check(claim: Claim | None, view: View, job: Job) -> None:
    assert view.channels_read <= view.channels
    if claim is None:
        return
    said = (claim.estimates or None, claim.labels, claim.links)
    assert any(part is not None for part in said), (
        "an attack with nothing to claim must raise NotApplicableError"
    )
    assert set(claim.estimates) <= set(TARGETS)
    size = job.cell.capture.data.image_size
    for target, estimate in claim.estimates.items():
        assert isinstance(estimate, CLAIMED.get(target, Estimate))
        if not isinstance(estimate, Estimate):
            assert len(estimate) == len(view.targets)
            continue
        assert tuple(estimate.images.pixels.shape) == (len(view.targets), 3, size, size)
        if estimate.latents is not None:
            assert len(estimate.latents) == len(view.targets)
            assert bool(estimate.latents.isfinite().all())
    assert all(isinstance(number, float) for number in claim.diagnostics.values())


@pytest.mark.parametrize("name", EACH_ATTACK)
@pytest.mark.parametrize(("victim", "protocol"), pairs())
def test_an_attack_claims_every_target_or_does_not_apply(
    captured, name: str, victim: str, protocol: str
) -> None:
    job, capture = captured(victim, protocol)
    attack = load("attacks", name).build({})
    view, claim = attempt(attack, job, capture, "server")
    check(claim, view, job)
    if claim is not None:
        assert view.channels_read, (
            "a claim that reads nothing of the wire is a control, not an attack"
        )


@pytest.mark.parametrize("name", EACH_ATTACK)
@pytest.mark.parametrize("threat", [t for t in PRESETS if t not in ("server", "eavesdropper")])
def test_an_attack_respects_what_it_is_not_granted(captured, name: str, threat: str) -> None:
    """A read outside the view raises NotGrantedError here, which is no way for an attack to end."""
    job, capture = captured("split-controlnet", "no-gradient")
    view, claim = attempt(load("attacks", name).build({}), job, capture, threat)
    check(claim, view, job)


@pytest.mark.parametrize("name", EACH_ATTACK)
def test_every_attack_applies_to_some_undefended_victim(
    captured, tmp_path: Path, name: str
) -> None:
    attack = load("attacks", name).build({})
    if any(attempt(attack, *captured(*pair), "server")[1] is not None for pair in pairs()):
        return
    assert attack.uses_history, "applies nowhere"
    job, _ = captured("split-controlnet", "no-gradient")
    assert attempt(attack, job, train(job, tmp_path / "c", epochs=2), "server")[1] is not None


@pytest.mark.parametrize("name", EACH_ATTACK)
def test_an_attack_without_public_weights_still_ends_well(captured, name: str) -> None:
    job, capture = captured("split-controlnet", "no-gradient")
    attack = load("attacks", name).build({})
    threat = PRESETS["server"].model_copy(update={"weights_known": False, "defense_known": False})
    targets = choose_targets(capture.transcript, job)
    view = seen(attack, job, threat).view(capture.transcript, targets)
    try:
        claim = attack.run(
            view, rng=torch.Generator().manual_seed(0), budget=TINY, progress=Silent()
        )
    except NotApplicableError:
        return
    check(claim, view, job)


@pytest.mark.parametrize("name", EACH_ATTACK)
def test_an_attack_is_deterministic_in_its_generator(captured, name: str) -> None:
    job, capture = captured("split-controlnet", "no-gradient")
    claims = []
    for noise in (1, 2):
        torch.manual_seed(noise)  # the global generator must not matter
        claims.append(attempt(load("attacks", name).build({}), job, capture, "server")[1])
    first, second = claims
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first.estimates.keys() == second.estimates.keys()
        assert all(same(first.estimates[t], second.estimates[t]) for t in first.estimates)


def same(first: Estimate | Texts | Fact, second: Estimate | Texts | Fact) -> bool:
    if isinstance(first, Texts) or isinstance(second, Texts):
        return first == second
    if isinstance(first, AttributeOdds) and isinstance(second, AttributeOdds):
        return all(torch.equal(odds, second.odds[name]) for name, odds in first.odds.items())
    if isinstance(first, IdentityScores) and isinstance(second, IdentityScores):
        return torch.equal(first.likeness, second.likeness)
    assert isinstance(first, Estimate)
    assert isinstance(second, Estimate)
    return torch.equal(first.images.pixels, second.images.pixels)


# Defences: on the published protocol, or where they have a place.


def spelled(name: str) -> str:
    """How a user asks for it; a composite is asked for by its parts."""
    return "activation+prompt" if issubclass(load("defenses", name), CompositeDefense) else name


def place(name: str) -> tuple[str, str]:
    """Victim and protocol: the published ones, or where one that changes a network or trains itself
    has a place.
    """
    cls = load("defenses", name)
    changes = not issubclass(cls, CompositeDefense) and cls.insertion is not Defense.insertion  # type: ignore[attr-defined]
    if not issubclass(cls, CompositeDefense) and cls.build({}).trained_part is not None:  # type: ignore[attr-defined]
        return ("split-controlnet", "gradient")
    return ("federated-classifier", "fedsgd") if changes else ("split-controlnet", "no-gradient")


def placed(make_job: MakeJob, name: str) -> Job:
    victim, protocol = place(name)
    return make_job(victim=victim, protocol=protocol, defense=spelled(name), **own_model(victim))


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defended_victim_trains_and_repeats_itself(
    captured, make_job: MakeJob, tmp_path: Path, name: str
) -> None:
    job, capture = captured(*place(name), spelled(name))
    again = train(job, tmp_path / "again")
    assert capture.costs.losses == again.costs.losses
    assert all(torch.tensor(capture.costs.losses).isfinite())
    assert [m.sha256 for m in capture.transcript.messages] == [
        m.sha256 for m in again.transcript.messages
    ]
    withheld = job.new_defense().withheld
    assert not withheld & capture.transcript.channels()
    for message in capture.transcript.messages:
        if message.rows:
            assert all(
                len(tensor) == message.rows for tensor in capture.transcript.read(message).values()
            )


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defended_client_that_trains_still_learns(
    make_job: MakeJob, tmp_path: Path, name: str
) -> None:
    """``protect`` must let the gradient through to the client's weights."""
    if place(name)[0] != "split-controlnet":
        with pytest.raises(RequestError, match="no place"):
            make_job(protocol="gradient", defense=spelled(name))
        return
    job = make_job(protocol="gradient", defense=spelled(name))
    last = train(job, tmp_path / "c", epochs=2).transcript.parts(CLIENT_WEIGHTS)[0].tensors
    initial = initial_stem(job)
    moved = max(
        float((last[part] - weights).abs().max())
        for part, weights in initial.items()
        if part in last
    )
    # Weight decay alone, with no gradient, moves a weight by about 1e-5 of itself a step; AdamW by
    # the rate, 1e-3.
    assert moved > 3e-4


def initial_stem(job: Job) -> Mapping[str, Tensor]:
    """The client's weights before training, from a victim that has not trained."""
    from victims.diffusion.parts.base import PUBLIC_SEED
    from victims.diffusion.parts.controlnet import STEMS, new_controlnet

    victim = job.new_victim()
    model = victim.load("cpu")  # type: ignore[attr-defined]
    return STEMS[victim.stem_name("gradient")](new_controlnet(model, PUBLIC_SEED)).state_dict()  # type: ignore[attr-defined]


BATCH = 3
SCHEDULE = NoiseSchedule.stable_diffusion()


def released() -> dict[Channel, Tensor]:
    """A release of made-up tensors in the shapes of the wire."""
    rng = torch.Generator().manual_seed(3)
    return {
        CONTROL_FEATURES: torch.randn(BATCH, 4, 8, 8, generator=rng),
        UNET_FEATURES: torch.randn(BATCH, 16, 8, 8, generator=rng),
        TIMESTEP: torch.tensor([0, 500, 999]),
        NOISE_TARGET: torch.randn(BATCH, 4, 8, 8, generator=rng),
        PROMPT_EMBEDDING: torch.randn(BATCH, 8, 16, generator=rng),
    }


def context(phase: str, seed: int = 5) -> ProtectContext:
    rng = torch.Generator().manual_seed(seed)
    return ProtectContext(
        phase, released()[TIMESTEP], SCHEDULE, torch.ones(1, 8, 16), ("a", "b", "c"), rng
    )


def protected(defense: Defense, phase: str) -> dict[Channel, Tensor]:
    shared = context(phase)
    return {
        channel: defense.protect(channel, tensor, shared) for channel, tensor in released().items()
    }


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("phase", ["training", "inference"])
def test_protection_keeps_the_batch_and_the_clients_own_tensors(
    make_job: MakeJob, name: str, phase: str
) -> None:
    defense = placed(make_job, name).new_defense()
    shared = context(phase)
    for channel, tensor in released().items():
        before = tensor.clone()
        sent = defense.protect(channel, tensor, shared)
        assert len(sent) == BATCH
        assert bool(sent.isfinite().all())
        assert torch.equal(tensor, before), f"{channel} was changed in place"
    update = torch.randn(4, 3)
    assert defense.protect(CLIENT_UPDATE, update, shared).shape == update.shape


@pytest.mark.parametrize("name", DEFENSES)
def test_two_defences_of_the_same_parameters_are_the_same(make_job: MakeJob, name: str) -> None:
    """Kerckhoffs: an attacker who rebuilds the defence, and shares its randomness, has the very
    same one.
    """
    job = placed(make_job, name)
    one, two = job.new_defense(), job.new_defense()
    assert one is not two
    torch.manual_seed(1)
    first = protected(one, "training")
    torch.manual_seed(2)  # the global generator must not matter
    second = protected(two, "training")
    assert all(torch.equal(first[channel], second[channel]) for channel in first)
    for draw in (
        lambda d, g: d.sample_timesteps(("a", "b", "c"), SCHEDULE, g),
        lambda d, g: d.sample_noise(("a", "b", "c"), (3, 4, 8, 8), g),
    ):
        drawn = [draw(d, torch.Generator().manual_seed(7)) for d in (one, two)]
        assert torch.equal(*drawn)
    assert one.withheld == two.withheld
    assert one.guarantee(3, SCHEDULE) == two.guarantee(3, SCHEDULE)
    adapters = [d.server_adapter(torch.ones(1, 8, 16)) for d in (one, two)]
    assert (adapters[0] is None) == (adapters[1] is None)
    if adapters[0] is not None and adapters[1] is not None:
        states = [a.state_dict() for a in adapters if a is not None]
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


@pytest.mark.parametrize("name", DEFENSES)
def test_draws_are_of_the_schedule_and_of_the_shape(make_job: MakeJob, name: str) -> None:
    defense = placed(make_job, name).new_defense()
    ids = tuple(f"r{i}" for i in range(200))
    times = defense.sample_timesteps(ids, SCHEDULE, torch.Generator().manual_seed(0))
    assert times.shape == (200,)
    assert times.dtype == torch.int64
    assert 0 <= int(times.min()) < int(times.max()) < SCHEDULE.steps
    noise = defense.sample_noise(ids, (200, 4, 4, 4), torch.Generator().manual_seed(0))
    assert noise.shape == (200, 4, 4, 4)
    assert noise.dtype == torch.float32
