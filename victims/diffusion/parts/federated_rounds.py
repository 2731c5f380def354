"""The rounds of a federated training: who trains on which records, and what of it crosses the wire."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    NOISE_TARGET,
    TIMESTEP,
    Advance,
    Records,
    Release,
    SecretsWriter,
    TrainingPlan,
    TranscriptWriter,
    generator,
)
from bench.wire.transcript import Direction, with_channel_prefix
from victims.common.batches import epoch_batches
from victims.common.measure import Clock
from victims.diffusion.parts.client import ClientHalf, ClientRandomness
from victims.diffusion.parts.local_training import LocalPlan, LocalRun


@dataclass(frozen=True, eq=False)
class Client:
    """One participant: its share of the records and its own randomness."""

    number: int
    share: list[int]
    rng: ClientRandomness


def shares(count: int, clients: int, seed: int) -> list[Client]:
    """``clients`` participants that share ``count`` records evenly."""
    order = torch.randperm(count, generator=generator(seed, "shares")).tolist()
    return [
        Client(k, order[k::clients], ClientRandomness.seeded(seed + 1_000_003 * k))
        for k in range(clients)
    ]


@dataclass(frozen=True, eq=False)
class Part:
    """One client's part in one round: the records it trains on."""

    client: Client
    index: list[int]


@dataclass(frozen=True)
class Exchange:
    """How a round goes over the wire.

    Attributes:
        records_per_update: how many records a client trains on in one round; 0 is its whole share.
        aggregated: only the sum of the clients' updates reaches the server.
        shared_draws: the server draws t and eps, and sends them.
    """

    records_per_update: int
    aggregated: bool
    shared_draws: bool


def schedule(clients: Sequence[Client], per_update: int, epoch: int, seed: int) -> list[list[Part]]:
    """The rounds of one pass over all records, each with those who take part in it."""
    rounds: list[list[Part]] = []
    for client in clients:
        size = per_update or len(client.share)
        for number, chunk in enumerate(
            epoch_batches(len(client.share), size, epoch, seed + client.number)
        ):
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(Part(client, [client.share[i] for i in chunk]))
    return rounds


class Rounds:
    """Runs the rounds; ``whole`` is the global model."""

    def __init__(
        self,
        half: ClientHalf,
        whole: Any,
        records: Records,
        plan: TrainingPlan,
        local: LocalPlan,
        writer: TranscriptWriter,
        clients: Sequence[Client],
        exchange: Exchange,
    ) -> None:
        self.half, self.whole, self.records, self.plan, self.writer = (
            half,
            whole,
            records,
            plan,
            writer,
        )
        self.local, self.exchange = local, exchange
        self.client_clock, self.server_clock = Clock(plan.device), Clock(plan.device)
        self.losses: list[float] = []
        self.secrets = SecretsWriter()
        self._server_rng = ClientRandomness.single(generator(plan.seed, "server draws"))
        self._plan = [
            (epoch, parts)
            for epoch in range(plan.epochs)
            for parts in schedule(clients, exchange.records_per_update, epoch, plan.seed)
        ]

    @property
    def steps(self) -> int:
        """Local steps of the whole training."""
        return sum(len(self.local.batches(part.index)) for _, parts in self._plan for part in parts)

    def run(self, advance: Advance) -> None:
        """Send the global model out, train everywhere, average what comes back; until all epochs are over."""
        step = 0
        for epoch, parts in self._plan:
            start = {name: p.detach().clone() for name, p in self.whole.named_parameters()}
            total = sum(len(part.index) for part in parts)
            for group in self._groups(parts):
                sent = self._exchange(group, start, epoch, step, advance)
                share = sum(len(part.index) for part in group) / total
                with self.server_clock.running(), torch.no_grad():
                    for name, parameter in self.whole.named_parameters():
                        parameter += share * sent[f"{CLIENT_UPDATE}/{name}"].to(parameter)
                step += 1

    def _groups(self, parts: list[Part]) -> Iterator[list[Part]]:
        """Those whose updates reach the server as one."""
        if self.exchange.aggregated:
            yield parts
        else:
            yield from ([part] for part in parts)

    def _exchange(
        self,
        group: list[Part],
        start: Mapping[str, Tensor],
        epoch: int,
        step: int,
        advance: Advance,
    ) -> dict[str, Tensor]:
        """Model down, update up; the update as the server reads it.

        Of several clients it is the mean of their updates by records: what the server learns from
        secure aggregation (Bonawitz et al., CCS 2017). The masks that hide the summands are not
        simulated.
        """
        index = [i for part in group for i in part.index]
        name = "clients" if self.exchange.aggregated else f"client-{group[0].client.number}"

        def send(
            tensors: Mapping[str, Tensor], direction: Direction, rows: int = 0
        ) -> dict[str, Tensor]:
            ends = ("server", name)
            return self.writer.send(
                tensors,
                step=step,
                epoch=epoch,
                direction=direction,
                sender=ends[direction == "up"],
                receiver=ends[direction == "down"],
                rows=rows,
                records=0 if rows else len(index),
            )

        received = send(with_channel_prefix(GLOBAL_MODEL, start.items()), "down")
        shared = (
            send(self._server_draws(len(index)), "down", len(index))
            if self.exchange.shared_draws
            else None
        )
        mean: dict[str, Tensor] = {}
        first = 0
        for part in group:
            with self.client_clock.running():
                update = self._local_update(
                    part, received, shared, Release(epoch, step, first), advance
                )
            weight = len(part.index) / len(index)
            mean = {n: weight * u if not mean else mean[n] + weight * u for n, u in update.items()}
            first += len(part.index)
        return send(with_channel_prefix(CLIENT_UPDATE, mean.items()), "up")

    def _server_draws(self, count: int) -> dict[str, Tensor]:
        """t and eps of ``count`` records, as the defence would have the client draw them."""
        model, defense = self.half.model, self.half.defense
        nobody = tuple(
            f"row {i}" for i in range(count)
        )  # the server does not know which records they are for
        side = self.records.images.shape[-1] // model.factor
        return {
            TIMESTEP: defense.sample_timesteps(nobody, model.schedule, self._server_rng.timesteps),
            NOISE_TARGET: defense.sample_noise(
                nobody, (count, model.unet.config.in_channels, side, side), self._server_rng.noise
            ),
        }

    def _local_update(
        self,
        part: Part,
        received: Mapping[str, Tensor],
        shared: Mapping[str, Tensor] | None,
        first: Release,
        advance: Advance,
    ) -> dict[str, Tensor]:
        """One pass over the part's records from the received weights; what changed, protected.

        Args:
            shared: rows for the whole message; this part's begin at ``first``'s.
        """
        network = copy.deepcopy(self.whole)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(received[f"{GLOBAL_MODEL}/{name}"])
        run, rng, row = LocalRun(self.half, network, self.local), part.client.rng, first.row
        for index in self.local.batches(part.index):
            rows = range(row, row + len(index))
            given = (
                None
                if shared is None
                else (shared[TIMESTEP][list(rows)], shared[NOISE_TARGET][list(rows)])
            )
            draws, loss = run.step(self.records, index, rng, given)
            latents = (draws.batch.image_latents, draws.batch.condition_latents)
            self.secrets.add([Release(first.epoch, first.step, r) for r in rows], index, *latents)
            self.losses.append(loss)
            row += len(index)
            advance(1)
        context = self.half.context(
            "training", torch.zeros(0, dtype=torch.long), (), rng.protection
        )
        return self.half.defense.protect_update(run.update(), context)
