"""Data are drawn bit for bit alike by every processor: here, by one processor under several
settings.

Environment variables keep numpy, BLAS, torch, the C library and the JPEG decoder from instructions
that older processors lack. Each setting needs a process of its own, for libraries read it when they
start.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.support.drawing import GOLDEN
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

LIBRARY = "library:"
_UP_TO_AVX2 = ("SSSE3", "SSE41", "POPCNT", "SSE42", "AVX", "F16C", "FMA3", "AVX2", "X86_V3")
"""As numpy names them, which differs between its versions."""


def features(*keep: str) -> str:
    """What numpy can be told to do without here, except ``keep``: a name that it does not know
    would be an error.
    """
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]  # type: ignore[index, call-overload]
    return " ".join(name for name in found if name not in keep)


SETTINGS = {
    "as it is": {},
    "as a processor with AVX2": {
        "NPY_DISABLE_CPU_FEATURES": features(*_UP_TO_AVX2),
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL",
        "JSIMD_FORCESSE2": "1",
    },
    "as a processor with SSE alone": {
        "NPY_DISABLE_CPU_FEATURES": features(),
        "OPENBLAS_CORETYPE": "Prescott",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4,-AVX",
        "JSIMD_FORCENONE": "1",
    },
}
FIRST, *OTHERS = SETTINGS


@dataclass
class Drawn:
    """A process that draws.

    Attributes:
        arrays: where it writes what it draws.
    """

    process: subprocess.Popen[str]
    arrays: Path
    _digests: dict[str, str] = field(default_factory=dict)

    def digests(self) -> dict[str, str]:
        """What it printed; waits for its end."""
        if not self._digests:
            out, errors = self.process.communicate()
            assert self.process.returncode == 0, errors
            self._digests = json.loads(out)
        return self._digests


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Drawn]]:
    """A process for each setting, all started at once."""
    folder = tmp_path_factory.mktemp("drawn")
    processes = {}
    for i, (name, setting) in enumerate(SETTINGS.items()):
        arrays = folder / f"{i}.npz"
        command = [sys.executable, "-m", "tests.support.drawing", "--keep", str(arrays)]
        environment = {**os.environ, **setting, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes[name] = Drawn(process, arrays)
    yield processes
    for one in processes.values():
        one.process.kill()
        one.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("setting", OTHERS)
def test_every_setting_draws_the_same_bits(setting: str, drawn: dict[str, Drawn]) -> None:
    first, other = drawn[FIRST].digests(), drawn[setting].digests()
    assert set(first) == set(other)
    differing = [
        name for name in first if first[name] != other[name] and not name.startswith(LIBRARY)
    ]
    assert not differing, report(differing, drawn[FIRST].arrays, drawn[setting].arrays)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="digests are of x86-64 processors"
)
def test_pictures_are_those_of_the_committed_digests(drawn: dict[str, Drawn]) -> None:
    """After a change of drawing on purpose, or of numpy's generators: ``python -m
    tests.support.drawing --golden``.
    """
    found = drawn[FIRST].digests()
    assert {name: digest for name, digest in found.items() if name in _golden()} == _golden()


def _golden() -> dict[str, str]:
    committed: dict[str, str] = json.loads(GOLDEN.read_text())
    return committed


def report(names: list[str], first: Path, other: Path) -> str:
    """How many values of each array differ, and by how much at most."""
    one, two = np.load(first), np.load(other)
    lines = []
    for name in names:
        if name not in one:
            lines.append(f"{name} differs")
            continue
        by = np.abs(one[name].astype(np.float64) - two[name].astype(np.float64))
        lines.append(
            f"{name}: {np.count_nonzero(by)} of {by.size} values differ, by {by.max():.3g} at most"
        )
    return "\n".join(lines)


@pytest.mark.skipif(not features(), reason="numpy has one code path on this processor")
def test_the_settings_reach_the_libraries(drawn: dict[str, Drawn]) -> None:
    """Sabotage: functions that are not exact do differ, so the comparison above would see them."""
    first, oldest = drawn[FIRST].digests(), drawn[OTHERS[-1]].digests()
    changed = {name for name in first if name.startswith(LIBRARY) and first[name] != oldest[name]}
    assert {f"{LIBRARY}numpy float32", f"{LIBRARY}blas"} <= changed
