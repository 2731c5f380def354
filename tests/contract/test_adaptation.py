"""Attacks ask defences what they do, and whether an attack adapts is what really happens."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from functools import cache

import pytest
import torch

from attacks.common.undo.numerical_inverse import made_context
from bench.interfaces import (
    CONTROL_FEATURES,
    NOISE_TARGET,
    UNET_FEATURES,
    Attack,
    Budget,
    Claim,
    CompositeDefense,
    Defense,
    NoiseSchedule,
    NotApplicableError,
    Public,
    Release,
    RequestError,
    Silent,
    ThreatModel,
    View,
    generator,
)
from bench.interfaces.consulted_defense import RecordedDefense
from bench.interfaces.registry import Registry
from tests.conftest import make_records
from tests.support.paths import ROOT
from victims.diffusion.split_controlnet import SplitControlNet

ATTACKS: Registry[Attack] = Registry("attacks", Attack)  # type: ignore[type-abstract]
DEFENSES: Registry[Defense] = Registry("defenses", Defense)
SINGLE = [
    name for name in DEFENSES.names() if not issubclass(DEFENSES.load(name), CompositeDefense)
]
PASSIVE = [name for name in ATTACKS.names() if not ATTACKS.load(name).malicious]
SCHEDULE = NoiseSchedule.stable_diffusion()
MAPS = (CONTROL_FEATURES, UNET_FEATURES, NOISE_TARGET)


@pytest.mark.parametrize("path", sorted((ROOT / "attacks").rglob("*.py")), ids=lambda p: p.stem)
def test_no_attack_asks_for_the_name_or_the_parameters_of_a_defence(path):
    names = set(DEFENSES.names()) - {"none", "prompt"}  # words of other meanings too
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in ("params", "trained_part"):
            assert ast.unparse(node.value) == "self", ast.unparse(node)
        if isinstance(node, ast.ImportFrom | ast.Import):
            modules = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert "defenses" not in {m.partition(".")[0] for m in modules}, ast.unparse(node)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {
                n.value for side in sides for n in ast.walk(side) if isinstance(n, ast.Constant)
            }
            of_itself = any(ast.unparse(side).startswith("self.params.") for side in sides)
            assert of_itself or not words & names, ast.unparse(node)
        if isinstance(node, ast.Assign):
            words = {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)}
            assert re.search(r"(Card|Certificate)\(", ast.unparse(node)) or not words & names, (
                ast.unparse(node)
            )
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            assert "Defense" not in ast.unparse(node.args[1]), ast.unparse(node)


@pytest.mark.parametrize("name", SINGLE)
def test_a_stated_inverse_or_noise_is_what_protect_does(name):
    defense = DEFENSES.load(name).build({})
    maps = torch.randn(64, 8, 8, 8, generator=generator(3))
    context = made_context(torch.full((64,), 400), SCHEDULE, secret=5)
    for channel in MAPS:
        sent = defense.protect(channel, maps, context)
        before = defense.invert(channel, sent, context)
        if before is not None:
            torch.testing.assert_close(before.float(), maps, atol=2e-3, rtol=2e-3)
        if (stated := defense.added_noise(channel, maps[0].numel())) and not _replaces(
            defense, "clip"
        ):
            assert float((sent - maps).std()) == pytest.approx(stated, rel=0.05)
        if count := defense.noise_collection(channel):
            assert len((sent - maps).round(decimals=3).flatten(1).unique(dim=0)) == count
        if defense.prunes_channels(channel):
            assert bool((sent.abs().mean((2, 3)) == 0).any())
        if side := defense.shuffled_squares(channel):
            assert torch.equal(_squares(sent, side), _squares(maps, side))
        if group := defense.mixed_channels(channel):
            energy = [t.view(64, 8 // group, group, 8, 8).square().sum(2) for t in (sent, maps)]
            torch.testing.assert_close(*energy)


def _replaces(defense: Defense, parameter: str) -> bool:
    return parameter in type(defense.params).model_fields


def _squares(maps: torch.Tensor, side: int) -> torch.Tensor:
    """The squares of each map in an order that does not depend on their places."""
    squares = torch.nn.functional.unfold(maps, side, stride=side)
    return squares.gather(2, squares[:, :1].argsort(2).expand_as(squares))


@pytest.mark.parametrize("name", SINGLE)
def test_the_stated_control_noise_is_what_the_control_branch_gets(name):
    defense = DEFENSES.load(name).build({})
    noisy = torch.randn(64, 4, 8, 8, generator=generator(4))
    given = defense.control_input(noisy, made_context(torch.zeros(64), SCHEDULE, secret=5))
    noise = defense.control_noise()
    assert noise is not None
    assert float(given.std() if noise else (given - noisy).abs().max()) == pytest.approx(
        noise, rel=0.05
    )


class Wire:
    """A simulated wire of two epochs of split training under a defence, and who attacks it."""

    def __init__(self, victim: SplitControlNet, name: str) -> None:
        self.victim = victim
        parts = self.known(name).client.simulator(make_records(6))
        epochs = [parts.emit(range(6), generator(5, str(i))).sent for i in range(2)]
        self.rows = {c: torch.cat([e[c].detach() for e in epochs]) for c in epochs[0]}

    def known(self, name: str) -> Public:
        defense = DEFENSES.load(name).build({})
        auxiliary = make_records(12, seed=1)
        return self.victim.public(defense, auxiliary, protocol="no-gradient", device="cpu")

    def attacked(
        self, attack: Attack, name: str, stated: str | None = None
    ) -> tuple[Claim, list[str]]:
        """The claim of an attacker who knows a defence, and what the attack did not adapt to.

        Args:
            name: of the defence in the client that the attacker simulates.
            stated: name of the defence whose hooks the attacker asks, where it is another one.
        """
        public = self.known(name)
        if stated is not None:
            public = replace(public, defense=DEFENSES.load(stated).build({}))
        recorded = RecordedDefense(public.defense)
        releases = tuple(Release(epoch, epoch, row) for epoch in range(2) for row in range(6))
        view = View(
            granted=frozenset(self.rows),
            rows=self.rows,
            parts={},
            releases=releases,
            targets=tuple(range(6, 12)),
            batch_sizes=(6,) * 12,
            public=public,
            threat=ThreatModel(),
        )
        claim = attack.run(view, rng=generator(0), budget=Budget(2, 6), progress=Silent())
        read = {channel: self.rows[channel][:2] for channel in view.channels_read}
        context = made_context(torch.zeros(2, dtype=torch.long), SCHEDULE)
        sent = self.victim.channels("no-gradient")
        return claim, recorded.not_adapted_to(read, sent, context)


@pytest.fixture(scope="module")
def wire(tiny_model):
    """Wires by the name of their defence, all of one model in memory."""
    victim = SplitControlNet.build({"model": str(tiny_model)})
    victim.load = cache(victim.load)
    return cache(lambda name: Wire(victim, name))


def numbers(claim: Claim) -> torch.Tensor:
    """All latents or pictures that are claimed, side by side."""
    shown = [e.images.pixels.flatten() for e in claim.estimates.values() if hasattr(e, "images")]
    links = [] if claim.links is None else [torch.tensor(claim.links.labels).float()]
    return torch.cat([*shown, *links, torch.zeros(1)])


def attack_of(name: str) -> Attack:
    return ATTACKS.load(name).build({})


@pytest.mark.slow
@pytest.mark.parametrize("defense", SINGLE)
def test_an_attack_that_does_not_adapt_claims_what_it_claims_without_the_defence(
    defense, wire, tiny_model
):
    """Over every registered attack that applies to this wire."""
    try:
        sent = SplitControlNet.build({"model": str(tiny_model)}).channels("no-gradient")
        DEFENSES.load(defense).build({}).check(SCHEDULE, sent)
    except RequestError:
        pytest.skip("refuses this victim")
    ran = 0
    for name in PASSIVE:
        attack = attack_of(name)
        try:
            if not attack.requires <= set(wire(defense).rows) or attack.candidates:
                continue
            claim, missed = wire(defense).attacked(attack, defense)
        except NotApplicableError:
            continue
        ran += 1
        if missed:
            blind, _ = wire(defense).attacked(attack_of(name), defense, stated="none")
            assert torch.equal(numbers(claim), numbers(blind)), f"{name} x {defense}"
    assert ran >= 3


ADAPTED = [
    *[(attack, "activation") for attack in ("closed-form", "posterior", "guided", "inversion")],
    *[(attack, "keyed-mixing") for attack in ("closed-form", "posterior", "linkage", "inversion")],
    ("closed-form", "decoupled-noise"),
    ("closed-form", "noisy-target"),
    ("posterior", "decoupled-noise"),
    ("inversion", "gaussian-noise"),
    ("reconstruction", "activation"),
]
"""Attacks whose claims depend on what they know of the defence."""


@pytest.mark.slow
@pytest.mark.parametrize(("attack", "defense"), ADAPTED)
def test_an_attack_that_adapts_claims_something_else_without_its_knowledge(attack, defense, wire):
    claim, missed = wire(defense).attacked(attack_of(attack), defense)
    assert missed == []
    blind, _ = wire(defense).attacked(attack_of(attack), "none")
    assert not torch.equal(numbers(claim), numbers(blind))
