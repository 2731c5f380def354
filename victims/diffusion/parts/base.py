"""What all Stable Diffusion victims share: the model, public knowledge, saving, and utility."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import field_validator
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.interfaces import (
    CONTROL_FEATURES,
    Capture,
    Costs,
    DataError,
    Defense,
    Emission,
    Params,
    Progress,
    Public,
    PublicClient,
    Records,
    RequestError,
    SecretsWriter,
    ServerAdapter,
    Simulator,
    TrainingPlan,
    TranscriptWriter,
    UtilityPlan,
    Victim,
)
from bench.metrics.distribution import fid, kid
from bench.metrics.fidelity import condition_fidelity
from bench.metrics.structural_similarity import ssim
from bench.util.stats import mean_with_error
from bench.wire.capture import COSTS_FILE, MODEL_DIR, SECRETS_DIR
from victims.diffusion.parts.client import ClientHalf, ClientRandomness
from victims.diffusion.parts.controlnet import STEMS, new_controlnet, unchanged
from victims.diffusion.parts.prompt_length import note_overlong
from victims.diffusion.parts.public_denoiser import UNetDenoiser
from victims.diffusion.parts.public_forward import DiffusionForward
from victims.diffusion.parts.sampling import SamplingPlan, TrainedControl, sample
from victims.diffusion.parts.size_report import model_parts
from victims.stable_diffusion import hub
from victims.stable_diffusion.files import check_size, conv_in_report, fingerprint, locate
from victims.stable_diffusion.model import StableDiffusion, images_at_once

from diffusers import ControlNetModel  # isort: skip  (after the torchvision guard)
from victims.common.measure import peak_memory_mib

PUBLIC_SEED = 0  # of the hint block's initial weights, which everybody knows


class ModelParams(Params):
    """Attributes:
    model: ``pocket``, a directory in diffusers layout, or a hub id ``owner/name@commit``; a known
    id may go
        without its commit, and gets it here, so that the row has it.
    """

    model: str = "pocket"

    @field_validator("model")
    @classmethod
    def _with_commit(cls, model: str) -> str:
        return hub.pinned(model)


@dataclass(frozen=True, eq=False)
class TrainedParts:
    """The whole trained ControlNet, a defence's counterpart on the server, the client's secret, and
    what its defence trained (``Defense.trained_state``)."""

    controlnet: Any
    adapter: ServerAdapter
    secret: int = 0
    defense: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What a training run measured.

    Attributes:
        releases: records times epochs.
    """

    releases: int
    losses: list[float]
    client_seconds: float
    server_seconds: float
    device: str


