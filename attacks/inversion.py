"""The learned inverse network (He et al., ACSAC 2019), taught on the attacker's own records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.certificate import Certificate
from bench.channels import CLIENT_WEIGHTS, CONTROL_FEATURES, NOISE_TARGET, TIMESTEP, UNET_FEATURES, Channel
from bench.errors import NotApplicableError
from bench.interfaces import Attack, Budget, Claim, Estimate
from bench.plugin import Card, Params
from bench.progress import Progress
from bench.public import Simulator
from bench.threat import View

_MAPS = (CONTROL_FEATURES, UNET_FEATURES, NOISE_TARGET)  # what the network can take: maps of the latent's size


class InversionParams(Params):
    """Attributes:
    inputs: ``granted`` uses every feature map in view, the noise target among them; ``features`` leaves
        the noise target out, as the attacks of the literature do.
    width: channels of the network.
    depth: residual blocks.
    learning_rate: peak of a cosine schedule, AdamW.
    """

    inputs: Literal["granted", "features"] = "granted"
    width: int = Field(default=64, ge=8)
    depth: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)


class Inversion(Attack):
    """Learns latents from smashed data by running the public client half, defence and all, on auxiliary records.

    Timestep-conditioned; one head for z0 and one for z_c, both scored by l1 in latent space (METHODS 3.1).
    """

    name = "inversion"
    Params = InversionParams
    adapts_to = ("timestep", "activation", "prompt")
    default_budget = Budget(iterations=400, batch_size=16)
    # Undefended it reaches 0.86 and 0.98 there; the bars leave room for other data and seeds.
    certificates = (
        Certificate("split-controlnet", "no-gradient", "image", "ssim", 0.7),
        Certificate("split-controlnet", "no-gradient", "condition", "ssim", 0.8),
    )
    card = Card(
        summary="Inverse network from smashed data to image and condition latents, trained on auxiliary records.",
        source="He, Zhang, Lee, ACSAC 2019; adapted to latents and timesteps (this project)",
        needs="control_features or unet_features; public client weights; auxiliary records",
        cost="its training: iterations x batch size releases of the simulated client",
        notes="Where the client trains, its final weights are used if they are in view, else the public initial ones.",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        if not (view.has(CONTROL_FEATURES) or view.has(UNET_FEATURES)):
            raise NotApplicableError("needs control_features or unet_features in view")
        client = view.public.client
        if client is None:
            raise NotApplicableError("the client half cannot be simulated under this threat model")
        if len(view.public.auxiliary) < 2:
            raise NotApplicableError("needs at least 2 auxiliary records to learn from")
        if view.has(CLIENT_WEIGHTS):
            client = client.with_weights(view.parts(CLIENT_WEIGHTS)[-1].tensors)
        wanted = [c for c in _MAPS if view.has(c) and (self.params.inputs == "granted" or c != NOISE_TARGET)]
        knows_time = view.has(TIMESTEP)
        simulator = client.simulator(view.public.auxiliary)
        network, loss = self._fit(simulator, wanted, knows_time, view, rng, budget, progress)
        inputs = _Inputs.of({c: view.read(c) for c in wanted}, view.read(TIMESTEP) if knows_time else None)
        network.eval()
        with torch.no_grad():
            latents = network(inputs.to(view.public.device))
        codec = view.public.codec
        return Claim(
            {name: Estimate(codec.decode(z), z.cpu()) for name, z in zip(("image", "condition"), latents, strict=True)},
            diagnostics={"attack_loss_first": loss[0], "attack_loss_last": loss[-1]},
        )

    def _fit(
        self,
        simulator: Simulator,
        wanted: list[Channel],
        knows_time: bool,
        view: View,
        rng: torch.Generator,
        budget: Budget,
        progress: Progress,
    ) -> tuple[InverseNetwork, list[float]]:
        """The trained network, and its loss averaged over each tenth of the training."""
        count = len(view.public.auxiliary)
        losses: list[float] = []

        def draw() -> tuple[_Inputs, tuple[Tensor, Tensor]]:
            index = torch.randint(0, count, (budget.batch_size,), generator=rng).tolist()
            release = simulator.emit(index, rng)
            sent = {c: release.sent[c] for c in wanted}
            inputs = _Inputs.of(sent, release.sent[TIMESTEP] if knows_time else None)
            return inputs, (release.image_latents, release.condition_latents)

        first, (latents, _) = draw()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
            network = InverseNetwork(first, self.params.width, self.params.depth, tuple(latents.shape[2:]))
        network = network.to(view.public.device).train()
        iterations = max(1, budget.iterations)
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.params.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.params.learning_rate, total_steps=iterations, pct_start=0.1
        )
        with progress.stage("training the attack", iterations) as advance:
            for _ in range(iterations):
                inputs, truth = draw()
                loss = torch.stack(
                    [(guess - z).abs().mean() for guess, z in zip(network(inputs), truth, strict=True)]
                ).sum()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
                advance(1)
        tenth = max(1, len(losses) // 10)
        return network, [sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth]


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What the network sees: maps side by side ``(B, C, h, w)``, and t ``(B,)`` or None."""

    maps: Tensor
    time: Tensor | None

    @classmethod
    def of(cls, sent: Mapping[Channel, Tensor], time: Tensor | None) -> _Inputs:
        return cls(torch.cat([tensor.detach().float() for tensor in sent.values()], 1), time)

    def to(self, device: str) -> _Inputs:
        return _Inputs(self.maps.to(device), None if self.time is None else self.time.to(device))


class InverseNetwork(nn.Module):
    """Residual convolutions at the latent's size, modulated by the timestep; two heads.

    Inputs are whitened by channel with statistics of a first batch, so that channels of any scale serve. Maps of
    another size than the latents' are resized.
    """

    mean: Tensor
    std: Tensor
    frequencies: Tensor

    def __init__(self, example: _Inputs, width: int, depth: int, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        maps = example.maps
        self.register_buffer("mean", maps.mean((0, 2, 3), keepdim=True))
        self.register_buffer("std", maps.std((0, 2, 3), keepdim=True).clamp_min(1e-4))
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, -math.log(10_000), 32)))
        self.enter = nn.Conv2d(maps.shape[1], width, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.heads = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for _ in range(2))

    def forward(self, inputs: _Inputs) -> tuple[Tensor, Tensor]:
        """z0 and z_c, each ``(B, 4, *size)``."""
        x = self.enter((inputs.maps - self.mean) / self.std)
        if tuple(x.shape[2:]) != self.size:
            x = nn.functional.interpolate(x, size=self.size, mode="bilinear")
        time = torch.zeros(len(x), device=x.device) if inputs.time is None else inputs.time.float()
        angle = time.unsqueeze(1) * self.frequencies
        context = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        for block in self.blocks:
            x = block(x, context)
        x = nn.functional.silu(x)
        return self.heads[0](x), self.heads[1](x)


class _Block(nn.Module):
    """Two convolutions with feature-wise scale and shift from the timestep (FiLM, arXiv:1709.07871)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8 if width % 8 == 0 else 1, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(width, 2 * width)
        # Starting as the identity keeps a deep stack trainable at a high learning rate.
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        scale, shift = self.film(context)[:, :, None, None].chunk(2, 1)
        hidden = self.first(nn.functional.silu(self.norm(x) * (1 + scale) + shift))
        return x + self.second(nn.functional.silu(hidden))
