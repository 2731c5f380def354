"""One training of a split classifier: both halves, the wire between them, and the truth that stays home."""

from __future__ import annotations

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
    Costs,
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
from bench.wire.capture import COSTS_FILE, MODEL_DIR, SECRETS_DIR
from bench.wire.transcript import Direction, with_channel_prefix
from victims.classifier.parts.client import CnnClient
from victims.classifier.parts.labelled_records import PooledCodec, as_trained, enlarged
from victims.common.batches import epoch_batches
from victims.common.measure import Clock, peak_memory_mib


class CnnRun:
    """Trains by AdamW on cross-entropy.

    Args:
        pixels: ``(N, 3, size, size)`` in [0, 1].
        labels: ``(N,)`` int64.
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

    def trained_split(self, out: Path, progress: Progress) -> Capture:
        """Protocol ``gradient``."""
        batches = self._batches()
        with progress.stage("training the victim", len(batches)) as advance:
            for step, (epoch, index) in enumerate(batches):
                self._step(index, (epoch, step))
                advance(1)
        self._send_weights(len(batches), self.plan.epochs - 1)
        return self._seal(out, releases=sum(len(index) for _, index in batches))

    def deployed(self, out: Path, progress: Progress) -> Capture:
        """Protocol ``inference``: nothing crosses the wire in training; then every record does, once."""
        batches = self._batches()
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

    def _batches(self) -> list[tuple[int, list[int]]]:
        plan = self.plan
        return [
            (e, b)
            for e in range(plan.epochs)
            for b in epoch_batches(len(self.pixels), plan.batch_size, e, plan.seed)
        ]

    def _release(self, index: list[int], phase: str) -> Tensor:
        with self._clocks["client"].running():
            return self.client.release(
                self.pixels[index], [self.records.ids[i] for i in index], phase, self._rng
            )

    def _step(self, index: list[int], place: tuple[int, int] | None) -> None:
        """One batch; over the wire as ``(epoch, step)``, or within one machine."""
        sent = self._release(index, "training")
        received, label = sent.detach(), self.labels[index]
        if place is not None:
            message = self._send({CONTROL_FEATURES: sent, LABEL: label}, place, "up", len(index))
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
            if self.plan.adversary is not None:
                gradient = self.plan.adversary.answer(message, {GRADIENT_DOWN: gradient})[
                    GRADIENT_DOWN
                ]
            gradient = self._send({GRADIENT_DOWN: gradient}, place, "down", len(index))[
                GRADIENT_DOWN
            ]
        with self._clocks["client"].running():
            self._client_step(index, sent, gradient)

    def _client_step(self, index: list[int], sent: Tensor, gradient: Tensor) -> None:
        optimizer = self._optimizers["client"]
        optimizer.zero_grad(set_to_none=True)
        pixels = self.pixels[index].to(self.plan.device)
        private = {
            "condition": pixels,
            "image_latents": pixels,
        }  # a loss on the private input: here the picture
        extra = self.client.defense.client_loss(private, {CONTROL_FEATURES: sent})
        sent.backward(gradient.to(sent), retain_graph=extra is not None)  # type: ignore[no-untyped-call]
        if extra is not None:
            extra.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        self.client.defense.train_step()

    @torch.no_grad()
    def _infer(self, index: list[int], step: int) -> None:
        sent = self._release(index, "inference")
        received = self._send({CONTROL_FEATURES: sent}, (0, step), "up", len(index))[
            CONTROL_FEATURES
        ]
        self._keep(index, (0, step))
        with self._clocks["server"].running():
            logits = self.server(
                self.adapter(CONTROL_FEATURES, received.to(self.plan.device).float())
            )
        self._send({PREDICTION_DOWN: logits}, (0, step), "down", len(index))

    def _send(
        self, tensors: dict[str, Tensor], place: tuple[int, int], direction: Direction, rows: int
    ) -> dict[str, Tensor]:
        ends = ("server", "client")
        return self.writer.send(
            tensors,
            epoch=place[0],
            step=place[1],
            direction=direction,
            sender=ends[direction == "up"],
            receiver=ends[direction == "down"],
            rows=rows,
        )

    def _send_weights(self, step: int, epoch: int) -> None:
        self._send(
            with_channel_prefix(CLIENT_WEIGHTS, self.client.stem.state_dict().items()),
            (epoch, step),
            "up",
            0,
        )

    def _keep(self, index: list[int], place: tuple[int, int]) -> None:
        """Put the truth behind a step's rows aside."""
        epoch, step = place
        shown = ImageBatch(enlarged(self.pixels[index], self.records.images.shape[-1]))
        conditions = self.records.select(index).condition_batch()
        latents = (self._codec.encode(shown), self._codec.encode(conditions))
        self.secrets.add([Release(epoch, step, row) for row in range(len(index))], index, *latents)

    def _seal(self, out: Path, *, releases: int) -> Capture:
        self.secrets.close(out / SECRETS_DIR, as_trained(self.records, self.pixels.shape[-1]))
        transcript = self.writer.close()
        (out / MODEL_DIR).mkdir()
        parts = {"client": self.client.stem, "server": self.server, "adapter": self.adapter}
        state = {
            f"{p}.{n}": t.cpu().contiguous()
            for p, module in parts.items()
            for n, t in module.state_dict().items()
        }
        state |= {f"defense.{n}": t for n, t in self.client.defense.trained_state().items()}
        save_file(state, out / MODEL_DIR / "network.safetensors")
        costs = Costs(
            bytes_up=transcript.bytes("up", rows_only=True) / releases,
            bytes_down=transcript.bytes("down", rows_only=True) / releases,
            bytes_once=sum(m.bytes for m in transcript.messages if m.rows == 0),
            client_seconds=self._clocks["client"].seconds,
            server_seconds=self._clocks["server"].seconds,
            peak_memory_mib=peak_memory_mib(self.plan.device),
            steps=len(self.losses),
            losses=tuple(self.losses),
        )
        (out / COSTS_FILE).write_text(costs.model_dump_json())
        return Capture.open(out)
