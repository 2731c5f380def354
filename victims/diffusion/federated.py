"""FedAvg over the ControlNet (McMahan et al., arXiv:1602.05629).

Weights cross the wire; records and features do not.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    NOISE_TARGET,
    TIMESTEP,
    Capture,
    Card,
    Channel,
    Defense,
    LocalTraining,
    Progress,
    Public,
    Records,
    RequestError,
    ServerAdapter,
    TrainingPlan,
    TranscriptWriter,
)
from bench.wire.capture import MODEL_DIR, TRANSCRIPT_DIR
from victims.common.capture_files import TrainingMeasurements, seal_capture
from victims.common.checks import check_protocol
from victims.diffusion.parts.base import PUBLIC_SEED, DiffusionVictim, ModelParams, TrainedParts
from victims.diffusion.parts.controlnet import new_controlnet
from victims.diffusion.parts.federated_rounds import (
    FederatedRounds,
    RoundMessages,
    clients_with_shares,
)
from victims.diffusion.parts.local_training import LocalPlan
from victims.diffusion.parts.public_trainer import ControlNetTrainer

SGD_RATE = 0.1


class FederatedParams(ModelParams):
    """Sets the clients, their local training and the messages.

    Attributes:
        clients: how many clients share the records evenly.
        records_per_update: how many records a client trains on in one round; 0 is its whole share.
            An epoch is one pass over all records, in as many rounds as needed. An update is one
            local step on these records, or, for the whole share, steps of the plan's batch size.
        optimizer: optimizer of the local steps. ``sgd`` has no momentum, so that the update of one
            step is -lr times its gradient.
        learning_rate: learning rate of the local steps. None is the plan's learning rate for
            ``adamw``, and 0.1 for ``sgd``, which needs another one.
        shared_draws: whether the server draws t and eps and sends them, like a server that fixes
            the randomness of the training.
    """

    clients: int = Field(default=2, ge=1)
    records_per_update: int = Field(default=0, ge=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float | None = Field(default=None, gt=0)
    shared_draws: bool = False


class Federated(DiffusionVictim):
    """Trains a whole ControlNet in rounds on clients; the server averages their updates."""

    name = "federated"
    protocols = ("fedavg", "secure-aggregation")
    Params = FederatedParams
    params: FederatedParams
    card = Card(
        summary="FedAvg over the whole ControlNet; every round, the clients' weight deltas or only "
        "their sum cross the wire.",
        source="McMahan et al., arXiv:1602.05629, Algorithm 1; sum: Bonawitz et al., CCS 2017",
        needs="a model that split-controlnet takes",
        cost="bytes: the whole ControlNet, down and up, for each client and round",
        notes="A round is one pass over a client's share, or over records_per_update of its "
        "records. A defence changes timesteps, noise and local gradients; its protect_update() "
        "gets each client's whole update. In protocol secure-aggregation the transcript holds only "
        "the clients' mean update; the masks are not simulated.",
    )

    def stem_name(self, protocol: str) -> str:
        return "hint"

    def channels(self, protocol: str) -> frozenset[Channel]:
        check_protocol(self, protocol)
        drawn = {TIMESTEP, NOISE_TARGET} if self.params.shared_draws else set()
        return frozenset({CLIENT_UPDATE, GLOBAL_MODEL} | drawn)

    @property
    def _rate(self) -> float | None:
        """Return the local learning rate, or None where only the training plan has it."""
        return self.params.learning_rate or (SGD_RATE if self.params.optimizer == "sgd" else None)

    def public(
        self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str
    ) -> Public:
        """Return public knowledge, with a trainer where the parameters define the local training.

        They do so where they set the records of an update and the learning rate.
        """
        known = super().public(defense, auxiliary, protocol=protocol, device=device)
        per_update, rate = self.params.records_per_update, self._rate
        if not per_update or rate is None:
            return known
        if protocol == "secure-aggregation":
            # The mean of one-step updates is one step on all their records.
            per_update *= self.params.clients
        model = self.load(device)
        controlnet = new_controlnet(model, PUBLIC_SEED)
        client = self.client_half(model, controlnet, defense or Defense(), protocol)
        local = LocalTraining(self.params.optimizer, rate, per_update, per_update)
        return replace(
            known, trainer=ControlNetTrainer(client, controlnet, local, auxiliary.images.shape[-1])
        )

    def train(
        self,
        records: Records,
        defense: Defense,
        plan: TrainingPlan,
        *,
        protocol: str,
        out: Path,
        progress: Progress,
    ) -> Capture:
        p = self.params
        model = self.prepare(records, defense, plan, protocol, dtypes=("fp32",))
        if len(records) < p.clients:
            raise RequestError(
                f"victim {self.name!r}: {p.clients} clients but {len(records)} records"
            )
        if p.shared_draws and model.schedule.prediction != "epsilon":
            raise RequestError(
                f"victim {self.name!r}: shared_draws needs a model that predicts the noise itself"
            )
        whole = new_controlnet(model, PUBLIC_SEED).train()
        rounds = FederatedRounds(
            self.client_half(model, whole, defense, protocol),
            whole,
            records,
            plan,
            LocalPlan(
                p.optimizer,
                self._rate or plan.learning_rate,
                p.records_per_update or plan.batch_size,
            ),
            writer := TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol),
            clients_with_shares(len(records), p.clients, plan.seed),
            RoundMessages(p.records_per_update, protocol == "secure-aggregation", p.shared_draws),
        )
        with progress.stage("training the victim", rounds.steps) as advance:
            rounds.run(advance)
        measurements = TrainingMeasurements(
            releases=plan.epochs * len(records),
            losses=rounds.losses,
            client_seconds=rounds.client_clock.seconds,
            server_seconds=rounds.server_clock.seconds,
            device=plan.device,
        )
        self.save(out / MODEL_DIR, TrainedParts(whole, ServerAdapter()), protocol)
        return seal_capture(out, records, writer, rounds.secrets, measurements)
