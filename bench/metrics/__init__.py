"""Metrics as plain functions of a claim and its truth, and as the plugins that rows are made of.

>>> from bench.metrics import psnr
>>> from bench.types.images import ImageBatch
>>> import torch
>>> psnr(ImageBatch(torch.full((1, 3, 16, 16), 0.5)), ImageBatch(torch.zeros(1, 3, 16, 16))).item()
6.020599913279624

A function is imported when it is asked for, so that this package itself loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.util.lazy import lazy_exports

if TYPE_CHECKING:
    from bench.metrics.dependence import (
        corrected_distance_correlation as corrected_distance_correlation,
    )
    from bench.metrics.dependence import distance_correlation as distance_correlation
    from bench.metrics.distribution import fid as fid
    from bench.metrics.distribution import kid as kid
    from bench.metrics.edge_agreement import edge_f1 as edge_f1
    from bench.metrics.fidelity import condition_fidelity as condition_fidelity
    from bench.metrics.latent_error import latent_nmse as latent_nmse
    from bench.metrics.peak_signal_to_noise import psnr as psnr
    from bench.metrics.perceptual_distance import lpips as lpips
    from bench.metrics.rouge import rouge_l as rouge_l
    from bench.metrics.squared_error import mse as mse
    from bench.metrics.structural_similarity import ssim as ssim

EXPORTS = {
    "condition_fidelity": "bench.metrics.fidelity",
    "corrected_distance_correlation": "bench.metrics.dependence",
    "distance_correlation": "bench.metrics.dependence",
    "edge_f1": "bench.metrics.edge_agreement",
    "fid": "bench.metrics.distribution",
    "kid": "bench.metrics.distribution",
    "latent_nmse": "bench.metrics.latent_error",
    "lpips": "bench.metrics.perceptual_distance",
    "mse": "bench.metrics.squared_error",
    "psnr": "bench.metrics.peak_signal_to_noise",
    "rouge_l": "bench.metrics.rouge",
    "ssim": "bench.metrics.structural_similarity",
}
"""The module that defines each public name."""

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
