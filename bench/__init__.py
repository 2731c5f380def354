"""splitleak: an attack-and-defence benchmark for split training of ControlNet and Stable Diffusion.

A grid of cells, as on the command line, with its rows as a DataFrame:

    import bench

    results = bench.run(attack="closed-form", defense=["none", "timestep"], seed=[0, 1, 2])
    results.rows
    results.summary(metric="ssim").to_markdown()

Or step by step, with every object at hand:

    capture = bench.capture(victim="split-controlnet", defense="timestep")
    view = bench.view(capture, threat="server", withhold=["noise_target"])
    claim = bench.attack("closed-form", view)
    bench.score(claim, capture)

Importing the package loads nothing heavy; a function is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.util.import_path import leave_working_directory
from bench.util.lazy import lazy_exports

if TYPE_CHECKING:
    from bench.api.catalogue import build as build
    from bench.api.catalogue import describe as describe
    from bench.api.catalogue import load as load
    from bench.api.catalogue import plugins as plugins
    from bench.api.grid import Results as Results
    from bench.api.grid import run as run
    from bench.api.rows import load_results as load_results
    from bench.api.rows import load_scores as load_scores
    from bench.api.steps import TrainedVictim as TrainedVictim
    from bench.api.steps import attack as attack
    from bench.api.steps import capture as capture
    from bench.api.steps import score as score
    from bench.api.steps import view as view
    from bench.api.tables import ReportTable as ReportTable
    from bench.api.tables import frontier as frontier
    from bench.api.tables import leaderboard as leaderboard
    from bench.api.tables import summary as summary
    from bench.api.training import train as train

__version__ = "0.1.0"

EXPORTS = {
    "ReportTable": "bench.api.tables",
    "Results": "bench.api.grid",
    "TrainedVictim": "bench.api.steps",
    "attack": "bench.api.steps",
    "build": "bench.api.catalogue",
    "capture": "bench.api.steps",
    "describe": "bench.api.catalogue",
    "frontier": "bench.api.tables",
    "leaderboard": "bench.api.tables",
    "load": "bench.api.catalogue",
    "load_results": "bench.api.rows",
    "load_scores": "bench.api.rows",
    "plugins": "bench.api.catalogue",
    "run": "bench.api.grid",
    "score": "bench.api.steps",
    "summary": "bench.api.tables",
    "train": "bench.api.training",
    "view": "bench.api.steps",
}
"""The module that defines each public name."""

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)

leave_working_directory()
