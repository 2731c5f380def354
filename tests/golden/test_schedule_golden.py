"""The noise schedule of a model against diffusers' own: noising, training targets, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler

from victims.stable_diffusion.noise_schedule import LEAST_ABAR, read_scheduler

T = torch.tensor([0, 1, 250, 500, 998, 999])
BETAS = [0.001 + 0.019 * (i / 999) ** 2 for i in range(1000)]
CONFIGURATIONS: dict[str, dict[str, object]] = {
    "linear": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "scaled linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "given betas": {"trained_betas": BETAS},
    "zero terminal SNR": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
}
CASES = [(name, kind) for name in CONFIGURATIONS for kind in ("epsilon", "v_prediction")]
CASES.remove(
    ("zero terminal SNR", "epsilon")
)  # refused, see tests/victims/stable_diffusion/test_noise_schedule.py


def written(folder: Path, **config: object) -> Path:
    (folder / "scheduler_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_noising_target_and_way_back_are_those_of_diffusers(
    name: str, kind: str, tmp_path: Path
) -> None:
    config = {**CONFIGURATIONS[name], "prediction_type": kind}
    reference = DDPMScheduler(**config)
    sampler, schedule = read_scheduler(written(tmp_path, _class_name="DDPMScheduler", **config))
    rng = torch.Generator().manual_seed(0)
    z0, noise = (torch.randn(len(T), 4, 8, 8, generator=rng) for _ in range(2))
    # The last timestep of zero terminal SNR keeps a signal of 2^-12, as in diffusers' samplers.
    atol = 2 * LEAST_ABAR**0.5 * float(z0.abs().max()) if "zero" in name else 2e-5
    noisy, target = schedule.add_noise(z0, noise, T), schedule.target(z0, noise, T)
    torch.testing.assert_close(noisy, reference.add_noise(z0, noise, T), rtol=0, atol=atol)
    expected = noise if kind == "epsilon" else reference.get_velocity(z0, noise, T)
    torch.testing.assert_close(target, expected, rtol=0, atol=atol)
    torch.testing.assert_close(schedule.noise_in(noisy, target, T), noise, rtol=1e-4, atol=1e-4)
    # Under epsilon the division by a_t enlarges rounding: by 1 / a_t, 20,000 at the end of the
    # cosine.
    loss = 1e-4 if kind == "v_prediction" else 1e-6 / float(schedule.signal(T).min())
    torch.testing.assert_close(
        schedule.clean(noisy, target, T), z0, rtol=1e-4, atol=max(1e-4, loss)
    )
    sampler.set_timesteps(50)
    for i, t in enumerate(T.tolist()):
        step = sampler.step(target[i : i + 1], t, noisy[i : i + 1])
        torch.testing.assert_close(
            step.pred_original_sample, z0[i : i + 1], rtol=1e-3, atol=max(2e-3, 10 * loss)
        )


def test_zero_terminal_snr_is_the_schedule_of_diffusers_samplers(tmp_path: Path) -> None:
    config = {**CONFIGURATIONS["zero terminal SNR"], "prediction_type": "v_prediction"}
    _, schedule = read_scheduler(written(tmp_path, _class_name="DDIMScheduler", **config))
    reference = EulerDiscreteScheduler(**config).alphas_cumprod
    torch.testing.assert_close(schedule.alphas_cumprod, reference.double(), rtol=1e-4, atol=0)
    assert float(schedule.alphas_cumprod[-1]) == LEAST_ABAR
    assert float(DDIMScheduler(**config).alphas_cumprod[-1]) == 0
    assert float(schedule.snr(999)) > 0


def test_the_defaults_are_those_of_the_sampler_that_is_named(tmp_path: Path) -> None:
    """LCM's betas are others than DDIM's where the file leaves them out."""
    from diffusers import LCMScheduler

    _, schedule = read_scheduler(written(tmp_path, _class_name="LCMScheduler"))
    torch.testing.assert_close(
        schedule.alphas_cumprod, LCMScheduler().alphas_cumprod.double(), rtol=1e-6, atol=0
    )
    assert not torch.allclose(schedule.alphas_cumprod, DDIMScheduler().alphas_cumprod.double())
