"""Which scheduler configurations are accepted, and which are refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from bench.interfaces import DataError, NoiseSchedule, RequestError
from victims.diffusion.split_controlnet import SplitControlNet
from victims.stable_diffusion.noise_schedule import read_scheduler

SD = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
}


def written(folder: Path, **changes: object) -> Path:
    config = {name: value for name, value in {**SD, **changes}.items() if value != "unset"}
    (folder / "scheduler_config.json").write_text(json.dumps(config))
    return folder


REFUSED: list[tuple[dict[str, object], str]] = [
    (
        {"prediction_type": "sample"},
        "prediction type 'sample' is not supported; known are epsilon and v_prediction",
    ),
    ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "has no betas: flow matching and EDM"),
    ({"_class_name": "EDMEulerScheduler"}, "has no betas: flow matching and EDM"),
    (
        {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True},
        "has no betas: flow matching and EDM",
    ),
    ({"_class_name": "CogVideoXDDIMScheduler"}, "its betas differ from those of DDIM"),
    (
        {"_class_name": "NoSuchScheduler"},
        "_class_name 'NoSuchScheduler': no scheduler of diffusers",
    ),
    ({"_class_name": "AutoencoderKL"}, "no scheduler of diffusers"),
    ({"_class_name": "unset"}, "_class_name is missing"),
    (
        {"beta_schedule": "sigmoid", "_class_name": "DDPMScheduler"},
        "beta_schedule 'sigmoid': none of linear",
    ),
    ({"beta_schedule": ["linear"]}, "none of linear"),
    ({"trained_betas": [0.1] * 10}, "trained_betas has 10 entries, num_train_timesteps is 1000"),
    ({"trained_betas": [0.0] * 1000}, "must be a strictly falling vector"),
    (
        {"trained_betas": [0.0, *[0.001] * 999]},
        "must lie between 0 and 1, both excluded; it goes from 1 to",
    ),
    ({"trained_betas": [*[0.001] * 999, 1.5]}, "must lie between 0 and 1"),
    ({"trained_betas": "many"}, "scheduler_config.json"),
    ({"beta_end": "much"}, "no scheduler can be built from it"),
    ({"num_train_timesteps": 0}, "scheduler_config.json"),
    ({"num_train_timesteps": "many"}, "no scheduler can be built from it"),
    (
        {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True},
        "the last timestep is noise alone, .* set prediction_type to v_prediction",
    ),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_is_no_gaussian_diffusion_in_discrete_time_is_refused(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_scheduler(written(tmp_path, **changes))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "scheduler_config.json") in str(caught.value)


SAMPLERS = (
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "UniPCMultistepScheduler",
)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_of_stable_diffusion_gives_its_schedule(name: str, tmp_path: Path) -> None:
    sampler, schedule = read_scheduler(written(tmp_path, _class_name=name))
    expected = NoiseSchedule.stable_diffusion().alphas_cumprod
    torch.testing.assert_close(schedule.alphas_cumprod, expected, rtol=1e-4, atol=1e-7)
    assert schedule.prediction == "epsilon"
    assert type(sampler).__name__ == "DDIMScheduler"
    # As diffusers' Stable Diffusion pipelines set them; DDIM's own defaults are True and 0.
    assert sampler.config.clip_sample is False
    assert sampler.config.steps_offset == 1


def test_all_that_training_and_attacks_divide_by_is_finite_at_zero_terminal_snr(
    tmp_path: Path,
) -> None:
    changes = {
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "_class_name": "DDIMScheduler",
    }
    _, schedule = read_scheduler(written(tmp_path, **changes))
    last = torch.tensor([schedule.steps - 1])
    assert float(schedule.signal(last)) == pytest.approx(2**-12)
    assert math.isfinite(1 / float(schedule.signal(last)))
    assert math.isfinite(math.log(float(schedule.snr(schedule.steps - 1))))
    z0, noise = torch.ones(1, 4, 2, 2), torch.full((1, 4, 2, 2), 2.0)
    noisy, target = schedule.add_noise(z0, noise, last), schedule.target(z0, noise, last)
    torch.testing.assert_close(schedule.clean(noisy, target, last), z0)
    torch.testing.assert_close(schedule.noise_in(noisy, target, last), noise)


@pytest.mark.parametrize("edge", [[1.0, 0.5], [0.5, 0.0], [0.5, float("nan")], [0.5, -0.1]])
def test_a_schedule_keeps_within_what_can_be_divided_by(edge: list[float]) -> None:
    with pytest.raises(RequestError, match="noise schedule"):
        NoiseSchedule(torch.tensor(edge, dtype=torch.float64))


def test_a_model_is_refused_for_its_scheduler_at_planning(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    written(model / "scheduler", prediction_type="sample")
    with pytest.raises(DataError, match="prediction type 'sample'"):
        SplitControlNet.build({"model": str(model)}).check(32)
