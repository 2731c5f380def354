"""Curves of success over an attack's budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.interfaces import Attack, BudgetAxis, RequestError
from bench.interfaces.registry import Registry, listing
from bench.planning.curve import budget_axis_of, curve_suite
from bench.reports.curve import curve_points, curve_table, draw_curves

AXES: dict[str, Any] = {
    "attacks": ("dlg",),
    "defenses": ("none", "sign"),
    "victims": ("federated-classifier",),
}
WITH_EFFORT = [
    name
    for name in listing("attacks").names()
    if Registry("attacks", Attack).load(name).budget_axis is not None  # type: ignore[type-abstract]
]


def test_a_block_for_every_value_of_the_effort():
    suite = curve_suite(AXES, {"targets": 4})
    values = budget_axis_of("dlg").values
    assert [block.settings.iterations for block in suite.content.blocks.values()] == list(values)
    assert all(len(list(block.points())) == 2 for block in suite.content.blocks.values())
    assert all(block.settings.targets == 4 for block in suite.content.blocks.values())


def test_a_parameter_of_the_attack_can_be_the_knob(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "bench.planning.curve.budget_axis_of", lambda attack: BudgetAxis("restarts", (1, 3))
    )
    suite = curve_suite({**AXES, "attacks": ("dlg:layerwise=true",)}, {})
    attacks = [block.attacks for block in suite.content.blocks.values()]
    assert attacks == [("dlg:layerwise=true,restarts=1",), ("dlg:layerwise=true,restarts=3",)]
    with pytest.raises(RequestError, match="restarts is what the curve runs over"):
        curve_suite({**AXES, "attacks": ("dlg:restarts=2",)}, {})


def test_what_has_no_curve_is_told_in_a_sentence():
    with pytest.raises(RequestError, match="no budget to draw a curve over"):
        budget_axis_of("analytic")
    with pytest.raises(RequestError, match="iterations is what the curve runs over"):
        curve_suite(AXES, {"iterations": 5})


@pytest.mark.parametrize("name", WITH_EFFORT)
def test_efforts_rise_and_name_a_knob_that_is_there(name: str):
    cls = Registry("attacks", Attack).load(name)  # type: ignore[type-abstract]
    axis = budget_axis_of(name)
    assert list(axis.values) == sorted(set(axis.values))
    assert len(axis.values) > 2
    if not axis.in_budget:
        assert axis.knob in cls.Params.model_fields
        cls.build({axis.knob: axis.values[-1]})
    own = cls.default_budget.iterations if axis.knob == "iterations" else 0
    assert axis.values[-1] >= own


def test_points_average_seeds_and_come_in_order(make_job: Any, tmp_path: Path):
    def row(iterations: int, seed: int, score: float | None, status: str = "ok") -> dict[str, Any]:
        job = make_job(
            victim="federated-classifier",
            attack="dlg",
            iterations=iterations,
            seed=seed,
            model=None,
        )
        return {
            "spec": job.cell.canonical(),
            "victim": "federated-classifier",
            "protocol": "fedsgd",
            "defense": "none",
            "threat_model": "server",
            "withheld_from_view": "",
            "target": "image",
            "status": status,
            "ssim_normalized": score,
        }

    rows = [row(8, 0, 0.9), row(2, 0, 0.25), row(2, 1, 0.75), row(4, 0, None, "failed")]
    few, many = curve_points(rows)
    assert (few.value, few.normalized, few.low, few.high, few.seeds) == (2, 0.5, 0.25, 0.75, 2)
    assert (many.value, many.knob, many.attack, many.seeds) == (8, "iterations", "dlg", 1)
    assert list(curve_table([few, many])["value"]) == [2, 8]
    draw_curves([few, many], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
