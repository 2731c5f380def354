"""The noise schedule of a model's scheduler configuration, whatever sampler it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import DataError, NoiseSchedule, RequestError
from bench.util.torchvision_guard import guard_torchvision
from victims.stable_diffusion.file_checks import first_line, read_object, required_entry

CONFIG = "scheduler_config.json"
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")

LEAST_ABAR = 2.0**-24
"""abar at the last timestep under zero terminal SNR, as in diffusers' samplers, so that a_t > 0."""


def read_scheduler(folder: Path) -> tuple[Any, NoiseSchedule]:
    """Return a DDIM sampler and the schedule in float64, from a ``scheduler/`` directory.

    Missing entries get the defaults of the sampler that the file names. ``clip_sample`` is off and
    ``steps_offset`` is 1, as diffusers' Stable Diffusion pipelines set them for every file: a
    latent has no range to clip to.

    Raises:
        DataError: the file is missing or malformed, or does not describe a Gaussian diffusion in
            discrete time.
    """
    file = folder / CONFIG
    config = read_object(file)
    try:
        return _build(config, file)
    except DataError:
        raise
    except Exception as error:  # the library has no error class for a bad value
        raise DataError(
            f"{file}: no scheduler can be built from it, {first_line(error)}; download it again"
        ) from error


def _build(config: dict[str, Any], file: Path) -> tuple[Any, NoiseSchedule]:
    guard_torchvision()
    import diffusers

    name = required_entry(config, file, "_class_name")
    cls = (
        getattr(diffusers, name, None)
        if isinstance(name, str) and name.endswith("Scheduler")
        else None
    )
    if cls is None:
        raise _refusal(file, f"_class_name {name!r}", "no scheduler of diffusers")
    if (
        config.get("trained_betas") is None
        and config.get("beta_schedule", BETA_SCHEDULES[0]) not in BETA_SCHEDULES
    ):
        raise _refusal(
            file,
            f"beta_schedule {config['beta_schedule']!r}",
            f"none of {', '.join(BETA_SCHEDULES)}",
        )
    named = cls.from_config(config)
    settings = {**config, **named.config}
    settings.pop("_use_default_values", None)  # else DDIM would replace defaults of the named class
    if settings.get("use_flow_sigmas") or getattr(named, "alphas_cumprod", None) is None:
        raise _refusal(file, name, "has no betas: flow matching and EDM are other processes")
    _check_betas(settings, file)
    scheduler = diffusers.DDIMScheduler.from_config(  # type: ignore[no-untyped-call]
        settings, clip_sample=False, steps_offset=1
    )
    scheduler.set_timesteps(1)  # refuses an unknown timestep_spacing before the training
    if not torch.allclose(
        named.alphas_cumprod[:-1].float(), scheduler.alphas_cumprod[:-1], rtol=1e-4, atol=1e-7
    ):
        raise _refusal(file, name, "its betas differ from those of DDIM with these settings")
    try:
        return scheduler, NoiseSchedule(
            _with_signal(scheduler, settings), settings["prediction_type"]
        )
    except RequestError as error:
        raise DataError(f"{file}: {error}") from error


def _check_betas(settings: dict[str, Any], file: Path) -> None:
    steps, betas = settings["num_train_timesteps"], settings.get("trained_betas")
    if betas is not None and len(betas) != steps:
        raise DataError(
            f"{file}: trained_betas has {len(betas)} entries, num_train_timesteps is {steps}"
        )
    if settings.get("rescale_betas_zero_snr") and settings["prediction_type"] == "epsilon":
        raise DataError(
            f"{file}: with rescale_betas_zero_snr the last timestep is noise alone, from which a "
            "network that predicts the noise learns nothing; set prediction_type to v_prediction "
            "if the network was trained so, or rescale_betas_zero_snr to false"
        )


def _with_signal(scheduler: Any, settings: dict[str, Any]) -> Tensor:
    """Return abar_t ``(T,)`` float64, with the least signal in place of zero terminal SNR."""
    abar: Tensor = scheduler.alphas_cumprod.double().clone()
    if settings.get("rescale_betas_zero_snr"):
        abar[-1] = torch.clamp(abar[-1], min=min(LEAST_ABAR, float(abar[-2]) / 2))
    return abar


def _refusal(file: Path, what: str, why: str) -> DataError:
    return DataError(
        f"{file}: {what}: {why}; the noise schedule must be that of a DDPM, such as Stable "
        "Diffusion's"
    )
