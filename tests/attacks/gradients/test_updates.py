"""Updates of several records: which are attacked, what the view holds, how claims are matched."""

from __future__ import annotations

import pytest
import torch

import bench
from bench.cell.targets import choose_targets
from bench.interfaces import CLIENT_UPDATE, GLOBAL_MODEL, Estimate, ImageBatch, Release, ThreatModel
from bench.scoring.matching import match_images


@pytest.fixture(scope="module")
def federated(make_job, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A federated job (2 clients with 4 records each, 2 rounds) and its capture."""
    job = make_job(victim="federated:clients=2", attack="inversion", targets=3)
    return job, bench.train(
        job.new_victim(),
        job.splits.victim,
        tmp_path_factory.mktemp("federated") / "c",
        defense=job.new_defense(),
        protocol="fedavg",
        epochs=2,
        batch_size=3,
        learning_rate=1e-3,
    )


def test_an_update_is_attacked_whole(federated) -> None:  # type: ignore[no-untyped-def]
    job, capture = federated
    assert len(capture.transcript.releases()) == 16
    targets = choose_targets(capture.transcript, job)
    assert len(targets) == 4
    assert len({t.step for t in targets}) == 1
    assert {t.epoch for t in targets} == {1}
    assert all(map(capture.transcript.is_update, targets))


def test_the_truth_behind_updates_is_every_record_once_a_round(federated) -> None:  # type: ignore[no-untyped-def]
    _, capture = federated
    for epoch in (0, 1):
        records, truth = capture.secrets.truth(capture.transcript.releases(epoch))
        assert sorted(i.partition(":")[2] for i in records.ids) == sorted(
            capture.secrets.records.ids
        )
        assert truth["image"].latents is not None


def test_the_view_holds_the_updates_of_its_targets_alone(federated) -> None:  # type: ignore[no-untyped-def]
    job, capture = federated
    public = job.new_victim().public(None, job.splits.auxiliary, protocol="fedavg", device="cpu")
    targets = choose_targets(capture.transcript, job)
    view = ThreatModel().project(capture.transcript, public, targets)
    assert [p.step for p in view.parts(CLIENT_UPDATE)] == [targets[0].step]
    assert [p.step for p in view.parts(GLOBAL_MODEL)] == [targets[0].step]
    whole = ThreatModel().project(capture.transcript, public, targets, history=True)
    assert [p.step for p in whole.parts(CLIENT_UPDATE)] == [0, 1, 2, 3]
    assert view.batch_sizes() == [4, 4, 4, 4]
    assert targets == sorted(Release(1, targets[0].step, row) for row in range(4))


def test_a_shuffled_truth_is_matched_exactly_within_its_group_only() -> None:
    pictures = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    truth = ImageBatch(pictures)
    latents = torch.arange(6.0).reshape(6, 1, 1, 1)
    shuffle = [2, 0, 1, 4, 3, 5]
    found = match_images(
        Estimate(truth.take(shuffle), latents[shuffle]), truth, [[0, 1, 2], [3, 4], [5]]
    )
    torch.testing.assert_close(found.images.pixels, pictures)
    assert found.latents is not None
    assert found.latents.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    across = match_images(Estimate(truth.take([3, 1, 2, 0, 4, 5])), truth, [[0, 1, 2], [3, 4], [5]])
    assert not torch.equal(across.images.pixels, pictures)
