"""The discrepancy of kernels against values by hand, and what a cell holds."""

from __future__ import annotations

import math

import pytest
import torch

from attacks.learned.parts.discrepancy import SCALES, cells, mmd


def test_two_points_at_one_place_and_two_at_another_by_hand():
    """Squared distances are 0 within and 4 between; their median over all pairs is 4."""
    first, second = torch.zeros(2, 1), torch.full((2, 1), 2.0)
    expected = 2 - 2 * sum(math.exp(-1 / scale) for scale in SCALES) / len(SCALES)
    assert float(mmd(first, second)) == pytest.approx(expected, abs=1e-6)


def test_equal_samples_have_none_and_it_grows_with_the_shift():
    rng = torch.Generator().manual_seed(0)
    sample, other = torch.randn(64, 4, generator=rng), torch.randn(64, 4, generator=rng)
    assert float(mmd(sample, sample)) == pytest.approx(0.0, abs=1e-6)
    near, far, farther = (float(mmd(sample, other + shift)) for shift in (0.0, 0.5, 2.0))
    assert 0 <= near < far < farther


def test_units_do_not_matter():
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(16, 3, generator=rng), torch.randn(16, 3, generator=rng) + 1
    assert float(mmd(first, second)) == pytest.approx(
        float(mmd(100 * first, 100 * second)), rel=1e-4
    )


def test_its_slope_is_finite_where_points_coincide():
    points = torch.zeros(4, 2, requires_grad=True)
    mmd(points, torch.ones(4, 2)).backward()
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())


def test_a_cell_holds_its_channels_and_where_it_is():
    maps = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    found = cells(maps, torch.tensor([0, 7]))
    assert found[:, :3].tolist() == [maps[0, :, 0, 0].tolist(), maps[1, :, 1, 1].tolist()]
    assert found[0, 3:].tolist() == (-found[1, 3:]).tolist()
