"""Views of a wire made up in a test, with the public model that an attacker knows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from bench.interfaces.public import Public
from bench.interfaces.threat import ThreatModel, View
from bench.types.channels import Channel
from bench.types.records import Records
from bench.types.schedule import NoiseSchedule
from bench.wire.transcript import Release
from victims.stable_diffusion.model import StableDiffusion


def made_public(model: StableDiffusion, auxiliary: Records) -> Public:
    """What is known of an undefended ``no-gradient`` client of ``model``, but for the client itself."""
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
