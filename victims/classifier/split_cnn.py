"""A small classifier that is cut in two (He et al., ACSAC 2019).

The literature on activation inversion uses this victim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor

from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LABEL,
    PREDICTION_DOWN,
    Capture,
    Card,
    Channel,
    Defense,
    NoiseSchedule,
    Params,
    Progress,
    Public,
    Records,
    RequestError,
    ServerAdapter,
    TrainingPlan,
    TranscriptWriter,
    UtilityPlan,
    Victim,
    generator,
)
from bench.wire.capture import TRANSCRIPT_DIR
from victims.classifier.parts.client import CnnClient, PublicCnnClient
from victims.classifier.parts.cnn import Cut, halves, network
from victims.classifier.parts.labelled_records import (
    PooledCodec,
    accuracy,
    check_image_size,
    labels,
    pool,
)
from victims.classifier.parts.split_training import SplitCnnTraining
from victims.common.checks import check_dtype, check_protocol

PUBLIC_SEED = 0
BRIGHTNESS = "brightness"


class SplitCnnParams(Params):
    """Sets the network, its cut and the labels.

    Attributes:
        cut: the client's last layer.
        size: height and width of the training pictures; larger pictures are pooled to this size.
        width: channels of the first pair of convolutions; 64 in the paper.
        label: name of the attribute that gives the label, ``identity``, or ``brightness``, which is
            the picture's mean brightness in equal steps and needs no attribute.
        classes: how many classes the values of the label are folded into.
    """

    cut: Cut = "conv11"
    size: int = Field(default=32, ge=8, multiple_of=8)
    width: int = Field(default=32, ge=1)
    label: str = "hair_colour"
    classes: int = Field(default=10, ge=2)


class SplitCnn(Victim):
    """Trains a small classifier whose first layers are on the client.

    In protocol ``inference`` the network is trained in one place and then deployed in two parts:
    the server gets the features of every record once, and it knows the client's weights like the
    paper's white-box attacker. Protocol ``gradient`` is split training, with features and labels up
    and the gradient of the features down; the client's weights follow at the end.
    """

    name = "split-cnn"
    protocols = ("inference", "gradient")
    hijackable = frozenset({"gradient"})
    Params = SplitCnnParams
    params: SplitCnnParams
    card = Card(
        summary="Six-convolution classifier of small pictures, cut after a layer of choice.",
        source="He, Zhang, Lee, ACSAC 2019 (Model Inversion Attacks Against Collaborative "
        "Inference), CIFAR network",
        needs="records with the attribute that gives the label (or label=identity, or "
        "label=brightness, which all records have)",
        cost="seconds; a release holds width x 32 x 32 numbers at the first layers",
        notes="No diffusion: activation inversion is validated on this victim. Attacks claim the "
        "pooled picture. The features are sent as control_features, so defences of that channel "
        "apply. In `gradient`, the attacked features are older than the weights that are sent at "
        "the end.",
    )

    def channels(self, protocol: str) -> frozenset[Channel]:
        check_protocol(self, protocol)
        shared = {CONTROL_FEATURES, CLIENT_WEIGHTS}
        return frozenset(
            shared | ({PREDICTION_DOWN} if protocol == "inference" else {LABEL, GRADIENT_DOWN})
        )

    def check(self, image_size: int) -> None:
        check_image_size(self, image_size, self.params.size)

    def check_records(self, records: Records, progress: Progress) -> None:
        self.labels(records)

    def labels(self, records: Records) -> Tensor:
        """Return the class of each record, ``(N,)`` int64.

        Raises:
            RequestError: a record lacks the attribute.
        """
        p = self.params
        if p.label == BRIGHTNESS:
            level = records.images.float().mean((1, 2, 3)) / 255
            return (level * p.classes).long().clamp(max=p.classes - 1)
        return labels(records, p.label, p.classes)

    def halves(self, defense: Defense, device: str) -> tuple[CnnClient, torch.nn.Module]:
        """Return client and server before the first step, with public weights."""
        p = self.params
        client, server = halves(network(p.width, p.size, p.classes, PUBLIC_SEED), p.cut)
        return CnnClient(client, defense, device), server.to(device)

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
        sent = self.channels(protocol)
        check_dtype(self, plan)
        defense.check(NoiseSchedule.stable_diffusion(), sent)
        if CONTROL_FEATURES in defense.withheld:
            raise RequestError(
                f"victim {self.name!r}: without {CONTROL_FEATURES} there is nothing to train on"
            )
        client, server = self.halves(defense, plan.device)
        training = SplitCnnTraining(
            client=client,
            server=server,
            adapter=self.adapter(defense, plan.device),
            records=records,
            pixels=pool(records.images, self.params.size),
            labels=self.labels(records),
            writer=TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol),
            plan=plan,
        )
        if protocol == "gradient":
            return training.train_over_wire(out, progress)
        return training.train_then_infer(out, progress)

    def adapter(self, defense: Defense, device: str) -> ServerAdapter:
        """Return the defence's counterpart on the server."""
        return (defense.server_adapter(torch.zeros(1, 1, 1)) or ServerAdapter()).to(device)

    def public(
        self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str
    ) -> Public:
        client, _ = self.halves(defense or Defense(), device)
        image_size = auxiliary.images.shape[-1]
        return Public(
            client=PublicCnnClient(client, self.params.size),
            codec=PooledCodec(self.params.size, image_size),
            schedule=NoiseSchedule.stable_diffusion(),
            stem=None,
            defense=defense,
            protocol=protocol,
            auxiliary=auxiliary,
            device=device,
            labels=self._public_labels(auxiliary),
        )

    def _public_labels(self, auxiliary: Records) -> Tensor | None:
        """Return the labels of the attacker's records, or None where they lack the attribute."""
        try:
            return self.labels(auxiliary)
        except RequestError:
            return None

    @torch.no_grad()
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
        client, server = self.halves(defense, plan.device)
        adapter = self.adapter(defense, plan.device)
        state = load_file(capture.model_dir / "network.safetensors", device=plan.device)
        for part, module in (("client.", client.stem), ("server.", server), ("adapter.", adapter)):
            module.load_state_dict(
                {n.removeprefix(part): t for n, t in state.items() if n.startswith(part)}
            )
        defense.restore_trained(
            {n.removeprefix("defense."): t for n, t in state.items() if n.startswith("defense.")}
        )
        rng = generator(plan.seed, "split-cnn utility")
        pixels = pool(held_out.images, self.params.size)
        sent = client.release(pixels, held_out.ids, "inference", rng)
        guess = server(adapter(CONTROL_FEATURES, sent.float())).argmax(1).cpu()
        return accuracy(guess, self.labels(held_out))

    def fingerprint(self) -> str:
        client, server = self.halves(Defense(), "cpu")
        digest = hashlib.sha256(repr(client.stem).encode() + repr(server).encode())
        for module in (client.stem, server):
            for name, tensor in sorted(module.state_dict().items()):
                digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()
