"""Unmixing: the records behind releases that are weighted means of two of them."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from attacks.common.own_latents import own_latents
from attacks.common.spectral_prior import Spectrum, dct
from attacks.common.undo.inverse import known_parts
from attacks.common.undo.view import without_known_defenses
from attacks.common.wire_algebra import condition_latents, noise_target, noisy_latents
from attacks.wire.parts.mixture import Unmixed, unmix
from bench.interfaces import (
    TIMESTEP,
    UNET_FEATURES,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Certificate,
    Claim,
    NotApplicableError,
    Params,
    Progress,
    View,
)

_ENOUGH = 128  # auxiliary records for the spectra


class UnmixParams(Params):
    """How many epochs are put together.

    Attributes:
    epochs: releases of at most so many epochs are put together, the attacked one and those nearest
    in time.
    """

    epochs: int = Field(default=8, ge=1)


class Unmix(Attack):
    """Reads the mixed latents of whole epochs in closed form, then separates the records in them.

    1. z0 and z_c of every release as in ``closed-form``; under mixup they are exact means of two
    records' latents. 2. Pairs and shares of each step from second moments of the latents, whitened
    by the spectra of the attacker's own;
       then from all epochs together, which are combinations of the same records
       (``attacks.wire.parts.mixture``).
    3. The records by least squares over all releases that they have a share in.
    """

    name = "unmix"
    Params = UnmixParams
    requires = frozenset({UNET_FEATURES})
    uses_history = True
    default_budget = Budget(iterations=0, batch_size=64)
    budget_axis = BudgetAxis("epochs", (1, 2, 3, 8))
    certificates = (Certificate("split-controlnet", "no-gradient", "image", "ssim", 0.9),)
    card = Card(
        summary="Separates releases that mix two records, by second moments and across epochs.",
        source="this project; cluster and regress as in arXiv:2011.05315",
        needs="unet_features, timestep and noise target of whole epochs; two auxiliary records",
        cost="seconds to minutes: a small search a step, then least squares over all releases",
        notes="Where the noise target is hidden the mixed latents are not exact, and it does "
        "not apply. From one epoch "
        "the shares are estimates, and a ghost of the partner is left; from two on they are "
        "solved for. Without mixup "
        "it averages a record's epochs. The condition is claimed under no-gradient only.",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        codec = view.public.codec
        mixed = [part.mixed_records() for part in known_parts(view)]
        if any(count is not None and count > 2 for count in mixed):
            raise NotApplicableError("the known defence mixes more than two records")
        with progress.stage("unmixing", 3) as advance:
            view = without_known_defenses(view)
            latents = _mixed(view)
            advance(1)
            kept, steps = self._steps(view)
            white = [
                spectrum.whitened(latents[kind][kept])
                for kind, spectrum in _spectra(view, rng).items()
                if kind in latents
            ]
            advance(1)
            found = unmix(white, steps, [view.releases[i].epoch for i in kept])
            advance(1)
        wanted = [kept.index(i) for i in view.targets]
        claimed = {kind: _claimed(found, maps[kept], wanted) for kind, maps in latents.items()}
        own = torch.cat([mixture.own for mixture in found.mixtures])
        return Claim(
            {kind: codec.estimate(maps) for kind, maps in claimed.items()},
            diagnostics={
                "own_share": float(own.mean()),
                "unexplained": found.left,
                "records_told_apart": float(len(torch.unique(found.labels))),
            },
        )

    def _steps(self, view: View) -> tuple[list[int], list[list[int]]]:
        """Positions in the view of the releases used, and the steps as positions among those.

        Raises:
            NotApplicableError: a step of the attacked epoch is not in view as a whole.
        """
        at = view.releases[view.targets[0]].epoch
        near = sorted({r.epoch for r in view.releases}, key=lambda e: (abs(e - at), e))[
            : self.params.epochs
        ]
        near += sorted({view.releases[i].epoch for i in view.targets} - set(near))
        kept = [i for i, release in enumerate(view.releases) if release.epoch in near]
        of_step: dict[int, list[int]] = {}
        for place, i in enumerate(kept):
            of_step.setdefault(view.releases[i].step, []).append(place)
        sizes = view.batch_sizes(every=True)
        if any(len(rows) != sizes[kept[rows[0]]] for rows in of_step.values()):
            raise NotApplicableError(
                "not all rows of a step are in view, so a record's partner may be missing"
            )
        return kept, [
            sorted(rows, key=lambda place: view.releases[kept[place]].row)
            for rows in of_step.values()
        ]


def _mixed(view: View) -> dict[str, Tensor]:
    """z0, and z_c where h_ctrl shows it, of every release in view."""
    target = noise_target(view, every=True)
    if target is None or not view.has(TIMESTEP):
        raise NotApplicableError(
            "without timestep and noise target the mixed latents are not known exactly"
        )
    noisy = noisy_latents(view, every=True).inputs
    found = {
        "image": view.public.schedule.clean(noisy, target, view.read(TIMESTEP, every=True).cpu())
    }
    if (condition := condition_latents(view, noisy, every=True)) is not None:
        found["condition"] = condition
    return found


def _claimed(found: Unmixed, mixed: Tensor, wanted: list[int]) -> Tensor:
    """The latents of the wanted releases' own records, ``(T, 4, h, w)``."""
    return found.records(mixed.flatten(1))[wanted].float().view(len(wanted), *mixed.shape[1:])


class _White:
    """Latents less what all pictures share, every spatial frequency as strong as another."""

    def __init__(self, known: Tensor) -> None:
        self._prior = Spectrum.fit(known.float().cpu())

    def whitened(self, maps: Tensor) -> Tensor:
        """``(R, D)`` float64."""
        return (
            dct((maps - self._prior.mean).double()) / self._prior.variance.double().sqrt()
        ).flatten(1)


def _spectra(view: View, rng: torch.Generator) -> dict[str, _White]:
    """Of the attacker's own images and conditions.

    Raises:
        NotApplicableError: it has fewer than 2 records.
    """
    public, count = view.public, min(_ENOUGH, len(view.public.auxiliary))
    if count < 2:
        raise NotApplicableError(
            "needs at least 2 auxiliary records to know what all pictures share"
        )
    records = public.auxiliary.select(range(count))
    if public.client is not None:
        made = own_latents(public, count, rng)
        return {"image": _White(made.image_latents), "condition": _White(made.condition_latents)}
    encode = public.codec.encode
    return {
        "image": _White(encode(records.image_batch())),
        "condition": _White(encode(records.condition_batch())),
    }
