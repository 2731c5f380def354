"""Sample pictures from a trained control network, with the client's defence in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import (
    CONTROL_FEATURES,
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    ImageBatch,
    Progress,
    Records,
    ServerAdapter,
    generator,
)
from victims.diffusion.parts.client import ClientHalf
from victims.diffusion.parts.controlnet import headless_unet, predict
from victims.stable_diffusion.prompt_code import PromptCode


@dataclass(frozen=True, eq=False)
class TrainedControl:
    """Holds a trained pair of halves.

    Attributes:
        client: the client's half with its trained stem and the defence.
        controlnet: the server's part of the ControlNet.
        adapter: the defence's counterpart on the server.
    """

    client: ClientHalf
    controlnet: Any
    adapter: ServerAdapter


@dataclass(frozen=True)
class SamplingPlan:
    """Sets how pictures are sampled.

    Attributes:
        steps: DDIM steps (Song et al., arXiv:2010.02502).
        guidance: scale of classifier-free guidance (arXiv:2207.12598); 1 is none.
        seed: seed of the sampling noise.
        batch_size: how many pictures are sampled together.
    """

    steps: int
    guidance: float
    seed: int
    batch_size: int = 64


@torch.no_grad()
def sample(
    trained: TrainedControl,
    records: Records,
    plan: SamplingPlan,
    progress: Progress,
    *,
    scale: float = 1.0,
) -> ImageBatch:
    """Return one picture for each record, from its condition and prompt.

    As in the published code, the frozen UNet gets the real prompt, and the control network gets
    what the defence releases.

    Args:
        trained: the trained halves.
        records: the records whose conditions and prompts are used.
        plan: how to sample.
        progress: reports progress.
        scale: weight of the control residuals; 0 is the model without ControlNet.
    """
    pictures = []
    with progress.stage(
        "sampling for utility", -(-len(records) // plan.batch_size) * plan.steps
    ) as advance:
        for start in range(0, len(records), plan.batch_size):
            index = list(range(start, min(start + plan.batch_size, len(records))))
            rng = generator(plan.seed, "sampling", str(start))
            pictures.append(_sample_batch(trained, records, index, plan, rng, advance, scale))
    return ImageBatch.cat(pictures)


def _control_from(client: ClientHalf) -> int:
    """Return the smallest t at which the control network is applied."""
    schedule = client.model.schedule
    return client.defense.control_from(schedule, client.defense.first_timestep(schedule))


def _sample_batch(
    trained: TrainedControl,
    records: Records,
    index: list[int],
    plan: SamplingPlan,
    rng: torch.Generator,
    advance: Any,
    scale: float,
) -> ImageBatch:
    client = trained.client
    model = client.model
    unet = headless_unet(model)
    scheduler = type(model.scheduler).from_config(model.scheduler.config)
    scheduler.set_timesteps(plan.steps)
    hints = ImageBatch.from_uint8(records.conditions[index])
    hint = hints.pixels.to(model.device)
    size = hint.shape[-2], hint.shape[-1]
    hint_latents = model.encode(hints)
    ids = [records.ids[i] for i in index]
    code = model.prompt_code([records.prompts[i] for i in index])
    if plan.guidance > 1.0:
        code = PromptCode.cat([code, model.no_prompt().expand(len(index))])
    latents = torch.randn(hint_latents.shape, generator=rng).to(model.device)
    first = _control_from(client)
    for step in scheduler.timesteps:
        t = torch.full((len(index),), int(step), device=model.device)
        context = client.context("inference", t, ids, rng)
        features = client.stem(client.defense.control_input(latents, context), hint, hint_latents)
        control = client.defense.protect(CONTROL_FEATURES, features, context).float()
        control_code = PromptCode(
            client.defense.protect(PROMPT_EMBEDDING, code.states, context).float(),
            None
            if code.pooled is None
            else client.defense.protect(POOLED_PROMPT, code.pooled, context).float(),
        )
        output = _guided_output(
            trained,
            unet,
            model.unet.conv_in(latents),
            control,
            t,
            code.arguments(*size),
            control_code.adapted(trained.adapter).arguments(*size),
            plan.guidance,
            scale if int(step) >= first else 0.0,
        )
        latents = scheduler.step(output, step, latents, return_dict=False)[0]
        advance(1)
    return model.decode(latents)


def _guided_output(
    trained: TrainedControl,
    unet: Any,
    stem: Tensor,
    control: Tensor,
    t: Tensor,
    prompt: Mapping[str, Any],
    control_prompt: Mapping[str, Any],
    guidance: float,
    scale: float,
) -> Tensor:
    """Return the network's output after classifier-free guidance, ``(B, 4, h, w)``.

    Args:
        trained: the trained halves.
        unet: the frozen UNet behind its ``conv_in``.
        stem: the output of the UNet's ``conv_in``.
        control: the control features that the client releases.
        t: the timestep of each record.
        prompt: the UNet's prompt arguments; with guidance, the records' prompts followed by as many
            empty ones.
        control_prompt: the control network's prompt arguments, in equal order.
        guidance: the guidance scale.
        scale: weight of the control residuals.
    """
    copies = 2 if guidance > 1.0 else 1
    control = trained.adapter(CONTROL_FEATURES, control).repeat(copies, 1, 1, 1)
    stem, t = stem.repeat(copies, 1, 1, 1), t.repeat(copies)
    output = predict(unet, trained.controlnet, stem, control, t, prompt, control_prompt, scale)
    if copies == 1:
        return output
    conditional, free = output.chunk(2)
    return free + guidance * (conditional - free)
