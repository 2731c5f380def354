"""What ``bench run`` prints about each cell of a suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.cell.job import Job
from bench.cell.result import CellResult
from bench.ledger.ledger import Ledger
from bench.planning.suite_plan import SuitePlan
from bench.reports.comparability import view_label
from bench.types.targets import HEADLINE


def cell_line(job: Job, result: CellResult, number: int, total: int) -> str:
    """Return one line about a cell: its status, its parts, and its scores or the reason."""
    cell = job.cell
    defense = "+".join(part.label for part in cell.capture.defense)
    view = view_label(cell.threat.name, ",".join(cell.threat.withhold))
    parts = (
        f"{cell.attack.attack.label} on {cell.capture.victim.label} ({cell.capture.protocol}), "
        f"{defense}, {view}, seed {cell.capture.seed}"
    )
    scores = [
        f"{row['target']} {HEADLINE[str(row['target'])]} {score:.3f}"
        for row in result.rows
        if isinstance(score := row.get(HEADLINE[str(row["target"])]), float)
    ]
    end = ", ".join(scores) if result.status == "ok" else str(result.rows[0]["reason"])
    return f"[{number}/{total}] {result.status} {parts}: {end} ({result.seconds:.0f} s)"


def known_results(
    plan: SuitePlan, ledger: Ledger, *, fresh: bool, retry_failed: bool
) -> Iterator[tuple[Job, CellResult, int, int]]:
    """Yield the cells that are in the ledger and are not run again.

    Yields:
        The job, its result as the ledger has it, its number, and how many there are.
    """
    remaining = plan.remaining(ledger.entries(), fresh=fresh, retry_failed=retry_failed)
    waiting = {job.cell.cell_id for job in remaining}
    known = [job for job in plan.jobs if job.cell.cell_id not in waiting]
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in ledger.rows() if known else ():
        rows.setdefault(str(row["cell_id"]), []).append(row)
    for number, job in enumerate(known, 1):
        yield job, CellResult(rows=rows[job.cell.cell_id]), number, len(known)
