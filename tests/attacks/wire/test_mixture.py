"""Batches of weighted means of two records are taken apart, on known answers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from attacks.wire.parts.mixture import Mixture, from_moments, unmix
from bench.interfaces import TIMESTEP, generator


@dataclass(frozen=True, eq=False)
class Mixed:
    """Made-up releases with the truth behind them."""

    rows: Tensor
    own: Tensor
    labels: Tensor
    shifts: list[int]
    shares: Tensor
    steps: list[list[int]]
    epochs: list[int]


def mixed(
    epochs: int, *, count: int = 12, batch: int = 4, size: int = 512, draws: float = 0.0
) -> Mixed:
    """As the defence mixes: own share at least a half, one shift a step, records in a new order
    each epoch.
    """
    rng = generator(1, "mixed")
    records = (
        torch.randn(count, size, generator=rng).double()
        * (0.3 * torch.randn(count, 1, generator=rng)).exp()
    )
    rows, own, labels, shifts, shares = [], [], [], [], []
    for _ in range(epochs):
        for index in torch.randperm(count, generator=rng).split(batch):
            drawn = records[index] + draws * torch.randn(len(index), size, generator=rng)
            shift, share = (
                int(torch.randint(1, batch, (1,), generator=rng)),
                torch.rand(len(index), generator=rng),
            )
            mixture = Mixture(shift, torch.maximum(share, 1 - share).double())
            rows.append(mixture.matrix() @ drawn)
            own.append(drawn)
            labels.append(index)
            shifts.append(shift)
            shares.append(mixture.own)
    steps = [list(range(i, i + batch)) for i in range(0, count * epochs, batch)]
    of_epoch = [i // count for i in range(count * epochs)]
    return Mixed(
        torch.cat(rows),
        torch.cat(own),
        torch.cat(labels),
        shifts,
        torch.cat(shares),
        steps,
        of_epoch,
    )


def error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().sum() / truth.square().sum())


def test_a_mixture_is_the_defences_own_sum():
    latents = torch.randn(3, 5, generator=generator(0)).double()
    own = torch.tensor([0.5, 0.8, 1.0], dtype=torch.float64)
    wanted = own.unsqueeze(1) * latents + (1 - own).unsqueeze(1) * latents.roll(2, 0)
    torch.testing.assert_close(Mixture(2, own).matrix() @ latents, wanted)


def test_one_epoch_shows_pairs_exactly_and_shares_nearly():
    made = mixed(1, size=2048)
    found = unmix([made.rows], made.steps, made.epochs)
    assert [mixture.shift for mixture in found.mixtures] == made.shifts
    assert float((torch.cat([m.own for m in found.mixtures]) - made.shares).abs().mean()) < 0.05
    assert error(found.records(made.rows), made.own) < 0.25 * error(made.rows, made.own)


def test_two_epochs_show_records_exactly():
    made = mixed(2)
    found = unmix([made.rows], made.steps, made.epochs)
    assert [mixture.shift for mixture in found.mixtures] == made.shifts
    assert torch.equal(
        found.labels.unsqueeze(0) == found.labels.unsqueeze(1),
        made.labels == made.labels.unsqueeze(1),
    )
    assert float((torch.cat([m.own for m in found.mixtures]) - made.shares).abs().max()) < 1e-6
    assert error(found.records(made.rows, 1e-9), made.own) < 1e-6 < 0.1 < error(made.rows, made.own)
    assert found.left < 1e-9


def test_draws_of_every_epoch_leave_no_more_than_themselves():
    made = mixed(3, draws=0.1)
    found = unmix([made.rows], made.steps, made.epochs)
    assert error(found.records(made.rows), made.own) < 0.03


def test_a_record_alone_in_its_step_is_itself():
    assert from_moments([torch.ones(1, 3, dtype=torch.float64)]).matrix().tolist() == [[1.0]]


def test_unmixed_rows_stay_what_they_are():
    rows = torch.randn(8, 1024, generator=generator(2)).double()
    found = unmix([rows], [[0, 1, 2, 3], [4, 5, 6, 7]], [0] * 8)
    assert error(found.records(rows), rows) < 0.01


@pytest.mark.slow
def test_the_attack_takes_mixup_apart_on_the_wire(make_job, tmp_path):
    """The pocket model, whose latents are unlike each other as pictures' are."""
    from tests.attacks.wire.test_closed_form import attack_scores

    request = {
        "defense": "mixup",
        "model": "pocket",
        "records": 16,
        "auxiliary": 48,
        "calibration": 8,
        "evaluation": 8,
        "epochs": 2,
        "batch_size": 8,
    }
    plain = attack_scores(make_job(attack="closed-form", **request), tmp_path)
    apart = attack_scores(make_job(attack="unmix", **request), tmp_path)
    for target in ("image", "condition"):
        assert plain[target]["latent_nmse"].mean > 0.05
        assert apart[target]["latent_nmse"].mean < 0.01


def test_without_a_timestep_nothing_is_told_exactly(make_job, tmp_path):
    from bench.interfaces import NotApplicableError
    from tests.attacks.wire.test_closed_form import attack_scores

    with pytest.raises(NotApplicableError, match="without timestep and noise target"):
        attack_scores(make_job(attack="unmix", defense="mixup", withhold=(TIMESTEP,)), tmp_path)
