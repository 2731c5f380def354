"""Stable Diffusion XL: the attacker's public text encoder, prior and trainer, and other clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from attacks.common.denoising import DiffusionPrior
from attacks.common.wire_algebra import pooled_prompts
from attacks.prompts.prompt_decode import PromptDecode
from attacks.prompts.prompt_optimise import PromptOptimise
from bench.interfaces import (
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    Budget,
    Defense,
    Records,
    Silent,
    TrainingPlan,
    generator,
)
from defenses.dp_sgd import DpSgd
from tests.conftest import make_records
from tests.support.tiny_sdxl import POOLED
from tests.support.views import made_public, made_view
from victims.diffusion.centralised import Centralised
from victims.diffusion.federated import Federated
from victims.diffusion.parts.base import PUBLIC_SEED
from victims.diffusion.parts.controlnet import new_controlnet
from victims.diffusion.parts.public_client import UNetDenoiser
from victims.stable_diffusion.model import StableDiffusion

PROMPTS = ("a cat", "", "far too long for it", "b? (2)")


@pytest.fixture(scope="module")
def model(tiny_sdxl: Path) -> StableDiffusion:
    return StableDiffusion.load(str(tiny_sdxl))


def test_every_prompt_is_decoded_from_the_states(model: StableDiffusion) -> None:
    public = made_public(model, make_records(4))
    prompts = (*PROMPTS, "wow!! a")
    code = model.prompt_code(list(prompts))
    assert code.pooled is not None
    view = made_view(public, {PROMPT_EMBEDDING: code.states, POOLED_PROMPT: code.pooled})
    run: dict[str, Any] = {
        "rng": generator(0),
        "budget": Budget(iterations=0, batch_size=3),
        "progress": Silent(),
    }
    claim = PromptDecode().run(view, **run)
    assert claim.estimates["prompt"].tokens == model.text().tokens(prompts)
    assert claim.diagnostics["decode_explained"] == 1.0
    assert claim.estimates["prompt"].texts[:2] == ("a cat", "")
    noisy = code.states + 1e-3 * torch.randn(code.states.shape, generator=generator(1))
    searched = PromptDecode.build({"beam": 3, "shortlist": 0}).run(
        made_view(public, {PROMPT_EMBEDDING: noisy}), **run
    )
    assert searched.estimates["prompt"].tokens == model.text().tokens(prompts)


def test_prompts_can_be_searched_for_by_gradient(model: StableDiffusion) -> None:
    view = made_view(
        made_public(model, make_records(4)), {PROMPT_EMBEDDING: model.embed(list(PROMPTS))}
    )
    claim = PromptOptimise().run(
        view, rng=generator(0), budget=Budget(iterations=40, batch_size=4), progress=Silent()
    )
    assert claim.diagnostics["attack_loss_last"] < 0.8 * claim.diagnostics["attack_loss_first"]


def test_the_denoiser_takes_states_and_pooled_prompts(model: StableDiffusion) -> None:
    code = model.prompt_code(["a", "b", "c"])
    assert code.pooled is not None
    noisy, t = torch.randn(3, 4, 16, 16, generator=generator(0)), torch.tensor([1, 500, 999])
    view = made_view(
        made_public(model, make_records(4)),
        {PROMPT_EMBEDDING: code.states, POOLED_PROMPT: code.pooled},
    )
    prior = DiffusionPrior(UNetDenoiser(model), model.schedule, code.states, pooled_prompts(view))
    ids = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]])

    def expected(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        added = {"text_embeds": pooled, "time_ids": ids.expand(len(states), -1)}
        with torch.no_grad():
            return model.unet(
                noisy[: len(states)], t[: len(states)], states, added_cond_kwargs=added
            ).sample

    torch.testing.assert_close(prior.predict(noisy, t), expected(code.states, code.pooled))
    rows = torch.tensor([0, 1])
    torch.testing.assert_close(
        prior.for_rows(rows).predict(noisy[:2], t[:2]), expected(code.states[:2], code.pooled[:2])
    )
    blind = DiffusionPrior(UNetDenoiser(model), model.schedule)
    torch.testing.assert_close(blind.predict(noisy, t), expected(0 * code.states, 0 * code.pooled))
    same = made_view(
        made_public(model, make_records(4)), {PROMPT_EMBEDDING: code.states[:1].expand(3, -1, -1)}
    )
    assert pooled_prompts(same) is None


@pytest.mark.parametrize(
    ("kind", "protocol", "defense"),
    [
        (Centralised, "none", Defense()),
        (Centralised, "none", DpSgd()),
        (Federated, "fedavg", Defense()),
        (Federated, "secure-aggregation", Defense()),
    ],
    ids=lambda v: v if isinstance(v, str) else getattr(v, "__name__", type(v).__name__),
)
def test_clients_that_train_the_whole_network_work(
    tiny_sdxl: Path,
    records: Records,
    plan: TrainingPlan,
    tmp_path: Path,
    kind: type[Centralised] | type[Federated],
    protocol: str,
    defense: Defense,
) -> None:
    victim = kind.build({"model": str(tiny_sdxl)})
    capture = victim.train(
        records, defense, plan, protocol=protocol, out=tmp_path, progress=Silent()
    )
    assert all(0 < loss < 10 for loss in capture.costs.losses)
    whole = victim.load_trained(
        capture.model_dir, Defense(), protocol, "cpu"
    ).controlnet.state_dict()
    start = new_controlnet(victim.load("cpu"), PUBLIC_SEED).state_dict()
    assert (
        max(float((whole[n] - start[n]).abs().max()) for n in whole if "add_embedding" in n) > 1e-4
    )


def test_a_federated_clients_gradient_can_be_rebuilt(
    tiny_sdxl: Path, records: Records, plan: TrainingPlan
) -> None:
    """With the pooled prompt among what it is computed on, also under vmap as attacks run it."""
    victim = Federated.build({"model": str(tiny_sdxl), "optimizer": "sgd", "records_per_update": 1})
    trainer = victim.public(None, records, protocol="fedavg", device="cpu").trainer
    assert trainer is not None
    weights = dict(new_controlnet(victim.load("cpu"), PUBLIC_SEED).named_parameters())
    unknowns = trainer.unknowns()
    assert unknowns["pooled_text"].shape == (POOLED,)
    assert unknowns["pooled_text"].channel == POOLED_PROMPT
    rng = generator(0)
    inputs = {n: torch.rand(2, 1, *u.shape, generator=rng) for n, u in unknowns.items()}
    inputs["timestep"] = torch.tensor([[5], [700]])
    both = torch.func.vmap(trainer.gradient, in_dims=(None, 0))(weights, inputs)
    alone = trainer.gradient(weights, {n: t[1] for n, t in inputs.items()})
    name = "controlnet_mid_block.weight"
    assert float(alone[name].detach().abs().max()) > 0
    torch.testing.assert_close(both[name][1], alone[name], rtol=1e-3, atol=1e-6)
    inputs["pooled_text"] = inputs["pooled_text"] + 1.0
    other = trainer.gradient(weights, {n: t[1] for n, t in inputs.items()})
    assert not torch.allclose(other[name], alone[name], rtol=1e-3)
