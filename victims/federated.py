"""FedAvg over the ControlNet (McMahan et al., arXiv:1602.05629): weights cross the wire, records do not."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.capture import TRANSCRIPT_DIR, Capture, SecretsWriter
from bench.channels import CLIENT_UPDATE, GLOBAL_MODEL, Channel
from bench.errors import RequestError
from bench.interfaces import Defense, ServerAdapter, TrainingPlan, generator
from bench.plugin import Card
from bench.progress import Advance, Progress
from bench.records import Records
from bench.transcript import Direction, Release, TranscriptWriter, named
from victims.client import ClientHalf, ClientRandomness
from victims.control import new_controlnet
from victims.diffusion_victim import (
    PUBLIC_SEED,
    Clock,
    DiffusionVictim,
    Measured,
    ModelParams,
    TrainedParts,
    epoch_batches,
)
from victims.undivided import draw, undivided_loss


class FederatedParams(ModelParams):
    """Attributes:
    clients: how many share the records, evenly.
    """

    clients: int = Field(default=2, ge=1)


@dataclass(frozen=True, eq=False)
class _Client:
    """One participant: its share of the records and its own randomness."""

    number: int
    share: list[int]
    rng: ClientRandomness


class Federated(DiffusionVictim):
    """Every client trains a whole ControlNet for one pass over its records a round; the server averages."""

    name = "federated"
    protocols = ("fedavg",)
    Params = FederatedParams
    card = Card(
        summary="FedAvg over the whole ControlNet; each client's weight delta crosses the wire every round.",
        source="McMahan et al., arXiv:1602.05629, Algorithm 1",
        needs="the same models as split-controlnet",
        cost="bytes: the whole ControlNet, down and up, a client and round",
        notes="Rounds are the training plan's epochs. A defence changes timesteps and noise; its "
        "protect_update() is given each update whole.",
    )

    def stem_name(self, protocol: str) -> str:
        return "hint"

    def channels(self, protocol: str) -> frozenset[Channel]:
        self.check_protocol(protocol)
        return frozenset({CLIENT_UPDATE, GLOBAL_MODEL})

    def train(
        self, records: Records, defense: Defense, plan: TrainingPlan, *, protocol: str, out: Path, progress: Progress
    ) -> Capture:
        model = self.prepare(records, defense, plan, protocol, dtypes=("fp32",))
        whole = new_controlnet(model, PUBLIC_SEED).train()
        writer = TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol)
        half = self.client_half(model, whole, defense, protocol)
        rounds = _Rounds(half, whole, records, plan, writer, self._clients(len(records), plan.seed))
        steps = plan.epochs * sum(-(-len(c.share) // plan.batch_size) for c in rounds.clients)
        with progress.stage("training the victim", steps) as advance:
            for number in range(plan.epochs):
                rounds.run(number, advance)
        measured = Measured(
            releases=plan.epochs * len(records),
            losses=rounds.losses,
            client_seconds=rounds.client_clock.seconds,
            server_seconds=rounds.server_clock.seconds,
            device=plan.device,
        )
        return self.seal(out, records, writer, rounds.secrets, TrainedParts(whole, ServerAdapter()), measured)

    def _clients(self, count: int, seed: int) -> list[_Client]:
        total = self.params.clients
        if count < total:
            raise RequestError(f"victim {self.name!r}: {total} clients but {count} records")
        order = torch.randperm(count, generator=generator(seed, "shares")).tolist()
        return [_Client(k, order[k::total], ClientRandomness.seeded(seed + 1_000_003 * k)) for k in range(total)]


class _Rounds:
    """The server's rounds, with each client's local pass."""

    def __init__(
        self,
        half: ClientHalf,
        whole: Any,
        records: Records,
        plan: TrainingPlan,
        writer: TranscriptWriter,
        clients: list[_Client],
    ) -> None:
        self.half, self.whole, self.records, self.plan, self.writer = half, whole, records, plan, writer
        self.clients = clients
        self.client_clock, self.server_clock = Clock(plan.device), Clock(plan.device)
        self.losses: list[float] = []
        self.secrets = SecretsWriter()

    def run(self, number: int, advance: Advance) -> None:
        """Send the global model out, train everywhere, average what comes back."""
        start = {name: p.detach().clone() for name, p in self.whole.named_parameters()}
        for client in self.clients:
            received = self._send(named(GLOBAL_MODEL, start.items()), number, "down", client)
            with self.client_clock.running():
                update = self._local_update(client, received, number, advance)
            sent = self._send(named(CLIENT_UPDATE, update.items()), number, "up", client)
            with self.server_clock.running(), torch.no_grad():
                weight = len(client.share) / len(self.records)
                for name, parameter in self.whole.named_parameters():
                    parameter += weight * sent[f"{CLIENT_UPDATE}/{name}"].to(parameter)

    def _local_update(
        self, client: _Client, received: Mapping[str, Tensor], number: int, advance: Advance
    ) -> dict[str, Tensor]:
        """One pass over the client's records from the received weights; what changed, protected."""
        local = copy.deepcopy(self.whole)
        with torch.no_grad():
            for name, parameter in local.named_parameters():
                parameter.copy_(received[f"{GLOBAL_MODEL}/{name}"])
        optimizer = torch.optim.AdamW(local.parameters(), lr=self.plan.learning_rate)
        step, rows = self._step(client, number), 0
        for batch in epoch_batches(len(client.share), self.plan.batch_size, number, self.plan.seed + client.number):
            index = [client.share[i] for i in batch]
            draws = draw(self.half, self.records, index, client.rng)
            loss = undivided_loss(self.half, local, draws)
            first, latents = rows, (draws.batch.image_latents, draws.batch.condition_latents)
            rows += len(index)
            self.secrets.add([Release(number, step, row) for row in range(first, rows)], index, *latents)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self.losses.append(float(loss.detach()))
            advance(1)
        context = self.half.context("training", torch.zeros(0, dtype=torch.long), (), client.rng.protection)
        update = {
            name: parameter.detach() - received[f"{GLOBAL_MODEL}/{name}"].to(parameter)
            for name, parameter in local.named_parameters()
        }
        return self.half.defense.protect_update(update, context)

    def _step(self, client: _Client, number: int) -> int:
        """A number of its own for every client's part in every round."""
        return number * len(self.clients) + client.number

    def _send(
        self, tensors: Mapping[str, Tensor], number: int, direction: Direction, client: _Client
    ) -> dict[str, Tensor]:
        ends = ("server", f"client-{client.number}")
        return self.writer.send(
            tensors,
            step=self._step(client, number),
            epoch=number,
            direction=direction,
            sender=ends[direction == "up"],
            receiver=ends[direction == "down"],
            rows=0,
            records=len(client.share),
        )
