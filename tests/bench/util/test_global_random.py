"""Global generators while a plugin runs."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from bench.util.global_random import GlobalRandom


def draws() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_draws_follow_from_the_seed_and_the_words() -> None:
    found = []
    for seed, word in ((1, "a"), (1, "a"), (2, "a"), (1, "b")):
        stream = GlobalRandom(seed, word)
        with stream.active():
            found.append((draws(), draws()))
        assert stream.drawn
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]
    assert len({found[0], found[2], found[3]}) == 3


@pytest.mark.parametrize(
    "draw", [lambda: torch.rand(()), np.random.rand, random.random, lambda: torch.manual_seed(0)]
)
def test_each_generator_is_watched_and_put_back(draw) -> None:
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = draws()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    stream = GlobalRandom(1)
    with stream.active():
        draw()
    assert stream.drawn
    assert draws() == expected


def test_code_that_seeds_a_fork_is_not_noticed() -> None:
    stream = GlobalRandom(1)
    with stream.active(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        torch.rand(3)
    assert not stream.drawn


def test_one_stream_goes_on_where_it_stopped() -> None:
    whole, parts = GlobalRandom(1), GlobalRandom(1)
    with whole.active():
        expected = [draws(), draws()]
    found = []
    for _ in range(2):
        with parts.active():
            found.append(draws())
        draws()  # of somebody else's
    assert found == expected


def test_the_state_leads_to_no_seed() -> None:
    with GlobalRandom(1).active():
        assert torch.initial_seed() == 0


def test_settings_of_torch_are_put_back_after_an_error() -> None:
    def careless() -> None:
        with GlobalRandom(1).active():
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(False)
            torch.set_num_threads(torch.get_num_threads() + 1)
            raise ValueError

    threads = torch.get_num_threads()
    with pytest.raises(ValueError):  # noqa: PT011 it has no text
        careless()
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
