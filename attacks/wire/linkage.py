"""Linkage: which releases are of one record, across epochs."""

from __future__ import annotations

from typing import Literal

import torch

from attacks.common.release_linking import SOURCES, by_order, link_view
from attacks.common.undo.view import without_known_defenses
from bench.interfaces import (
    CONTROL_FEATURES,
    NOISE_TARGET,
    PROMPT_EMBEDDING,
    UNET_FEATURES,
    Attack,
    Budget,
    Card,
    Certificate,
    Claim,
    Links,
    NotApplicableError,
    Params,
    Progress,
    View,
)
from bench.types.targets import LINK


class LinkageParams(Params):
    """What linkage looks at.

    Attributes:
    by: ``all`` uses every mark in view together; ``image``, ``condition``, ``hint`` or ``prompt``
    one of them;
        ``order`` the place within the epoch, a control that finds nothing where the client
        shuffles.
    """

    by: Literal["all", "image", "condition", "hint", "prompt", "order"] = "all"


class Linkage(Attack):
    """Links releases by marks that stay with a record: z0, z_c, hint block's answer, prompt."""

    name = "linkage"
    claimed_targets = (LINK,)
    Params = LinkageParams
    uses_history = True
    default_budget = Budget(iterations=0, batch_size=64)
    card = Card(
        summary="Tells which releases of different epochs are of one record; claims links, "
        "no pictures.",
        source="this project; links releases on the wire of arXiv:2409.08503",
        needs="two epochs; unet_features with control_features or noise_target, or "
        "prompt_embedding",
        cost="seconds: one linear solve a release and one assignment an epoch",
        notes="Its row has the target link. The client shuffles, so by=order is a control. "
        "Records with the same "
        "mark cannot be distinguished and are not linked. What is linked can be averaged: see "
        "posterior.",
    )
    certificates = (Certificate("split-controlnet", "no-gradient", "link", "link_f1", 0.95),)

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        epochs = [release.epoch for release in view.releases]
        if len(set(epochs)) < 2:
            raise NotApplicableError("the view holds one epoch, so there is nothing to link")
        used: tuple[str, ...]
        with progress.stage("linking", 1) as advance:
            if self.params.by == "order":
                _touch(view)
                labels, used = by_order(epochs), ("order",)
            else:
                found, used = link_view(
                    without_known_defenses(view),
                    SOURCES if self.params.by == "all" else (self.params.by,),
                )
                if found is None:
                    raise NotApplicableError(
                        "nothing that stays with a record can be read off this view"
                    )
                labels = found
            advance(1)
        diagnostics = {
            "records_told_apart": float(len(set(labels))),
            "link_sources": float(len(used)),
        }
        return Claim({}, diagnostics=diagnostics, links=Links(tuple(labels)))


def _touch(view: View) -> None:
    """Note in the row that the wire was looked at.

    The order is one of messages, whatever they carry.
    """
    for channel in (UNET_FEATURES, CONTROL_FEATURES, PROMPT_EMBEDDING, NOISE_TARGET):
        if view.has(channel):
            view.read(channel)
            return
    raise NotApplicableError("no message of single records is in view")
