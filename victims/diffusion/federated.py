"""FedAvg over the ControlNet (McMahan et al., arXiv:1602.05629): weights cross the wire, records do not."""

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
from bench.wire.capture import TRANSCRIPT_DIR
from victims.diffusion.parts.base import (
    PUBLIC_SEED,
    DiffusionVictim,
    Measured,
    ModelParams,
    TrainedParts,
)
from victims.diffusion.parts.controlnet import new_controlnet
from victims.diffusion.parts.federated_rounds import Exchange, Rounds, shares
from victims.diffusion.parts.local_training import LocalPlan
from victims.diffusion.parts.public_trainer import ControlNetTrainer

SGD_RATE = 0.1


class FederatedParams(ModelParams):
    """Attributes:
    clients: how many share the records, evenly.
    records_per_update: how many records a client trains on in one round; 0 is its whole share. An
    epoch is one
        pass over all records in any case, in as many rounds as that takes.
        An update is one local step on them, or steps of the plan's batch size where it is the whole
        share.
    optimizer: of the local steps. ``sgd`` has no momentum, so that the update of one step is -lr
    times its gradient. learning_rate: of the local steps; None is the plan's for ``adamw``, and for
    ``sgd``, whose steps are not of the
        same kind, 0.1.
    shared_draws: the server draws t and eps and sends them, as one that fixes the randomness of
    training would.
    """

    clients: int = Field(default=2, ge=1)
    records_per_update: int = Field(default=0, ge=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float | None = Field(default=None, gt=0)
    shared_draws: bool = False


class Federated(DiffusionVictim):
    """Every client trains a whole ControlNet on some of its records a round; the server averages."""

    name = "federated"
    protocols = ("fedavg", "secure-aggregation")
    Params = FederatedParams
    params: FederatedParams
    card = Card(
        summary="FedAvg over the whole ControlNet; weight deltas cross the wire every round, or their sum alone.",
        source="McMahan et al., arXiv:1602.05629, Algorithm 1; sum: Bonawitz et al., CCS 2017",
        needs="the same models as split-controlnet",
        cost="bytes: the whole ControlNet, down and up, a client and round",
        notes="A round is one pass over a client's share, or over records_per_update of its records. A defence changes "
        "timesteps, noise and local gradients; its protect_update() is given each client's update whole. Under "
        "secure-aggregation the transcript has the clients' mean update only; the masks are not simulated.",
    )

    def stem_name(self, protocol: str) -> str:
        return "hint"

    def channels(self, protocol: str) -> frozenset[Channel]:
        self.check_protocol(protocol)
        drawn = {TIMESTEP, NOISE_TARGET} if self.params.shared_draws else set()
        return frozenset({CLIENT_UPDATE, GLOBAL_MODEL} | drawn)

    @property
    def _rate(self) -> float | None:
        """The local learning rate, or None where only the training plan has it."""
        return self.params.learning_rate or (SGD_RATE if self.params.optimizer == "sgd" else None)

    def public(
        self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str
    ) -> Public:
        """With a trainer where the parameters say all of a client's local training: how much, how, at what rate."""
        known = super().public(defense, auxiliary, protocol=protocol, device=device)
        per_update, rate = self.params.records_per_update, self._rate
        if not per_update or rate is None:
            return known
        if protocol == "secure-aggregation":
            per_update *= (
                self.params.clients
            )  # the mean of one-step updates is one step on all their records
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
        rounds = Rounds(
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
            shares(len(records), p.clients, plan.seed),
            Exchange(p.records_per_update, protocol == "secure-aggregation", p.shared_draws),
        )
        with progress.stage("training the victim", rounds.steps) as advance:
            rounds.run(advance)
        measured = Measured(
            releases=plan.epochs * len(records),
            losses=rounds.losses,
            client_seconds=rounds.client_clock.seconds,
            server_seconds=rounds.server_clock.seconds,
            device=plan.device,
        )
        return self.seal(
            out, records, writer, rounds.secrets, TrainedParts(whole, ServerAdapter()), measured
        )
