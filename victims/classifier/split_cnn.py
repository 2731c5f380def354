"""A small classifier cut in two (He et al., ACSAC 2019): the victim of the activation-inversion literature."""

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
from victims.classifier.parts.labelled_records import PooledCodec, labels, pooled
from victims.classifier.parts.split_training import CnnRun

PUBLIC_SEED = 0
BRIGHTNESS = "brightness"


class SplitCnnParams(Params):
    """Attributes:
    cut: the client's last layer.
    size: height and width of the pictures trained on; larger ones are pooled to it.
    width: channels of the first pair of convolutions; 64 in the paper.
    label: name of the attribute that is the label, ``identity``, or ``brightness`` for records
    without any: a
        picture's mean brightness in steps.
    classes: the label's values are folded into so many.
    """

    cut: Cut = "conv11"
    size: int = Field(default=32, ge=8, multiple_of=8)
    width: int = Field(default=32, ge=1)
    label: str = "hair_colour"
    classes: int = Field(default=10, ge=2)


class SplitCnn(Victim):
    """``inference``: the network is trained in one place, then deployed in two parts, and the
    server gets features of every record once; it knows the client's weights, as the paper's
    white-box attacker does. ``gradient``: split training, with features and labels up and the
    gradient of the features down; the client's weights follow at the end.
    """

    name = "split-cnn"
    protocols = ("inference", "gradient")
    hijackable = frozenset({"gradient"})
    Params = SplitCnnParams
    params: SplitCnnParams
    card = Card(
        summary="Six-convolution classifier of small pictures, cut after a layer of choice.",
        source="He, Zhang, Lee, ACSAC 2019 (Model Inversion Attacks Against Collaborative Inference), CIFAR network",
        needs="records with the attribute that is the label (or label=identity, or label=brightness, which all have)",
        cost="seconds; a release holds width x 32 x 32 numbers at the first layers",
        notes="No diffusion: it is where activation inversion is proven. The record claimed is the pooled picture. Its "
        "features travel on control_features, so what defends those defends these. In `gradient`, the "
        "features attacked are older than the weights that are sent at the end.",
    )

    def channels(self, protocol: str) -> frozenset[Channel]:
        if protocol not in self.protocols:
            raise RequestError(
                f"victim {self.name!r} has no protocol {protocol!r}; it has {', '.join(self.protocols)}"
            )
        shared = {CONTROL_FEATURES, CLIENT_WEIGHTS}
        return frozenset(
            shared | ({PREDICTION_DOWN} if protocol == "inference" else {LABEL, GRADIENT_DOWN})
        )

    def check(self, image_size: int) -> None:
        if image_size % self.params.size:
            raise RequestError(
                f"victim {self.name!r}: image size {image_size} is no multiple of size={self.params.size}"
            )

    def check_records(self, records: Records, progress: Progress) -> None:
        self.labels(records)

    def labels(self, records: Records) -> Tensor:
        """One class a record, ``(N,)`` int64.

        Raises:
            RequestError: a record lacks the attribute.
        """
        p: SplitCnnParams = self.params
        if p.label == BRIGHTNESS:
            level = records.images.float().mean((1, 2, 3)) / 255
            return (level * p.classes).long().clamp(max=p.classes - 1)
        return labels(records, p.label, p.classes)

    def halves(self, defense: Defense, device: str) -> tuple[CnnClient, torch.nn.Module]:
        """Client and server before the first step, with public weights."""
        p: SplitCnnParams = self.params
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
        if plan.dtype != "fp32":
            raise RequestError(f"victim {self.name!r} trains in fp32 only")
        defense.check(NoiseSchedule.stable_diffusion(), sent)
        if CONTROL_FEATURES in defense.withheld:
            raise RequestError(
                f"victim {self.name!r}: without {CONTROL_FEATURES} there is nothing to train on"
            )
        client, server = self.halves(defense, plan.device)
        run = CnnRun(
            client=client,
            server=server,
            adapter=self.adapter(defense, plan.device),
            records=records,
            pixels=pooled(records.images, self.params.size),
            labels=self.labels(records),
            writer=TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol),
            plan=plan,
        )
        return (
            run.trained_split(out, progress)
            if protocol == "gradient"
            else run.deployed(out, progress)
        )

    def adapter(self, defense: Defense, device: str) -> ServerAdapter:
        """The defence's counterpart on the server."""
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
        """None where the attacker's records lack the attribute, which the private ones have."""
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
        """Share of held-out records whose class is found, and the share of the commonest class (blind guessing)."""
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
        truth = self.labels(held_out)
        rng = generator(plan.seed, "split-cnn utility")
        sent = client.release(
            pooled(held_out.images, self.params.size), held_out.ids, "inference", rng
        )
        guess = server(adapter(CONTROL_FEATURES, sent.float())).argmax(1).cpu()
        commonest = truth.bincount().max() / len(truth)
        return {
            "accuracy": float((guess == truth).float().mean()),
            "accuracy_blind": float(commonest),
        }

    def fingerprint(self) -> str:
        client, server = self.halves(Defense(), "cpu")
        digest = hashlib.sha256(repr(client.stem).encode() + repr(server).encode())
        for module in (client.stem, server):
            for name, tensor in sorted(module.state_dict().items()):
                digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()
