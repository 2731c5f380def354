"""Linking releases across epochs, and what a claim of links scores."""

from __future__ import annotations

import math

import pytest
import torch

from attacks.common.release_linking import by_order, hint_energy, link
from bench.cell.runner import Runner
from bench.interfaces import Claim, Links, Silent, generator
from bench.scoring.links import link_scores
from bench.types.targets import LINK
from tests.support.pocket import pocket_runner

N, E = 12, 4
EPOCHS = [epoch for epoch in range(E) for _ in range(N)]


def shuffled(noise: float, dim: int = 32) -> tuple[torch.Tensor, list[int]]:
    """Marks of N records in E epochs, each epoch in its own order, and the record behind each."""
    rng = generator(3, "linking")
    centres = torch.randn(N, dim, generator=rng)
    record = torch.cat([torch.randperm(N, generator=rng) for _ in range(E)])
    return centres[record] + noise * torch.randn(N * E, dim, generator=rng), record.tolist()


def values(labels, record):
    return {
        s.metric: s for s in link_scores(labels, record, EPOCHS, range(N * (E - 1), N * E), seed=0)
    }


def test_near_duplicates_are_linked_and_nothing_else() -> None:
    marks, record = shuffled(0.1)
    found = values(link(marks, EPOCHS), record)
    assert {name: score.mean for name, score in found.items()} == dict.fromkeys(found, 1.0)


def test_a_record_that_leaves_or_joins_is_not_linked_to_another() -> None:
    marks, record = shuffled(0.1)
    epochs = torch.tensor(EPOCHS)
    kept = [
        i
        for i in range(N * E)
        if not (record[i] == 5 and epochs[i] == 2) and not (record[i] == 7 and epochs[i] < 3)
    ]
    labels = link(marks[kept], [EPOCHS[i] for i in kept])
    partition = {(labels[i], record[kept[i]]) for i in range(len(kept))}
    assert len(partition) == len({a for a, _ in partition}) == len({b for _, b in partition}) == N


def test_records_of_one_mark_are_left_alone() -> None:
    labels = link(torch.ones(N * E, 3), EPOCHS)
    assert len(set(labels)) == N * E


def test_a_random_guess_scores_at_the_floor() -> None:
    """By hand: of 36 open pairs a release has 3 true ones; shuffled labels claim 3."""
    _, record = shuffled(0.0)
    found = values(by_order(EPOCHS), record)
    for score in found.values():
        assert score.floor == pytest.approx(3 / 36)
        assert score.ceiling == 1.0
        assert abs(score.mean - score.floor) < 0.15
    everything = values([0] * (N * E), record)["link_recall"]
    assert (everything.mean, everything.floor) == (1.0, 1.0), "claiming every pair is no feat"
    assert math.isnan(everything.normalized) or everything.normalized == 0


def test_silence_scores_nothing() -> None:
    _, record = shuffled(0.0)
    assert all(score.mean == 0 for score in values(list(range(N * E)), record).values())


def test_half_of_the_links_by_hand() -> None:
    """One release linked to a true and a false partner, of three true ones."""
    record = [0, 1, 0, 1, 0, 1, 0, 1]
    epochs = [0, 0, 1, 1, 2, 2, 3, 3]
    precision, recall = link_scores([9, 2, 9, 3, 4, 9, 5, 6], record, epochs, [0], seed=0)[1:]
    assert precision.values.tolist() == [0.5]
    assert recall.values.tolist() == pytest.approx([1 / 3])


def test_the_hint_is_seen_through_a_stem_that_turns_and_grows() -> None:
    """h_ctrl = W_s x_t + g_s V_s phi(c), with other weights in every step."""
    rng = generator(1, "hint")
    shapes = torch.randn(N, 3, 8, 8, generator=rng) * (torch.rand(N, 1, 8, 8, generator=rng) < 0.2)
    features, noisy, record = [], [], []
    for epoch in range(E):
        order = torch.randperm(N, generator=rng)
        x = torch.randn(N, 4, 8, 8, generator=rng)
        stem, last = torch.randn(6, 4, 3, 3, generator=rng), torch.randn(6, 3, generator=rng)
        answer = 0.1 * (epoch + 1) * torch.einsum("ck,nkhw->nchw", last, shapes[order])
        features.append(torch.nn.functional.conv2d(x, stem, padding=1) + answer)
        noisy.append(x)
        record += order.tolist()
    energy = hint_energy(torch.cat(noisy), torch.cat(features), EPOCHS)
    assert values(link(energy, EPOCHS), record)["link_f1"].mean > 0.9


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Cells on the embedded model; the random autoencoder of the tiny one drowns every mark."""
    run_cell = pocket_runner(
        tmp_path_factory.mktemp("pocket"),
        records=12,
        auxiliary=16,
        epochs=2,
        batch_size=6,
        targets=12,
    )
    return run_cell


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "withhold"),
    [
        ("condition", ("noise_target",)),
        ("image", ("control_features",)),
        ("all", ()),
    ],
)
def test_each_mark_links_a_trained_victim(by, withhold, run) -> None:
    row = run(attack=f"linkage:by={by}", defense="published", withhold=withhold).rows[-1]
    assert row["link_f1_normalized"] == 1.0
    assert row["link_f1_floor"] == pytest.approx(1 / 12)


@pytest.mark.slow
def test_prompts_link_where_they_are_sent(run) -> None:
    assert run(attack="linkage:by=prompt").rows[-1]["link_precision"] > 0.9
    assert run(attack="linkage:by=prompt", defense="published").status == "not_applicable"


@pytest.mark.slow
def test_a_cell_of_links_goes_all_the_way(run, make_job, tmp_path, capsys) -> None:
    from bench.reports.result_table import print_result

    result = run(attack="linkage")
    assert [(row["target"], row["status"]) for row in result.rows] == [(LINK, "ok")]
    row = result.rows[-1]
    assert row["link_f1_normalized"] >= 0.95
    assert str(row["certificate"]).startswith("link link_f1")
    assert row["flags"] == ""
    assert {score.metric for score in result.scores} == {"link_f1", "link_precision", "link_recall"}
    job = make_job(attack="linkage:by=order")
    shuffled_order = Runner(tmp_path, Silent()).run(job)
    assert shuffled_order.rows[-1]["link_f1"] < 0.9
    print_result(job, shuffled_order, tmp_path)
    assert "link_recall" in capsys.readouterr().out


@pytest.mark.slow
def test_labels_must_fit_the_view(make_job, tmp_path, monkeypatch) -> None:
    job = make_job(attack="linkage")
    monkeypatch.setattr(type(job.attack), "run", lambda *a, **k: Claim({}, links=Links((1, 2))))
    result = Runner(tmp_path, Silent()).run(job)
    assert result.status == "failed"
    assert "2 link labels for 16 releases" in str(result.rows[0]["reason"])


def test_one_epoch_has_nothing_to_link(make_job, tmp_path) -> None:
    job = make_job(attack="linkage", epochs=1)
    result = Runner(tmp_path, Silent()).run(job)
    assert result.status == "not_applicable"
    assert "one epoch" in str(result.rows[0]["reason"])
