"""The condition computed from the recovered picture, for hints that are computed from pictures."""

from __future__ import annotations

import torch
from pydantic import Field

from attacks.common.via_picture import ViaPicture, picture
from bench.data.conditions import CHOICES, DRAWN, hints_from_pixels
from bench.interfaces import (
    UNET_FEATURES,
    Budget,
    Card,
    Certificate,
    Claim,
    Estimate,
    ImageBatch,
    NotApplicableError,
    Params,
    Progress,
    Public,
    View,
)

_EXAMPLES = 16
"""Auxiliary records on which the way of making hints is recognised."""
_ALIKE = 0.5
"""Share of the distance to other records' hints below which two hints are made alike."""


class HintFromImageParams(Params):
    """Parameters of ``hint-from-image``.

    Attributes:
        through: the attack that makes the picture, with its default parameters.
    """

    through: str = Field(default="posterior", min_length=1)


class HintFromImage(ViaPicture):
    """Computes the hint of another attack's picture; reads nothing of ``control_features`` for it.

    The way in which hints are made is recognised on the attacker's records: it is the known way
    whose results for their pictures are nearest to their hints. So a condition that is masked on
    the wire is as exposed as the picture.
    """

    name = "hint-from-image"
    Params = HintFromImageParams
    requires = frozenset({UNET_FEATURES})
    claimed_targets = ("condition",)
    default_budget = Budget(iterations=0, batch_size=64)
    certificates = (Certificate("split-controlnet", "no-gradient", "condition", "edge_f1", 0.6),)
    card = Card(
        summary=(
            "Computes the hint anew from the picture that another attack (through, default "
            "posterior) recovers."
        ),
        source="this project",
        needs=(
            "what the attack named by through needs; auxiliary records whose hints are computed "
            "from their pictures"
        ),
        cost="that of the other attack, and one pass of an edge detector or filter per record",
        notes=(
            "Not applicable to hints that are not computed from pixels: random hints, depth, "
            "segmentation. Thin lines move by a pixel when a picture is slightly wrong, so edge_f1 "
            "is more informative than ssim."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        way = way_of_hints(view.public)
        assert self.through is not None
        recovered = picture(self.through, view, rng, budget, progress)
        drawn = hints_from_pixels(way, recovered.uint8())
        assert drawn is not None  # way_of_hints has made hints in this way
        images = ImageBatch.from_uint8(drawn)
        return Claim({"condition": Estimate(images, view.public.codec.encode(images))})


def way_of_hints(public: Public) -> str:
    """Return the name of the computation that makes hints like those of the attacker's records.

    Raises:
        NotApplicableError: there are fewer than two records, or none of the known ways comes near.
    """
    count = min(_EXAMPLES, len(public.auxiliary))
    if count < 2:
        raise NotApplicableError("needs 2 auxiliary records to recognise how hints are made")
    known = public.auxiliary.select(range(count))
    hints = known.conditions.float()
    between_records = float((hints - hints.roll(1, 0)).abs().mean())
    recomputed = {name: hints_from_pixels(name, known.images) for name in (*CHOICES, *DRAWN)}
    distances = {
        name: float((pictures - hints).abs().mean())
        for name, pictures in recomputed.items()
        if pictures is not None
    }
    best = min(distances, key=lambda name: distances[name])
    if distances[best] > _ALIKE * between_records:
        raise NotApplicableError(
            "the hints of the attacker's own records are not computed from their pictures"
        )
    return best
