"""Prompts from the row space of an update: what the span holds, and what is read off it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import bench
from attacks.prompts.parts.text_span import read_prompts, text_span
from attacks.prompts.prompt_span import PromptSpan
from bench.interfaces import (
    CLIENT_UPDATE,
    Budget,
    NotApplicableError,
    Release,
    Silent,
    ThreatModel,
)

NAMES = ("down.attn2.to_k.weight", "mid.attn2.to_v.weight")
BUDGET = Budget(0, 1)


@pytest.fixture(scope="module")
def federated(make_job, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A job with one record an update, trained for two epochs of four rounds, and its capture."""
    job = make_job(
        victim="federated:clients=2,records_per_update=1,optimizer=sgd,learning_rate=1.0",
        attack="prompt-span",
    )
    victim = job.new_victim()
    capture = bench.train(
        victim,
        job.splits.victim,
        tmp_path_factory.mktemp("federated") / "c",
        defense=job.new_defense(),
        protocol="fedavg",
        epochs=2,
        batch_size=1,
        learning_rate=1e-3,
    )
    return job, capture, victim.public(None, job.splits.auxiliary, protocol="fedavg", device="cpu")


def attack(federated, targets: list[Release]):  # type: ignore[no-untyped-def]
    _, capture, public = federated
    view = ThreatModel().project(capture.transcript, public, targets)
    return PromptSpan().run(view, rng=torch.Generator(), budget=BUDGET, progress=Silent())


def test_the_span_holds_the_true_states_and_no_random_ones(federated) -> None:  # type: ignore[no-untyped-def]
    _, capture, public = federated
    target = capture.transcript.releases(1)[0]
    update = next(
        p.tensors for p in capture.transcript.parts(CLIENT_UPDATE) if p.step == target.step
    )
    span = text_span(update, 16, finest=1e-7, coarsest=1e-5)
    prompts, _ = capture.secrets.truth([target])
    true = public.text.states(public.text.encode(prompts.prompts))[0]
    assert span.rank <= public.text.length
    length = len(public.text.tokens(prompts.prompts)[0]) + 2
    assert float(span.residual(true[:length]).max()) < 1e-3
    random = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    assert float(span.residual(random).min()) > 0.2


def test_prompts_are_read_exactly_once_the_zero_convolutions_have_moved(federated) -> None:  # type: ignore[no-untyped-def]
    _, capture, public = federated
    targets = capture.transcript.releases(1)[:4]
    prompts, _ = capture.secrets.truth(targets)
    wording = attack(federated, targets).estimates["prompt"]
    assert wording.tokens == public.text.tokens(prompts.prompts)
    assert all(
        full.startswith(text) for full, text in zip(prompts.prompts, wording.texts, strict=True)
    )


def test_nothing_can_be_read_off_the_first_round(federated) -> None:  # type: ignore[no-untyped-def]
    _, capture, _ = federated
    first = capture.transcript.releases(0)[:2]
    with pytest.raises(NotApplicableError, match="zero convolutions"):
        attack(federated, first)


def test_an_unreadable_update_is_claimed_empty_beside_readable_ones(federated) -> None:  # type: ignore[no-untyped-def]
    _, capture, _ = federated
    first, later = capture.transcript.releases(0)[0], capture.transcript.releases(0)[-1]
    claim = attack(federated, [first, later])
    assert claim.estimates["prompt"].tokens[0] == ()
    assert claim.estimates["prompt"].tokens[1] != ()
    assert claim.diagnostics["span_unreadable"] == 1


def test_adamw_updates_and_unknown_local_training_are_refused(make_job) -> None:  # type: ignore[no-untyped-def]
    from types import SimpleNamespace

    for params, reason in (
        ("records_per_update=1,learning_rate=0.001", "adamw"),
        ("clients=2", "not public"),
    ):
        job = make_job(victim=f"federated:{params}", attack="prompt-span")
        public = job.new_victim().public(
            None, job.splits.auxiliary, protocol="fedavg", device="cpu"
        )
        with pytest.raises(NotApplicableError, match=reason):
            PromptSpan().run(
                SimpleNamespace(public=public),
                rng=torch.Generator(),
                budget=BUDGET,
                progress=Silent(),
            )


def made(states: Tensor) -> dict[str, Tensor]:
    """Gradients of key and value projections with random deltas of ``states`` ``(T, D)``."""
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(24, len(states), generator=rng) @ states for name in NAMES}


def test_the_rank_is_the_number_of_independent_states_and_a_full_one_is_refused() -> None:
    states = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    assert text_span(made(states[:12]), 32, finest=1e-7, coarsest=1e-5).rank == 12
    assert (
        text_span(made(torch.cat([states[:12], states[:12]])), 32, finest=1e-7, coarsest=1e-5).rank
        == 12
    )
    with pytest.raises(NotApplicableError, match="32 of 32"):
        text_span(made(states), 32, finest=1e-7, coarsest=1e-5)


def test_an_update_without_cross_attention_is_refused() -> None:
    with pytest.raises(NotApplicableError, match="no cross-attention"):
        text_span({"conv.weight": torch.ones(3, 3)}, 16, finest=1e-7, coarsest=1e-5)


def test_two_prompts_of_one_update_are_both_read(federated) -> None:  # type: ignore[no-untyped-def]
    """From artificial gradients of the states without padding, which would fill the space."""
    text = federated[2].text
    ids = text.encode(["p3", "a7"])
    states = text.states(ids)[:, : len(text.tokens(["p3"])[0]) + 2].flatten(0, 1)
    found = read_prompts(text, text_span(made(states), 16, finest=1e-7, coarsest=1e-5), 2, 4)
    assert {reading.tokens for reading in found} == set(text.tokens(["p3", "a7"]))
    assert max(reading.residual for reading in found) < 1e-4
