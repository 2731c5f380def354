"""Views of a wire made up in a test, with the public model that an attacker knows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from bench.interfaces import Channel, NoiseSchedule, Public, Records, Release, ThreatModel, View
from victims.stable_diffusion.model import StableDiffusion


def made_public(model: StableDiffusion, auxiliary: Records) -> Public:
    """Return the public knowledge on an undefended ``no-gradient`` victim, without its client."""
    return Public(
        client=None,
        codec=model,
        schedule=NoiseSchedule.stable_diffusion(),
        stem=model.stem(),
        defense=None,
        protocol="no-gradient",
        auxiliary=auxiliary,
        device="cpu",
        text=model.text(),
    )


def made_view(public: Public, rows: Mapping[Channel, Tensor]) -> View:
    """One step whose releases, all of them targets, sent ``rows``; nothing is withheld."""
    count = len(next(iter(rows.values())))
    return View(
        granted=frozenset(rows),
        rows=rows,
        parts={},
        releases=tuple(Release(0, 0, i) for i in range(count)),
        targets=tuple(range(count)),
        batch_sizes=(count,) * count,
        public=public,
        threat=ThreatModel(),
    )
