"""``--dtype bf16``: the server computes in bfloat16, everything else in float32."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from bench.cell.runner import Runner
from bench.interfaces import Defense, Records, Silent, TrainingPlan
from victims.diffusion.parts.base import ModelParams
from victims.diffusion.split_controlnet import PROTOCOLS, SplitControlNet


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_bf16_is_fp32_up_to_rounding_and_the_wire_stays_float32(
    tiny_model: Path, records: Records, plan: TrainingPlan, protocol: str, tmp_path: Path
) -> None:
    losses = {}
    for dtype in ("fp32", "bf16"):
        victim = SplitControlNet(ModelParams(model=str(tiny_model)))
        chosen = dataclasses.replace(plan, dtype=dtype)
        capture = victim.train(
            records, Defense(), chosen, protocol=protocol, out=tmp_path / dtype, progress=Silent()
        )
        losses[dtype] = torch.tensor(capture.costs.losses)
        sent = [t for m in capture.transcript.messages for t in capture.transcript.read(m).values()]
        assert {t.dtype for t in sent} == {torch.float32, torch.int64}
        assert all(bool(t.isfinite().all()) for t in sent)
    assert not torch.equal(losses["bf16"], losses["fp32"]), "nothing was computed in bfloat16"
    torch.testing.assert_close(losses["bf16"], losses["fp32"], rtol=0.02, atol=0.02)


def test_a_cell_in_bf16_runs_end_to_end(make_job, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    job = make_job(attack="closed-form", epochs=1, batch_size=4, learning_rate=1e-3, dtype="bf16")
    result = Runner(tmp_path, Silent()).run(job)
    image = next(row for row in result.rows if row["target"] == "image")
    assert (image["status"], image["dtype"]) == ("ok", "bf16")
    assert image["ssim"] == pytest.approx(image["ssim_ceiling"], abs=1e-3), (
        "the wire lost precision"
    )
    assert all(math.isfinite(value) for value in result.utility.values())
