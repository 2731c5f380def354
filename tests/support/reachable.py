"""Objects that references lead to from a view, and those of them that an attack must not reach."""

from __future__ import annotations

import gc
import types

from bench.cell.job import Job
from bench.interfaces import Capture, Transcript, Victim
from bench.wire.secrets import Secrets


def reachable(root: object) -> list[object]:
    """Return every object that references lead to from ``root``, except modules and classes."""
    stop = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType, types.FrameType)
    seen: dict[int, object] = {}
    queue: list[object] = [root]
    while queue:
        item = queue.pop()
        if id(item) in seen or isinstance(item, stop):
            continue
        seen[id(item)] = item
        queue += gc.get_referents(item)
    return list(seen.values())


def forbidden(view: object, job: Job) -> list[object]:
    """Return what is reachable from a view and must not be."""
    private = {
        id(job.splits.victim),
        id(job.splits.victim.images),
        id(job.splits.calibration),
        id(job.splits.evaluation),
    }
    return [
        item
        for item in reachable(view)
        if isinstance(item, Secrets | Capture | Transcript | Victim | Job) or id(item) in private
    ]
