"""The functions whose code, besides the plugins, shapes the rows of a cell."""

from __future__ import annotations

from bench.scoring.rows import make_rows
from bench.util.code_identity import Root


def cell_roots() -> tuple[Root, ...]:
    """Return the stages between a capture and its rows; plugins count by themselves."""
    from bench.backbones.selection import load_backbones
    from bench.cell.attacker import Attacker
    from bench.cell.attempt import run_attack
    from bench.cell.judge import Judge
    from bench.cell.measures import measure_utility
    from bench.cell.scores import score_claim
    from bench.cell.targets import choose_targets, update_groups
    from bench.scoring.leakage import leakage

    stages = (choose_targets, update_groups, Attacker, run_attack, Judge, score_claim)
    return *stages, leakage, measure_utility, make_rows, load_backbones
