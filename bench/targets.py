"""What can be claimed of a record, and the measure that stands for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PROMPT = "prompt"
TARGETS = ("image", "condition", PROMPT)

HEADLINE: Mapping[str, str] = MappingProxyType({"image": "ssim", "condition": "ssim", PROMPT: "token_accuracy"})
"""By target, the measure that flags are raised on and that ranks where no other is asked for."""
