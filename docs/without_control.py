"""Edge F1 of samples with and without the trained ControlNet: python docs/without_control.py RESULTS_DIR.

Reads the undefended seed-0 captures that ``docs/study.sh`` left in RESULTS_DIR.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas

from bench.interfaces import Defense
from bench.metrics.fidelity import condition_fidelity
from bench.planning import Planner, Request
from bench.progress import Silent
from victims.sampling import SamplingPlan, sample

results = Path(sys.argv[1])
rows = pandas.read_csv(results / "rows.csv").query("defense == 'none' and seed == 0").drop_duplicates("capture_id")
planner = Planner(Silent())
held_out = planner.plan(Request()).splits.evaluation
for row in rows.itertuples():
    if row.protocol not in ("no-gradient", "none"):
        continue
    victim = planner.victims.load(row.victim)()
    model = results / "captures" / row.capture_id / "model"
    trained = victim.trained(model, Defense(), row.protocol, "cpu")
    for scale in (0.0, 1.0):
        plan = SamplingPlan(steps=12, guidance=2.0, seed=0)
        pictures = sample(trained, held_out, plan, Silent(), scale=scale)
        score = condition_fidelity(pictures, held_out.condition_batch(), "canny")["condition_edge_f1"]
        print(f"{row.victim} {row.protocol}: control scale {scale:g}, edge F1 {score:.3f}")
