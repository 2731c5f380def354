"""The attacker knows everything public, the view hides some of it, and the judge shares none of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench.cell.attacker import Attacker
from bench.cell.attempt import run_attack
from bench.cell.job import Job
from bench.cell.judge import Judge
from bench.cell.targets import choose_targets
from bench.cell.training import train_capture
from bench.interfaces import Capture, Defense, Records, Silent, ThreatModel
from tests.property.test_non_interference import reachable


@pytest.fixture(scope="module")
def job(make_job: Callable[..., Job]) -> Job:
    return make_job(attack="reidentify", defense="published")


@pytest.fixture(scope="module")
def capture(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return train_capture(job, tmp_path_factory.mktemp("capture"), Silent())


def objects(root: object) -> Iterator[object]:
    """Records, defences, networks and tensors of at least a row that can be reached."""
    for item in reachable(root):
        kinds = Records | Defense | torch.nn.Module
        if isinstance(item, kinds) or (isinstance(item, torch.Tensor) and item.numel() > 4):
            yield item


def test_nothing_that_an_attack_receives_is_shared_with_the_judge(
    job: Job, capture: Capture
) -> None:
    attacker = Attacker.from_job(job)
    view = attacker.view(capture.transcript, choose_targets(capture.transcript, job))
    judge = Judge.from_job(job, attacker.gallery)
    handed = {id(item): item for item in objects(view)}
    kept = list(objects(judge))
    assert len(handed) > 20
    assert len(kept) > 20
    assert [type(item) for item in kept if id(item) in handed] == []
    pixels = {item.data_ptr() for item in handed.values() if isinstance(item, torch.Tensor)}
    shared = [t for t in kept if isinstance(t, torch.Tensor) and t.data_ptr() in pixels]
    assert shared == []


def test_the_gallery_reaches_the_attack_without_names(job: Job, capture: Capture) -> None:
    attacker = Attacker.from_job(job)
    assert attacker.gallery is not None
    names = set(attacker.gallery.names)
    view = attacker.view(capture.transcript, choose_targets(capture.transcript, job))
    assert view.public.gallery is not None
    assert torch.equal(view.public.gallery.pixels, attacker.gallery.images.pixels)
    private = {name for name in job.splits.victim.identities if name is not None}
    assert private <= names
    words = [item for item in reachable(view) if isinstance(item, str)]
    assert private & set(words) == set()


@pytest.mark.parametrize("weights_known", [True, False])
def test_the_view_hides_the_weights_and_the_attacker_keeps_them(
    weights_known: bool, make_job: Callable[..., Job], capture: Capture
) -> None:
    job = make_job(attack="closed-form", defense="published")
    threat = ThreatModel(weights_known=weights_known)
    attacker = Attacker(Attacker.from_job(job).public, threat)
    view = attacker.view(capture.transcript, choose_targets(capture.transcript, job))
    assert attacker.public.client is not None
    assert (view.public.client is not None) is weights_known
    assert (view.public.stem is not None) is weights_known


def test_one_capture_serves_every_stage_by_itself(
    make_job: Callable[..., Job], capture: Capture, tmp_path: Path
) -> None:
    job = make_job(attack="closed-form", defense="published", withhold=("noise_target",))
    targets = choose_targets(capture.transcript, job)
    attempt = run_attack(job, capture, targets, Attacker.from_job(job), Silent())
    assert attempt.status == "ok", attempt.reason
    assert "noise_target" not in attempt.granted
    assert attempt.read <= attempt.granted
    assert attempt.groups == []
