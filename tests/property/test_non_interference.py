"""An attack's claim depends on the view alone: the secrets can be anything."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.cell.attacker import Attacker
from bench.cell.capture_store import CaptureStore
from bench.cell.job import Job
from bench.cell.targets import choose_targets
from bench.interfaces import (
    TIMESTEP,
    UNET_FEATURES,
    Attack,
    AttributeOdds,
    Budget,
    Capture,
    Card,
    Claim,
    Estimate,
    Fact,
    IdentityScores,
    Records,
    Silent,
    Texts,
    View,
    generator,
)
from bench.wire.capture import SECRETS_DIR
from bench.wire.secrets import Secrets
from tests.support.reachable import forbidden, reachable


def trained(job: Job, results: Path) -> Path:
    """Train the job's victim; the capture's directory."""
    store = CaptureStore(results)
    plan = dataclasses.replace(_plan(job))
    store.get(
        job.cell.capture,
        lambda out: job.new_victim().train(
            job.splits.victim,
            job.new_defense(),
            plan,
            protocol=job.cell.capture.protocol,
            out=out,
            progress=Silent(),
        ),
        fresh=False,
        progress=Silent(),
    )
    return store.path(job.cell.capture)


def _plan(job: Job) -> Any:
    from bench.interfaces import TrainingPlan

    spec = job.cell.capture
    return TrainingPlan(
        epochs=spec.training.epochs,
        batch_size=spec.training.batch_size,
        learning_rate=spec.training.learning_rate,
        seed=spec.seed,
        device="cpu",
        dtype="fp32",
    )


def view_of(job: Job, capture: Capture) -> View:
    targets = choose_targets(capture.transcript, job)
    return Attacker.from_job(job).view(capture.transcript, targets)


def claim_of(attack: Attack, job: Job, capture: Capture) -> Claim:
    return attack.run(
        view_of(job, capture),
        rng=generator(0, "attack"),
        budget=Budget(iterations=3, batch_size=4),
        progress=Silent(),
    )


def replace_secrets(capture_dir: Path) -> None:
    """Put other secrets behind the same transcript."""
    file = capture_dir / SECRETS_DIR / "secrets.safetensors"
    tensors = load_file(file)
    rng = torch.Generator().manual_seed(5)
    for name, tensor in tensors.items():
        if tensor.dtype == torch.uint8:
            tensors[name] = torch.randint(0, 256, tensor.shape, generator=rng, dtype=torch.uint8)
        elif tensor.is_floating_point():
            tensors[name] = torch.randn(tensor.shape, generator=rng).to(tensor.dtype)
    tensors["record"] = tensors["record"].flip(0)
    save_file(tensors, file)
    words = capture_dir / SECRETS_DIR / "secrets.json"
    content = json.loads(words.read_text())
    content["prompts"] = [f"nothing like it {i}" for i in range(len(content["prompts"]))]
    content["identities"] = [f"somebody else {i}" for i in range(len(content["identities"]))]
    content["attributes"] = [{"hat": "crown"} for _ in content["attributes"]]
    words.write_text(json.dumps(content))


def same_claim(first: Claim, second: Claim) -> bool:
    """Whether two claims agree in every bit."""
    if first.estimates.keys() != second.estimates.keys() or first.diagnostics != second.diagnostics:
        return False
    if first.links != second.links:
        return False
    return all(same_estimate(first.estimates[t], second.estimates[t]) for t in first.estimates)


def same_estimate(first: Estimate | Texts | Fact, second: Estimate | Texts | Fact) -> bool:
    if isinstance(first, Texts) or isinstance(second, Texts):
        return first == second
    if isinstance(first, AttributeOdds) and isinstance(second, AttributeOdds):
        return all(torch.equal(odds, second.odds[name]) for name, odds in first.odds.items())
    if isinstance(first, IdentityScores) and isinstance(second, IdentityScores):
        return torch.equal(first.likeness, second.likeness)
    return torch.equal(first.images.pixels, second.images.pixels) and torch.equal(
        first.latents, second.latents
    )


class Peeking(Attack):
    """Sabotage: reads the sealed truth by a path smuggled past the view."""

    name = "peeking"
    card = Card(summary="cheats", source="this project")
    secrets_dir: Path
    target = "image"

    def run(self, view: Any, *, rng: Any, budget: Any, progress: Any) -> Claim:
        secrets = Secrets.open(self.secrets_dir)
        records, truth = secrets.truth([view.releases[i] for i in view.targets])
        if self.target == "prompt":
            return Claim({"prompt": Texts(records.prompts)})
        return Claim({"image": Estimate(truth["image"].images, truth["image"].latents)})


@pytest.mark.parametrize(
    ("attack", "defense"),
    [
        *(
            ("inversion", "published"),
            ("closed-form", "published"),
            ("prompt-from-image", "published"),
            ("hint-from-image", "published"),
        ),
        *(("linkage", "published"), ("posterior", "published")),
        *(
            ("prompt-decode", "timestep"),
            ("prompt-nearest", "timestep"),
            ("prompt-optimise", "timestep"),
        ),
        *(("attribute", "published"), ("reidentify", "timestep")),
        ("replay", "none"),
    ],
)
def test_replacing_the_secrets_changes_no_bit_of_the_claim(
    attack, defense, make_job: Callable[..., Job], tmp_path
):
    protocol = "gradient" if attack == "replay" else None
    job = make_job(attack=attack, defense=defense, protocol=protocol)
    path = trained(job, tmp_path)
    before = claim_of(job.attack, job, Capture.open(path))
    replace_secrets(path)
    after = claim_of(job.attack, job, Capture.open(path))
    assert same_claim(before, after)


@pytest.mark.parametrize("target", ["image", "prompt"])
def test_an_attack_that_peeks_is_caught(target, make_job, tmp_path):
    job = make_job()
    path = trained(job, tmp_path)
    attack = Peeking()
    attack.target = target
    attack.secrets_dir = path / SECRETS_DIR
    before = claim_of(attack, job, Capture.open(path))
    replace_secrets(path)
    after = claim_of(attack, job, Capture.open(path))
    assert not same_claim(before, after)


def test_nothing_reachable_from_a_view_leads_to_secrets_victim_or_split(make_job, tmp_path):
    job = make_job(attack="reidentify", defense="published")
    view = view_of(job, Capture.open(trained(job, tmp_path)))
    assert forbidden(view, job) == []
    assert any(isinstance(item, Records) for item in reachable(view)), (
        "the walk must reach the auxiliary records"
    )


def test_a_view_that_leads_to_the_secrets_is_caught(make_job, tmp_path):
    job = make_job()
    capture = Capture.open(trained(job, tmp_path))
    view = view_of(job, capture)
    view.public.codec.__dict__["notes"] = {"deep": [capture.secrets]}
    assert capture.secrets in forbidden(view, job)


def test_targets_depend_on_transcript_and_seed_alone(make_job, tmp_path):
    job = make_job()
    path = trained(job, tmp_path)
    before = choose_targets(Capture.open(path).transcript, job)
    replace_secrets(path)
    assert choose_targets(Capture.open(path).transcript, job) == before
    assert {t.epoch for t in before} == {1}
    other = make_job(seed=1)
    assert choose_targets(Capture.open(path).transcript, other) != before


def test_withheld_channels_are_not_in_the_view(make_job, tmp_path):
    job = make_job(withhold=("timestep",))
    view = view_of(job, Capture.open(trained(job, tmp_path)))
    assert TIMESTEP not in view.channels
    assert UNET_FEATURES in view.channels
    assert TIMESTEP in Capture.open(trained(job, tmp_path)).transcript.channels()
