"""One training of a split classifier: both halves and the wire between them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LABEL,
    PREDICTION_DOWN,
    Capture,
    Channel,
    ImageBatch,
    Progress,
    Records,
    Release,
    SecretsWriter,
    ServerAdapter,
    TrainingPlan,
    TranscriptWriter,
    generator,
)
from bench.wire.capture import MODEL_DIR
from bench.wire.transcript import with_channel_prefix
from victims.classifier.parts.client import CnnClient
from victims.classifier.parts.labelled_records import PooledCodec, enlarge, with_pooled_pictures
from victims.common.batches import epoch_batches, training_batches
from victims.common.capture_files import TrainingMeasurements, seal_capture
from victims.common.link import Link
from victims.common.measure import Clock


class SplitCnnTraining:
    """Trains both halves by AdamW on cross-entropy.

    Args:
        client: the client's half, with its defence.
        server: the server's layers.
        adapter: the defence's counterpart on the server.
        records: the private records.
        pixels: the pooled pictures of the records, ``(N, 3, size, size)`` in [0, 1].
        labels: the classes of the records, ``(N,)`` int64.
        writer: keeps every message.
        plan: how long and with which seed to train.
    """

    def __init__(
        self,
        *,
        client: CnnClient,
        server: nn.Module,
        adapter: ServerAdapter,
        records: Records,
        pixels: Tensor,
        labels: Tensor,
        writer: TranscriptWriter,
        plan: TrainingPlan,
    ) -> None:
        self.client, self.server, self.adapter = client, server, adapter
        self.records, self.pixels, self.labels = records, pixels, labels
        self.writer, self.plan = writer, plan
        self._link = Link(writer)
        self.secrets = SecretsWriter()
        self.losses: list[float] = []
        self._codec = PooledCodec(pixels.shape[-1], records.images.shape[-1])
        self._rng = generator(plan.seed, "split-cnn client")
        self._clocks = {side: Clock(plan.device) for side in ("client", "server")}
        self._optimizers = {
            "client": torch.optim.AdamW(client.stem.parameters(), lr=plan.learning_rate),
            "server": torch.optim.AdamW(
                [*server.parameters(), *adapter.parameters()], lr=plan.learning_rate
            ),
        }

    def train_over_wire(self, out: Path, progress: Progress) -> Capture:
        """Train in protocol ``gradient``: every step crosses the wire."""
        batches = training_batches(len(self.pixels), self.plan)
        with progress.stage("training the victim", len(batches)) as advance:
            for step, (epoch, index) in enumerate(batches):
                self._step(index, (epoch, step))
                advance(1)
        self._send_weights(len(batches), self.plan.epochs - 1)
        return self._seal(out, releases=sum(len(index) for _, index in batches))

    def train_then_infer(self, out: Path, progress: Progress) -> Capture:
        """Train in protocol ``inference``: every record crosses the wire once, after training."""
        batches = training_batches(len(self.pixels), self.plan)
        with progress.stage("training the victim", len(batches)) as advance:
            for _, index in batches:
                self._step(index, None)
                advance(1)
        self._send_weights(0, 0)
        for step, index in enumerate(
            epoch_batches(len(self.records), self.plan.batch_size, 0, self.plan.seed), 1
        ):
            self._infer(index, step)
        return self._seal(out, releases=len(self.records))

    def _release(self, index: list[int], phase: str) -> Tensor:
        with self._clocks["client"].running():
            return self.client.release(
                self.pixels[index], [self.records.ids[i] for i in index], phase, self._rng
            )

    def _step(self, index: list[int], place: tuple[int, int] | None) -> None:
        """Train on one batch.

        Args:
            index: the records of the batch.
            place: epoch and step of the messages; None sends none.
        """
        sent = self._release(index, "training")
        received, label = sent.detach(), self.labels[index]
        if place is not None:
            epoch, step = place
            message = self._link.send(
                {CONTROL_FEATURES: sent, LABEL: label},
                "up",
                epoch=epoch,
                step=step,
                rows=len(index),
            )
            self._keep(index, place)
            received, label = message[CONTROL_FEATURES], message[LABEL]
        with self._clocks["server"].running():
            stem = received.to(self.plan.device).float().requires_grad_()
            logits = self.server(self.adapter(CONTROL_FEATURES, stem))
            loss = functional.cross_entropy(logits, label.to(self.plan.device))
            self.losses.append(float(loss.detach()))
            self._optimizers["server"].zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizers["server"].step()
            gradient = stem.grad
        assert gradient is not None
        if place is not None:
            answer: Mapping[str, Tensor] = {GRADIENT_DOWN: gradient}
            if self.plan.adversary is not None:
                received_message = {Channel(name): tensor for name, tensor in message.items()}
                answer = self.plan.adversary.answer(received_message, answer)
            gradient = self._link.send(
                {GRADIENT_DOWN: answer[GRADIENT_DOWN]},
                "down",
                epoch=epoch,
                step=step,
                rows=len(index),
            )[GRADIENT_DOWN]
        with self._clocks["client"].running():
            self._client_step(index, sent, gradient)

    def _client_step(self, index: list[int], sent: Tensor, gradient: Tensor) -> None:
        optimizer = self._optimizers["client"]
        optimizer.zero_grad(set_to_none=True)
        pixels = self.pixels[index].to(self.plan.device)
        # Losses on the condition or on the latent act on the picture here.
        private = {"condition": pixels, "image_latents": pixels}
        extra = self.client.defense.client_loss(private, {CONTROL_FEATURES: sent})
        sent.backward(gradient.to(sent), retain_graph=extra is not None)  # type: ignore[no-untyped-call]
        if extra is not None:
            extra.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        self.client.defense.train_step()

    @torch.no_grad()
    def _infer(self, index: list[int], step: int) -> None:
        sent = self._release(index, "inference")
        received = self._link.send(
            {CONTROL_FEATURES: sent}, "up", epoch=0, step=step, rows=len(index)
        )[CONTROL_FEATURES]
        self._keep(index, (0, step))
        with self._clocks["server"].running():
            logits = self.server(
                self.adapter(CONTROL_FEATURES, received.to(self.plan.device).float())
            )
        self._link.send({PREDICTION_DOWN: logits}, "down", epoch=0, step=step, rows=len(index))

    def _send_weights(self, step: int, epoch: int) -> None:
        weights = with_channel_prefix(CLIENT_WEIGHTS, self.client.stem.state_dict().items())
        self._link.send(weights, "up", epoch=epoch, step=step, rows=0)

    def _keep(self, index: list[int], place: tuple[int, int]) -> None:
        """Keep the ground truth of a step's rows among the secrets."""
        epoch, step = place
        images = ImageBatch(enlarge(self.pixels[index], self.records.images.shape[-1]))
        conditions = self.records.select(index).condition_batch()
        latents = (self._codec.encode(images), self._codec.encode(conditions))
        self.secrets.add([Release(epoch, step, row) for row in range(len(index))], index, *latents)

    def _seal(self, out: Path, *, releases: int) -> Capture:
        (out / MODEL_DIR).mkdir()
        parts = {"client": self.client.stem, "server": self.server, "adapter": self.adapter}
        state = {
            f"{p}.{n}": t.cpu().contiguous()
            for p, module in parts.items()
            for n, t in module.state_dict().items()
        }
        state |= {f"defense.{n}": t for n, t in self.client.defense.trained_state().items()}
        save_file(state, out / MODEL_DIR / "network.safetensors")
        measurements = TrainingMeasurements(
            releases=releases,
            losses=self.losses,
            client_seconds=self._clocks["client"].seconds,
            server_seconds=self._clocks["server"].seconds,
            device=self.plan.device,
        )
        records = with_pooled_pictures(self.records, self.pixels.shape[-1])
        return seal_capture(out, records, self.writer, self.secrets, measurements)