class DiffusionVictim(Victim):
    """A victim built on a Stable Diffusion and a ControlNet."""

    Params = ModelParams
    params: ModelParams

    @abstractmethod
    def stem_name(self, protocol: str) -> str:
        """Key of ``victims.diffusion.parts.controlnet.STEMS``: how the condition enters."""

    def fingerprint(self) -> str:
        return fingerprint(locate(self.params.model))

    def notes(self) -> Mapping[str, str]:
        report = conv_in_report(locate(self.params.model))
        full = report["rank"] == report["columns"]
        model = self.load("meta")
        counts = model_parts(model, new_controlnet(model, PUBLIC_SEED))
        return {
            "parameters": ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            "conv_in": f"{report['rows']:.0f} x {report['columns']:.0f}, rank {report['rank']:.0f}, "
            f"condition number {report['condition']:.3g}",
            "closed-form": "conv_in has full column rank: x_t can be read off unet_features exactly"
            if full
            else "conv_in of a single patch is rank deficient: x_t is solved from the whole feature map",
        }

    def check(self, image_size: int) -> None:
        check_size(locate(self.params.model), image_size)

    def check_records(self, records: Records, progress: Progress) -> None:
        note_overlong(locate(self.params.model), records, progress)

    def check_protocol(self, protocol: str) -> None:
        """Refuse a protocol this victim does not speak.

        Raises:
            RequestError: lists those it does.
        """
        if protocol not in self.protocols:
            raise RequestError(
                f"victim {self.name!r} has no protocol {protocol!r}; it has {', '.join(self.protocols)}"
            )

    def load(self, device: str) -> StableDiffusion:
        """A fresh copy of the public model."""
        return StableDiffusion.load(self.params.model, device)

    def prepare(
        self,
        records: Records,
        defense: Defense,
        plan: TrainingPlan,
        protocol: str,
        *,
        dtypes: tuple[str, ...],
    ) -> StableDiffusion:
        """The model to train from, once everything fits: protocol, computing type, picture size,
        defence.

        Raises:
            RequestError: with what does not.
        """
        self.check_protocol(protocol)
        if plan.dtype not in dtypes:
            raise RequestError(f"victim {self.name!r} trains in {' or '.join(dtypes)} only")
        model = self.load(plan.device)
        self.check(records.images.shape[-1])
        self.check_defense(defense)
        defense.check(model.schedule, self.channels(protocol))
        return model

    def client_half(
        self,
        model: StableDiffusion,
        controlnet: Any,
        defense: Defense,
        protocol: str,
        secret: int = 0,
    ) -> ClientHalf:
        """A client with the stem of ``controlnet``."""
        stem = STEMS[self.stem_name(protocol)](controlnet).to(model.device)
        return ClientHalf(model, stem, defense, secret)

    def public(
        self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str
    ) -> Public:
        model = self.load(device)
        controlnet = new_controlnet(model, PUBLIC_SEED)
        client = self.client_half(model, controlnet, defense or Defense(), protocol)
        return Public(
            client=PublicDiffusionClient(client),
            codec=model,
            schedule=model.schedule,
            stem=unchanged(model.unet.config.in_channels)
            if client.defense.sends_latent
            else model.stem(),
            defense=defense,
            protocol=protocol,
            auxiliary=auxiliary,
            device=device,
            text=model.text(),
            denoiser=UNetDenoiser(model),
        )

    def save(self, path: Path, trained: TrainedParts, protocol: str) -> None:
        """Keep the trained ControlNet in diffusers layout, with what surrounds it."""
        adapter = trained.adapter
        trained.controlnet.save_pretrained(path / "controlnet", safe_serialization=True)
        words = {"victim": self.name, "protocol": protocol, "client_secret": trained.secret}
        (path / "trained.json").write_text(json.dumps(words))
        if any(True for _ in adapter.parameters()):
            save_file(
                {k: v.cpu() for k, v in adapter.state_dict().items()}, path / "adapter.safetensors"
            )
        if trained.defense:
            save_file(dict(trained.defense), path / "defense.safetensors")

    def seal(
        self,
        out: Path,
        records: Records,
        writer: TranscriptWriter,
        secrets: SecretsWriter,
        trained: TrainedParts,
        measured: Measured,
    ) -> Capture:
        """Write everything a capture holds, and open it."""
        secrets.close(out / SECRETS_DIR, records)
        transcript = writer.close()
        self.save(out / MODEL_DIR, trained, transcript.header.protocol)
        costs = Costs(
            bytes_up=transcript.bytes("up", rows_only=True) / measured.releases,
            bytes_down=transcript.bytes("down", rows_only=True) / measured.releases,
            bytes_once=sum(m.bytes for m in transcript.messages if m.rows == 0),
            client_seconds=measured.client_seconds,
            server_seconds=measured.server_seconds,
            peak_memory_mib=peak_memory_mib(measured.device),
            steps=len(measured.losses),
            losses=tuple(measured.losses),
        )
        (out / COSTS_FILE).write_text(costs.model_dump_json())
        return Capture.open(out)

    def trained(self, path: Path, defense: Defense, protocol: str, device: str) -> TrainedControl:
        """The saved model, ready to draw pictures."""
        model = self.load(device)
        controlnet = ControlNetModel.from_pretrained(
            path / "controlnet", use_safetensors=True, local_files_only=True
        ).to(device)
        if CONTROL_FEATURES not in self.channels(protocol):
            defense = (
                Defense()
            )  # the network was trained undivided, on features that nothing protected
        secret = int(json.loads((path / "trained.json").read_text()).get("client_secret", 0))
        client = self.client_half(model, controlnet, defense, protocol, secret)
        adapter = defense.server_adapter(client.empty_prompt) or ServerAdapter()
        if (path / "adapter.safetensors").exists():
            adapter.load_state_dict(load_file(path / "adapter.safetensors"))
        if (path / "defense.safetensors").exists():
            defense.restore_trained(load_file(path / "defense.safetensors"))
        return TrainedControl(
            client, client.stem.server_part(controlnet).to(device).eval(), adapter.to(device).eval()
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
        trained = self.trained(capture.model_dir, defense, protocol, plan.device)
        together = images_at_once(held_out.images.shape[-1], most=64)
        sampling = SamplingPlan(
            steps=plan.steps, guidance=plan.guidance, seed=plan.seed, batch_size=together
        )
        samples = sample(trained, held_out, sampling, plan.progress)
        truth, hints = held_out.image_batch(), held_out.condition_batch()
        backbones = plan.backbones
        kid_mean, kid_std = kid(
            truth,
            samples,
            backbones.distribution,
            subsets=50,
            subset_size=max(2, min(50, len(held_out) // 2)),
            seed=plan.seed,
        )
        fidelity = condition_fidelity(samples, hints, plan.condition)
        return {
            "fid": fid(truth, samples, backbones.distribution),
            "kid": kid_mean,
            "kid_std": kid_std,
            **mean_with_error("lpips", backbones.perceptual.distance(truth, samples).cpu()),
            **mean_with_error("ssim", ssim(samples, truth)),
            **fidelity,
            **mean_with_error(
                "prompt_score", backbones.prompt.prompt_score(samples, held_out.prompts).cpu()
            ),
        }


class PublicDiffusionClient(PublicClient):
    """The client half rebuilt from public weights and the known defence."""

    def __init__(self, client: ClientHalf) -> None:
        self._client = client

    def with_weights(self, parts: Mapping[str, Tensor]) -> PublicDiffusionClient:
        stem = copy.deepcopy(self._client.stem)
        try:
            stem.load_state_dict(dict(parts))
        except RuntimeError as error:
            raise DataError("the client weights on the wire do not fit this client") from error
        client = self._client
        return PublicDiffusionClient(ClientHalf(client.model, stem, client.defense, client.secret))

    def simulator(self, records: Records) -> Simulator:
        return DiffusionSimulator(self._client, records)

    def forward(self, image_size: int) -> DiffusionForward:
        return DiffusionForward(self._client, copy.deepcopy(self._client.stem), image_size)


class DiffusionSimulator(Simulator):
    """Releases of the attacker's own records; what a defence remembers of a record starts anew with each."""

    def __init__(self, client: ClientHalf, records: Records) -> None:
        self._client = client
        self._records = records

    @torch.no_grad()
    def emit(self, index: Sequence[int], rng: torch.Generator) -> Emission:
        single = ClientRandomness.single(rng)
        batch = self._client.encode(self._records, index, single)
        untouched = self._client.defense
        self._client.defense = copy.deepcopy(untouched)
        try:
            return Emission(
                self._client.release(batch, single), batch.image_latents, batch.condition_latents
            )
        finally:
            self._client.defense = untouched
