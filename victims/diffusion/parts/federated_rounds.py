"""The rounds of a federated training: the clients' training and the messages."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from bench.wire.transcript import with_channel_prefix
from victims.common.batches import epoch_batches
from victims.common.link import Link
from victims.common.measure import Clock
from victims.diffusion.parts.client import ClientHalf, ClientRandomness
from victims.diffusion.parts.local_training import LocalPlan, LocalRun


@dataclass(frozen=True, eq=False)
class Client:
    """Holds a client's share of the records and its randomness."""

    number: int
    share: list[int]
    rng: ClientRandomness


def clients_with_shares(count: int, clients: int, seed: int) -> list[Client]:
    """Return ``clients`` clients that share ``count`` records evenly."""
    order = torch.randperm(count, generator=generator(seed, "shares")).tolist()
    return [
        Client(k, order[k::clients], ClientRandomness.seeded(seed + 1_000_003 * k))
        for k in range(clients)
    ]


@dataclass(frozen=True, eq=False)
class ClientTurn:
    """Holds the records that one client trains on in one round."""

    client: Client
    index: list[int]


@dataclass(frozen=True)
class RoundMessages:
    """Sets which messages a round sends.

    Attributes:
        records_per_update: how many records a client trains on in one round; 0 is its whole share.
        aggregated: whether only the sum of the clients' updates reaches the server.
        shared_draws: whether the server draws t and eps, and sends them.
    """

    records_per_update: int
    aggregated: bool
    shared_draws: bool


def schedule(
    clients: Sequence[Client], per_update: int, epoch: int, seed: int
) -> list[list[ClientTurn]]:
    """Return the rounds of one pass over all records, each as the turns of its clients."""
    rounds: list[list[ClientTurn]] = []
    for client in clients:
        size = per_update or len(client.share)
        for number, chunk in enumerate(
            epoch_batches(len(client.share), size, epoch, seed + client.number)
        ):
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(ClientTurn(client, [client.share[i] for i in chunk]))
    return rounds


class FederatedRounds:
    """Runs all rounds of a federated training.

    Args:
        half: the frozen parts and the defence of every client.
        whole: the global ControlNet, trained in place.
        records: the private records of all clients.
        plan: how long and with which seed to train.
        local: how a client trains.
        writer: keeps every message.
        clients: the clients.
        messages: which messages a round sends.
    """

    def __init__(
        self,
        half: ClientHalf,
        whole: Any,
        records: Records,
        plan: TrainingPlan,
        local: LocalPlan,
        writer: TranscriptWriter,
        clients: Sequence[Client],
        messages: RoundMessages,
    ) -> None:
        self.half, self.whole, self.records, self.writer = half, whole, records, writer
        self.local, self.messages = local, messages
        self.client_clock, self.server_clock = Clock(plan.device), Clock(plan.device)
        self.losses: list[float] = []
        self.secrets = SecretsWriter()
        self._server_rng = ClientRandomness.single(generator(plan.seed, "server draws"))
        self._rounds = [
            (epoch, turns)
            for epoch in range(plan.epochs)
            for turns in schedule(clients, messages.records_per_update, epoch, plan.seed)
        ]

    @property
    def steps(self) -> int:
        """Return the number of local steps of the whole training."""
        return sum(
            len(self.local.batches(turn.index)) for _, turns in self._rounds for turn in turns
        )

    def run(self, advance: Advance) -> None:
        """Send the global model, train on all clients and average their updates, round by round."""
        step = 0
        for epoch, turns in self._rounds:
            start = {name: p.detach().clone() for name, p in self.whole.named_parameters()}
            total = sum(len(turn.index) for turn in turns)
            for group in self._groups(turns):
                sent = self._train_group(group, start, epoch, step, advance)
                share = sum(len(turn.index) for turn in group) / total
                with self.server_clock.running(), torch.no_grad():
                    for name, parameter in self.whole.named_parameters():
                        parameter += share * sent[f"{CLIENT_UPDATE}/{name}"].to(parameter)
                step += 1

    def _groups(self, turns: list[ClientTurn]) -> Iterator[list[ClientTurn]]:
        """Yield groups of clients whose updates reach the server as one."""
        if self.messages.aggregated:
            yield turns
        else:
            yield from ([turn] for turn in turns)

    def _train_group(
        self,
        group: list[ClientTurn],
        start: Mapping[str, Tensor],
        epoch: int,
        step: int,
        advance: Advance,
    ) -> dict[str, Tensor]:
        """Send the model down and the update up, and return the update that the server reads.

        The update of several clients is their mean, weighted by records: what the server learns
        from secure aggregation (Bonawitz et al., CCS 2017). The masks that hide the summands are
        not simulated.
        """
        index = [i for turn in group for i in turn.index]
        name = "clients" if self.messages.aggregated else f"client-{group[0].client.number}"
        send = partial(Link(self.writer, name).send, epoch=epoch, step=step)
        received = send(
            with_channel_prefix(GLOBAL_MODEL, start.items()), "down", rows=0, records=len(index)
        )
        shared = None
        if self.messages.shared_draws:
            shared = send(self._server_draws(len(index)), "down", rows=len(index))
        mean: dict[str, Tensor] = {}
        first = 0
        for turn in group:
            with self.client_clock.running():
                update = self._local_update(
                    turn, received, shared, Release(epoch, step, first), advance
                )
            weight = len(turn.index) / len(index)
            mean = {n: weight * u if not mean else mean[n] + weight * u for n, u in update.items()}
            first += len(turn.index)
        return send(
            with_channel_prefix(CLIENT_UPDATE, mean.items()), "up", rows=0, records=len(index)
        )

    def _server_draws(self, count: int) -> dict[str, Tensor]:
        """Return t ``(N,)`` and eps ``(N, 4, h, w)`` of ``count`` records, drawn by the defence."""
        model, defense = self.half.model, self.half.defense
        # The server does not know the records, so rows stand in for record ids.
        rows = tuple(f"row {i}" for i in range(count))
        side = self.records.images.shape[-1] // model.factor
        return {
            TIMESTEP: defense.sample_timesteps(rows, model.schedule, self._server_rng.timesteps),
            NOISE_TARGET: defense.sample_noise(
                rows, (count, model.unet.config.in_channels, side, side), self._server_rng.noise
            ),
        }

    def _local_update(
        self,
        turn: ClientTurn,
        received: Mapping[str, Tensor],
        shared: Mapping[str, Tensor] | None,
        first: Release,
        advance: Advance,
    ) -> dict[str, Tensor]:
        """Train on the turn's records from the received weights, and return the protected update.

        Args:
            turn: the client and its records.
            received: the global model as the client reads it.
            shared: t and eps for all rows of the message; the turn's rows begin at ``first.row``.
            first: the release of the turn's first record.
            advance: reports progress.
        """
        network = copy.deepcopy(self.whole)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(received[f"{GLOBAL_MODEL}/{name}"])
        run, rng, row = LocalRun(self.half, network, self.local), turn.client.rng, first.row
        for index in self.local.batches(turn.index):
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
