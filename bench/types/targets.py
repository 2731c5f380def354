"""What can be claimed of a record, and the measure that stands for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PROMPT = "prompt"
PICTURE_TARGETS = ("image", "condition")
TARGETS = (*PICTURE_TARGETS, PROMPT)
"""What an attack speaks of if it does not say otherwise: its cells have a row for each."""
ATTRIBUTE, IDENTITY = "attribute", "identity"
ALL_TARGETS = (*TARGETS, ATTRIBUTE, IDENTITY)
"""What a claim may hold of each record."""
LINK = "link"
"""Which releases are of one record (``bench.types.links``)."""

HEADLINE: Mapping[str, str] = MappingProxyType(
    {
        "image": "ssim",
        "condition": "ssim",
        PROMPT: "rouge_l",
        ATTRIBUTE: "attribute_accuracy",
        IDENTITY: "identity_top1",
        LINK: "link_f1",
    }
)
"""By target, the measure that flags are raised on and that ranks where no other is asked for.

Of prompts not ``token_accuracy``: a paraphrase of every word moved by one place scores nothing
there, so it would call a prompt safe that the picture gives away.
"""
