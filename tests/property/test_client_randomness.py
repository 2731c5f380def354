"""Nothing that an attack is handed leads to what the clients drew."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attacks.common.wire_algebra import noisy_latents
from bench.cell.attacker import Attacker
from bench.cell.attempt import run_attack
from bench.cell.job import Job
from bench.cell.targets import choose_targets
from bench.cell.training import client_seed, train_capture
from bench.interfaces import (
    NOISE_TARGET,
    TIMESTEP,
    Attack,
    Capture,
    Card,
    Claim,
    Estimate,
    Silent,
    View,
    generator,
)
from bench.util.rng import derived_seed
from victims.diffusion.parts.client import ClientRandomness, client_secret

TRIED = range(500)


@pytest.fixture(scope="module")
def attacked(
    make_job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Job, Capture]:
    """A victim under ``timestep``, trained as the runner trains it, and attacked without the noise
    target.
    """
    job = make_job(
        attack="closed-form", defense="timestep:t_min=5", withhold=("noise_target",), seed=3
    )
    return job, train_capture(job, tmp_path_factory.mktemp("capture"), Silent())


class SeedSearch(Attack):
    """Sabotage: tries seeds, draws timesteps and noise as the client would, and computes the image
    from the noise.
    """

    name = "seed-search"
    card = Card(summary="cheats", source="this project")
    uses_history = True

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()
        self._seeds = seeds
        self.found: int | None = None

    def run(self, view: View, *, rng: torch.Generator, budget: Any, progress: Any) -> Claim:
        timesteps = view.read(TIMESTEP, every=True)
        noisy = noisy_latents(view, every=True).inputs
        noise = torch.zeros_like(noisy)
        for seed in (rng.initial_seed(), *self._seeds):
            for start in starts(seed):
                drawn, redrawn = client_draws(start, view, noisy.shape[1:])
                if torch.equal(drawn, timesteps):
                    self.found, noise = start, redrawn
        schedule = view.public.schedule
        clean = (noisy - schedule.noise(timesteps) * noise) / schedule.signal(timesteps)
        return decoded(view, clean[list(view.targets)])


def decoded(view: View, latents: Tensor) -> Claim:
    return Claim({"image": Estimate(view.public.codec.decode(latents), latents)})


def starts(seed: int) -> list[int]:
    """Numbers that an attacker who knows the code could hope the clients' draws follow from."""
    return [
        seed,
        *(derived_seed(seed, *words) for words in (("client",), ("client", "secret"), ())),
    ]


def client_draws(seed: int, view: View, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Timesteps and noise of every release in view, by a client of ``seed`` under
    ``timestep:t_min=5``.
    """
    rng = ClientRandomness.seeded(seed)
    steps = [list(group) for _, group in groupby(view.releases, key=lambda r: r.step)]
    timesteps = [torch.randint(5, 1000, (len(step),), generator=rng.timesteps) for step in steps]
    noise = [torch.randn((len(step), *shape), generator=rng.noise) for step in steps]
    return torch.cat(timesteps), torch.cat(noise)


def search(job: Job, capture: Capture, seeds: Sequence[int]) -> tuple[int | None, float]:
    """The seed that the sabotage finds, and how far its image latents are from the truth, in shares
    of their power.
    """
    attack = SeedSearch(seeds)
    targets = choose_targets(capture.transcript, job)
    job = dataclasses.replace(job, attack=attack)
    attempt = run_attack(job, capture, targets, Attacker.from_job(job), Silent())
    assert attempt.status == "ok", attempt.reason
    assert attempt.claim is not None
    claimed, (_, truth) = attempt.claim.estimates["image"], capture.secrets.truth(targets)
    assert isinstance(claimed, Estimate)
    assert claimed.latents is not None
    true = truth["image"].latents
    assert true is not None
    return attack.found, float((claimed.latents - true).square().sum() / true.square().sum())


def test_trying_seeds_does_not_find_what_the_client_drew(attacked: tuple[Job, Capture]) -> None:
    found, error = search(*attacked, TRIED)
    assert found is None
    assert error > 0.5


def test_the_sabotage_computes_the_image_where_a_seed_is_within_its_reach(
    attacked: tuple[Job, Capture],
) -> None:
    """With the number that the runner hands to the victim among those tried, the search finds it
    and the image.
    """
    job, capture = attacked
    secret = client_seed(job.splits.victim, job.cell.capture.seed)
    found, error = search(job, capture, [secret])
    assert found == secret
    assert error < 1e-6


def test_the_draws_follow_from_the_private_records_and_the_seed(
    attacked: tuple[Job, Capture],
) -> None:
    job, _ = attacked
    private, seed = job.splits.victim, job.cell.capture.seed
    drawn = client_seed(private, seed)
    assert drawn == client_seed(private.select(range(len(private))), seed)
    assert drawn.bit_length() > 200
    assert drawn != client_seed(private, seed + 1)
    touched = private.select(range(len(private)))
    touched.images[0, 0, 0, 0] ^= 1
    assert drawn != client_seed(touched, seed)
    assert drawn != client_seed(job.splits.auxiliary, seed)


def test_the_same_job_gives_the_same_transcript(
    attacked: tuple[Job, Capture], tmp_path: Path
) -> None:
    job, capture = attacked
    again = train_capture(job, tmp_path, Silent())
    releases = capture.transcript.releases()
    for channel in (TIMESTEP, NOISE_TARGET):
        assert torch.equal(
            capture.transcript.rows(channel, releases), again.transcript.rows(channel, releases)
        )


def test_a_generator_shows_no_seed_and_has_a_state_of_its_own() -> None:
    rng = generator(7, "attack", "closed-form")
    assert rng.initial_seed() == generator(8, "client").initial_seed() == 0
    assert not torch.equal(
        torch.randn(4, generator=rng), torch.randn(4, generator=generator(7, "attack", "other"))
    )
    # The low 32 bits, which are all that torch keeps of a seed, do not decide.
    one, other = (generator(seed, "x") for seed in (5, 5 + 2**32))
    assert not torch.equal(torch.randn(4, generator=one), torch.randn(4, generator=other))
    assert client_secret(0).bit_length() > 200


def test_a_generator_is_the_mersenne_twister_that_numpy_has() -> None:
    rng = generator(11, "words")
    words = np.frombuffer(rng.get_state().numpy()[24 : 24 + 8 * 624].tobytes(), dtype="<u8").astype(
        np.uint32
    )
    reference = np.random.RandomState()
    reference.set_state(("MT19937", words, 624))
    drawn = torch.empty(1500, dtype=torch.int64).random_(0, 1000, generator=rng)
    assert drawn.tolist() == (reference.randint(0, 2**32, 1500, dtype=np.uint32) % 1000).tolist()


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        generator(-1, "x")
