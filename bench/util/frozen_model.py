"""An immutable pydantic model with one canonical form and one hash."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Base class of immutable models that refuse unknown fields and have a canonical JSON form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def canonical(self) -> str:
        """Return JSON with sorted keys and no blanks; equal models give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def content_hash(self) -> str:
        """Return the sha256 of the canonical form, 64 hex digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()
