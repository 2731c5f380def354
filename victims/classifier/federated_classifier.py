"""FedSGD over a small classifier (McMahan et al., arXiv:1602.05629).

The literature on gradient attacks uses this victim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor
from torch.func import jacrev, vmap

from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    Capture,
    Card,
    Channel,
    Defense,
    LocalTraining,
    NoiseSchedule,
    Params,
    Progress,
    ProtectContext,
    Public,
    Records,
    Representation,
    RequestError,
    TrainingPlan,
    UtilityPlan,
    Victim,
)
from victims.classifier.parts.federated_rounds import ClassifierRounds
from victims.classifier.parts.labelled_records import (
    PooledCodec,
    accuracy,
    check_image_size,
    labels,
    pool,
)
from victims.classifier.parts.public_trainer import LABEL, ClassifierTrainer
from victims.classifier.parts.small_networks import HEAD, Activation, Classifier, Network
from victims.common.checks import check_dtype

PUBLIC_SEED = 0


class FederatedClassifierParams(Params):
    """Sets the clients, their local training and their network.

    Attributes:
        records_per_update: how many records one update is computed on.
        batch_size: records in one local step; None puts all records of the update in one step,
            which is FedSGD.
        clients: how many clients share the records evenly; each sends one update in each round.
        size: height and width of the training pictures; larger pictures are pooled to this size.
        network: ``lenet``, ``mlp`` or ``linear`` (``victims.classifier.parts.small_networks``).
        activation: the function after each layer; None is the sigmoid of DLG for ``lenet`` and ReLU
            for ``mlp``.
        label: name of the attribute that gives the label, or ``identity``.
        classes: how many classes the values of the label are folded into.
        hidden: width of the ``mlp``.
        learning_rate: learning rate of the clients' SGD; the learning rate of the training plan is
            for AdamW and is not used.
    """

    records_per_update: int = Field(default=1, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    clients: int = Field(default=8, ge=1)
    size: int = Field(default=16, ge=8, multiple_of=2)
    network: Network = "lenet"
    activation: Activation | None = None
    label: str = "hair_colour"
    classes: int = Field(default=10, ge=2)
    hidden: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)


class FederatedClassifier(Victim):
    """Trains a small classifier in rounds on clients; the server averages the updates.

    In each round every client runs SGD on its next few records from the global model and sends the
    change of the weights; the server adds the mean of the updates. A last group of an epoch that is
    too small for an update is skipped; the next epoch shuffles the records anew.
    """

    name = "federated-classifier"
    protocols: ClassVar[tuple[str, ...]] = ("fedsgd",)
    takes_insertion = True
    Params = FederatedClassifierParams
    params: FederatedClassifierParams
    card = Card(
        summary="FedSGD over DLG's small sigmoid network, or over a linear or two-layer network; "
        "labels come from an attribute.",
        source="FedSGD: McMahan et al., arXiv:1602.05629; network: Zhu et al., arXiv:1906.08935, "
        "section 4",
        needs="records with the attribute that gives the label (or label=identity)",
        cost="seconds; an update holds about 20,000 numbers",
        notes="No diffusion: gradient attacks are validated on this victim. Attacks claim the "
        "pooled picture. Held-out people share no identity with the private ones, so with "
        "label=identity accuracy is at chance.",
    )

    def channels(self, protocol: str) -> frozenset[Channel]:
        return frozenset({CLIENT_UPDATE, GLOBAL_MODEL})

    def check(self, image_size: int) -> None:
        check_image_size(self, image_size, self.params.size)

    def check_records(self, records: Records, progress: Progress) -> None:
        self.labels(records)

    def classifier(self, defense: Defense | None = None) -> Classifier:
        """Return the network of the parameters, with the layers that the defence inserts."""
        p = self.params
        activation = p.activation or ("sigmoid" if p.network == "lenet" else "relu")
        insertion = None if defense is None else defense.insertion()
        return Classifier(p.network, activation, p.size, p.classes, p.hidden, insertion)

    def trainer(self, image_size: int, defense: Defense | None = None) -> ClassifierTrainer:
        """Return the public reconstruction of the clients' local training."""
        p = self.params
        local = LocalTraining(
            "sgd", p.learning_rate, p.records_per_update, p.batch_size or p.records_per_update
        )
        return ClassifierTrainer(self.classifier(defense), local, image_size, p.label)

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
        check_dtype(self, plan)
        if len(records) < p.clients * p.records_per_update:
            raise RequestError(
                f"victim {self.name!r}: {p.clients} clients with {p.records_per_update} records an "
                f"update need {p.clients * p.records_per_update} records; there are {len(records)}"
            )
        schedule = NoiseSchedule.stable_diffusion()
        defense.check(schedule, self.channels(protocol))
        trainer = self.trainer(records.images.shape[-1], defense)
        rounds = ClassifierRounds(
            trainer=trainer,
            weights=self.classifier(defense).initial_weights(PUBLIC_SEED),
            records=records,
            inputs=trainer.inputs(records),
            step_gradient=partial(self._step_gradient, defense, trainer),
            protect=partial(self._protect, defense, schedule),
            clients=p.clients,
            plan=plan,
        )
        return rounds.run(out, victim=self.name, protocol=protocol, progress=progress)

    def labels(self, records: Records) -> Tensor:
        return labels(records, self.params.label, self.params.classes)

    def _step_gradient(
        self,
        defense: Defense,
        trainer: ClassifierTrainer,
        weights: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
        rng: torch.Generator,
    ) -> Mapping[str, Tensor]:
        """Return the gradient of one step; a defence may combine the gradients of its records."""
        if not defense.record_gradients:
            return trainer.gradient(weights, batch)
        rows = range(len(batch[LABEL]))
        alone = ({name: tensor[i : i + 1] for name, tensor in batch.items()} for i in rows)
        return defense.local_gradient((trainer.gradient(weights, one) for one in alone), rng)

    def _protect(
        self,
        defense: Defense,
        schedule: NoiseSchedule,
        update: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        pixels: Tensor,
        ids: Sequence[str],
        rng: torch.Generator,
    ) -> dict[str, Tensor]:
        context = ProtectContext(
            phase="training",
            timesteps=torch.zeros(len(ids), dtype=torch.long),
            schedule=schedule,
            empty_prompt=torch.zeros(1, 1, 1),
            record_ids=ids,
            rng=rng,
            representation=Representation(
                HEAD, partial(self._measure, self.classifier(defense), weights, pixels)
            ),
        )
        return defense.protect_update(update, context)

    def _measure(
        self, network: Classifier, weights: Mapping[str, Tensor], pixels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the head's inputs, without noise, and their sensitivity to the picture.

        Both are ``(B, features)``.
        """

        def features_of(picture: Tensor) -> Tensor:
            return network.into_head(weights, picture.unsqueeze(0))[0].squeeze(0)

        jacobian = vmap(jacrev(features_of, chunk_size=64))(pixels)
        return network.into_head(weights, pixels)[0], jacobian.flatten(2).norm(dim=2)

    def public(
        self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str
    ) -> Public:
        image_size = auxiliary.images.shape[-1]
        return Public(
            client=None,
            codec=PooledCodec(self.params.size, image_size),
            schedule=NoiseSchedule.stable_diffusion(),
            stem=None,
            defense=defense,
            protocol=protocol,
            auxiliary=auxiliary,
            device=device,
            trainer=self.trainer(image_size, defense),
        )

    def utility(
        self,
        capture: Capture,
        held_out: Records,
        defense: Defense,
        plan: UtilityPlan,
        *,
        protocol: str,
    ) -> Mapping[str, float]:
        """Return the accuracy on held-out records and that of guessing the commonest class."""
        weights = load_file(capture.model_dir / "classifier.safetensors")
        pixels = pool(held_out.images, self.params.size)
        guess = self.classifier(defense).logits(weights, pixels).argmax(1)
        return accuracy(guess, self.labels(held_out))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.classifier()).encode())
        for name, tensor in sorted(self.classifier().initial_weights(PUBLIC_SEED).items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()
