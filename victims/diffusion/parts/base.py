"""Base of all Stable Diffusion victims: the model, public knowledge, saving, and utility."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import field_validator
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.interfaces import (
    CONTROL_FEATURES,
    Capture,
    Defense,
    Params,
    Progress,
    Public,
    Records,
    ServerAdapter,
    TrainingPlan,
    UtilityPlan,
    Victim,
)
from bench.metrics.distribution import fid, kid
from bench.metrics.fidelity import condition_fidelity
from bench.metrics.structural_similarity import ssim
from bench.util.stats import mean_with_error
from victims.common.checks import check_dtype, check_protocol
from victims.diffusion.parts.client import ClientHalf
from victims.diffusion.parts.controlnet import STEMS, identity_conv, new_controlnet
from victims.diffusion.parts.prompt_length import note_overlong
from victims.diffusion.parts.public_client import PublicDiffusionClient, UNetDenoiser
from victims.diffusion.parts.sampling import SamplingPlan, TrainedControl, sample
from victims.diffusion.parts.size_report import model_parts
from victims.stable_diffusion import hub
from victims.stable_diffusion.files import check_size, conv_in_report, fingerprint, locate
from victims.stable_diffusion.model import StableDiffusion, images_at_once

from diffusers import ControlNetModel  # isort: skip  (after the torchvision guard)

PUBLIC_SEED = 0
"""Seed of the hint block's initial weights, which are public."""


class ModelParams(Params):
    """Sets the public model that a victim starts from.

    Attributes:
        model: ``pocket``, a directory in diffusers layout, or a hub id ``owner/name@commit``. A
            known id may omit its commit; the commit is added here, so that rows contain it.
    """

    model: str = "pocket"

    @field_validator("model")
    @classmethod
    def _with_commit(cls, model: str) -> str:
        return hub.with_commit(model)


@dataclass(frozen=True, eq=False)
class TrainedParts:
    """Holds everything that a training leaves behind.

    Attributes:
        controlnet: the whole trained ControlNet.
        adapter: the defence's counterpart on the server.
        secret: the client's secret.
        defense: the tensors that the defence trained (``Defense.trained_state``).
    """

    controlnet: Any
    adapter: ServerAdapter
    secret: int = 0
    defense: Mapping[str, Tensor] = field(default_factory=dict)


class DiffusionVictim(Victim):
    """Trains a ControlNet for a public Stable Diffusion."""

    Params = ModelParams
    params: ModelParams

    @abstractmethod
    def stem_name(self, protocol: str) -> str:
        """Return the key in ``victims.diffusion.parts.controlnet.STEMS`` of the client's stem."""

    def fingerprint(self) -> str:
        return fingerprint(locate(self.params.model))

    def notes(self) -> Mapping[str, str]:
        report = conv_in_report(locate(self.params.model))
        full = report["rank"] == report["columns"]
        model = self.load("meta")
        counts = model_parts(model, new_controlnet(model, PUBLIC_SEED))
        return {
            "parameters": ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            "conv_in": f"{report['rows']:.0f} x {report['columns']:.0f}, rank "
            f"{report['rank']:.0f}, condition number {report['condition']:.3g}",
            "closed-form": "conv_in has full column rank: x_t can be read off unet_features exactly"
            if full
            else "conv_in of a single patch is rank deficient: x_t is solved from the whole map",
        }

    def check(self, image_size: int) -> None:
        check_size(locate(self.params.model), image_size)

    def check_records(self, records: Records, progress: Progress) -> None:
        note_overlong(locate(self.params.model), records, progress)

    def load(self, device: str) -> StableDiffusion:
        """Return a fresh copy of the public model."""
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
        """Return the model to train from, after checks of the whole request.

        Raises:
            RequestError: protocol, computing type, picture size or defence do not fit.
        """
        check_protocol(self, protocol)
        check_dtype(self, plan, dtypes)
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
        """Return a client half with the stem of ``controlnet``."""
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
            stem=identity_conv(model.unet.config.in_channels)
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
        """Save the trained ControlNet in diffusers layout, with adapter, defence and secret."""
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

    def load_trained(
        self, path: Path, defense: Defense, protocol: str, device: str
    ) -> TrainedControl:
        """Return the saved model, ready to sample pictures."""
        model = self.load(device)
        controlnet = ControlNetModel.from_pretrained(  # type: ignore[no-untyped-call]
            path / "controlnet", use_safetensors=True, local_files_only=True
        ).to(device)
        if CONTROL_FEATURES not in self.channels(protocol):
            # The network was trained undivided, on features that no defence protected.
            defense = Defense()
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
        trained = self.load_trained(capture.model_dir, defense, protocol, plan.device)
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
