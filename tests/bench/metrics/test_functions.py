"""Metrics as plain functions: examples in docstrings, errors, and lazy imports."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import pytest
import torch

import bench.metrics
from bench.interfaces import BenchError, ImageBatch
from bench.metrics import EXPORTS, edge_f1, lpips, mse, psnr, ssim

MODULES = [
    "bench.metrics",
    *(f"bench.metrics.{m.name}" for m in iter_modules(bench.metrics.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0


@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_every_public_function_has_an_example_and_no_module_has_its_name(name: str) -> None:
    function = getattr(bench.metrics, name)
    assert ">>>" in (function.__doc__ or "") or name == "kid"
    assert f"bench.metrics.{name}" not in MODULES


def test_importing_the_package_loads_no_torch() -> None:
    script = (
        "import sys, bench.metrics; "
        "print(sorted({'torch', 'numpy', 'pandas', 'skimage'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_images_that_do_not_pair_are_refused_in_one_sentence() -> None:
    one, two = (ImageBatch(torch.zeros(n, 3, 16, 16)) for n in (1, 2))
    message = r"^the claim's images are \(1, 3, 16, 16\), the truth's are \(2, 3, 16, 16\)$"
    for function in (ssim, psnr, mse, edge_f1):
        with pytest.raises(BenchError, match=message):
            function(one, two)
    with pytest.raises(BenchError, match=message):
        lpips(one, two, None)  # type: ignore[arg-type]
