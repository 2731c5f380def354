"""The functions whose code, beside the plugins, shapes the rows of a cell."""

from __future__ import annotations

from bench.scoring.rows import make_rows
from bench.util.code_identity import Root


def cell_roots() -> tuple[Root, ...]:
    """Functions that turn a capture into rows, apart from those of attack and metrics."""
    from bench.backbones.selection import load_backbones
    from bench.cell.attempt import choose_targets, run_attack
    from bench.cell.judging import score_attempt
    from bench.scoring.leakage import leakage

    return choose_targets, run_attack, score_attempt, leakage, make_rows, load_backbones
