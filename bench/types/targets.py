"""The targets of claims, and the metric that stands for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PROMPT = "prompt"
PICTURE_TARGETS = ("image", "condition")
TARGETS = (*PICTURE_TARGETS, PROMPT)
"""The targets that an attack claims unless it sets ``claimed_targets``."""
ATTRIBUTE, IDENTITY = "attribute", "identity"
ALL_TARGETS = (*TARGETS, ATTRIBUTE, IDENTITY)
"""Every target of which a claim may hold one estimate per record."""
LINK = "link"
"""The target of claims about which releases are of one record (``bench.types.links``)."""

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
"""By target, the metric that decides flags, and rankings for which no other metric is chosen.

For prompts it is not ``token_accuracy``: a claim whose words are all shifted by one place scores 0
there, so that metric would call a prompt safe that the picture reveals.
"""
