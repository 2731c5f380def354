"""Fixtures shared by all tests: a tiny model, a few records, and jobs on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.cell.job import Job
from bench.interfaces.victim import TrainingPlan
from bench.planning.planner import Planner
from bench.planning.request import Request
from bench.planning.settings import Settings
from bench.types.records import Records
from bench.util.progress import Silent
from tests.support.shared import SharedFiles
from tests.support.tiny_model import make_tiny_model
from tests.support.tiny_sdxl import make_tiny_sdxl

torch.set_num_threads(1)  # tiny tensors lose more to thread hand-over than they gain


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SharedFiles:
    """What one worker of the run makes for all."""
    return SharedFiles.of_run(tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_model(shared: SharedFiles) -> Path:
    """A random Stable Diffusion with latent factor 4."""
    return shared.once("tiny", make_tiny_model)


@pytest.fixture(scope="session")
def other_model(shared: SharedFiles) -> Path:
    """Another of other widths and latent factor 2."""
    return shared.once("other", lambda path: make_tiny_model(path, width=12, blocks=2, seed=1))


@pytest.fixture(scope="session")
def tiny_sdxl(shared: SharedFiles) -> Path:
    """A random Stable Diffusion XL with latent factor 4."""
    return shared.once("sdxl", make_tiny_sdxl)


@pytest.fixture(scope="session", params=["tiny_model", "tiny_sdxl"])
def any_model(request: pytest.FixtureRequest) -> Path:
    """One model of each kind in turn."""
    return Path(request.getfixturevalue(request.param))


def make_records(count: int, size: int = 32, seed: int = 0) -> Records:
    """Random blobs with captions, one identity each."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=rng)
    images = (
        torch.nn.functional.interpolate(coarse, size=size, mode="bilinear").mul(255).to(torch.uint8)
    )
    edges = (
        torch.nn.functional.interpolate(coarse[:, :1], size=size).gt(0.5).mul(255).to(torch.uint8)
    )
    return Records(
        ids=tuple(f"r{seed}-{i}" for i in range(count)),
        images=images,
        conditions=edges.repeat(1, 3, 1, 1),
        prompts=tuple(f"p{i}" for i in range(count)),
        identities=tuple(f"person {seed}-{i}" for i in range(count)),
        attributes=tuple({} for _ in range(count)),
    )


@pytest.fixture(scope="session")
def records() -> Records:
    """Eight records of 32x32."""
    return make_records(8)


@pytest.fixture
def plan() -> TrainingPlan:
    """Two epochs in batches of three, so that the last batch of each is smaller."""
    return TrainingPlan(
        epochs=2, batch_size=3, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32"
    )


SMALL = Request(
    settings=Settings(
        records=8,
        auxiliary=12,
        calibration=8,
        evaluation=8,
        epochs=2,
        batch_size=4,
        learning_rate=1e-3,
        iterations=3,
        attack_batch_size=4,
        targets=6,
        utility_steps=2,
        backbones="embedded",
    )
)


@pytest.fixture(scope="session")
def planner() -> Planner:
    """Plans requests; shares loaded data between tests."""
    return Planner(Silent())


@pytest.fixture(scope="session")
def make_job(planner: Planner, tiny_model: Path) -> Callable[..., Job]:
    """A small job on the tiny model, with some of its request replaced."""

    def make(**changes: object) -> Job:
        changes.setdefault("model", str(tiny_model))
        return planner.plan(SMALL.replace(**changes))

    return make
