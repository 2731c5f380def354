"""Chooses the backbones of a run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.backbones import clip, external_backbones
from bench.backbones.embedded_backbone import load_embedded
from bench.interfaces.backbone import ROLES, BackboneSet
from bench.util.errors import DataError, RequestError

FITS: dict[str, tuple[str, ...]] = {
    "alex": ("perceptual",),
    "vgg": ("perceptual",),
    "inception-v3": ("distribution",),
    **dict.fromkeys(clip.PUBLISHED, ("identity", "prompt")),
}
"""The roles that a backbone from the user's files can have."""

OWN_CLIP = "clip:"
AUTO = ("alex", "inception-v3", *clip.PUBLISHED)


def load_backbones(choice: str = "auto", weights_dir: Path | None = None) -> BackboneSet:
    """Return the extractors of one run.

    ``embedded`` is the included backbone in every role. ``auto`` takes in every role a published
    one (``alex``, ``inception-v3``, CLIP) where the user's files are found, else the included one.
    Any other name must be loaded, in all roles that it fits: ``alex`` or ``vgg``, ``inception-v3``,
    ``clip-vit-base-patch32`` or ``clip-vit-large-patch14``, ``clip:DIRECTORY``. ``role=name`` sets
    one role and precedes plain names. Roles without a name are ``embedded``.

    Args:
        choice: names separated by commas.
        weights_dir: where the user's files are; None stands for the caches of PyTorch and of the
            Hugging Face hub.

    Raises:
        RequestError: a name or role is unknown, they do not fit, or a role is named twice.
        DataError: the included weights are missing, or a named file is missing, damaged or has
            another hash.
    """
    base, wanted = _parse(choice)
    files = _Files(weights_dir)
    roles: dict[str, Any] = {}
    for role in ROLES:
        if role in wanted:
            roles[role] = files.load(wanted[role])
        else:
            roles[role] = (files.first_usable(role) if base == "auto" else None) or load_embedded()
    return BackboneSet(**roles)


def _parse(choice: str) -> tuple[str, dict[str, str]]:
    """Return the default for roles without a name, and the name of each other role."""
    bases: list[str] = []
    general: dict[str, str] = {}
    special: dict[str, str] = {}
    for item in (part.strip() for part in choice.split(",")):
        role, equals, name = item.partition("=") if not item.startswith(OWN_CLIP) else ("", "", "")
        if not equals and item in ("auto", "embedded"):
            bases.append(item)
            continue
        if not equals:
            role, name = "", item
        fits = _fits(name)
        if role and role not in ROLES:
            raise RequestError(f"unknown role {role!r} of a backbone; known: {', '.join(ROLES)}")
        if role and role not in fits:
            raise RequestError(f"backbone {name!r} cannot be {role}; it can be {' or '.join(fits)}")
        for one in (role,) if role else fits:
            into = special if role else general
            if into.setdefault(one, name) != name:
                raise RequestError(
                    f"backbones: choose one of {into[one]} and {name} for {one}; a row has one"
                )
    if len(bases) > 1:
        raise RequestError("backbones: choose one of auto and embedded")
    return (bases[0] if bases else "embedded"), {**general, **special}


def _fits(name: str) -> tuple[str, ...]:
    if name == "embedded":
        return ROLES
    if name.startswith(OWN_CLIP) and name != OWN_CLIP:
        return ("identity", "prompt")
    if name not in FITS:
        known = ", ".join(("auto", "embedded", *FITS, "clip:DIRECTORY"))
        raise RequestError(f"unknown backbone {name!r}; known: {known}")
    return FITS[name]


class _Files:
    """The user's files; each is read once, whatever its roles."""

    def __init__(self, weights_dir: Path | None) -> None:
        self._weights_dir = weights_dir
        self._checkpoints = (
            external_backbones.default_folder() if weights_dir is None else weights_dir
        )
        self._loaded: dict[str, Any] = {}
        self._unusable: set[str] = set()

    def load(self, name: str) -> Any:
        """Return the backbone of a name.

        Raises:
            DataError: its files are missing, damaged or different.
        """
        if name not in self._loaded:
            self._loaded[name] = self._read(name)
        return self._loaded[name]

    def first_usable(self, role: str) -> Any:
        """Return the first usable backbone of ``AUTO`` for a role, or None.

        Files that are there and not usable cause one warning.
        """
        for name in AUTO:
            if role not in FITS[name] or name in self._unusable or not self._there(name):
                continue
            try:
                return self.load(name)
            except DataError as error:
                self._unusable.add(name)
                warnings.warn(f"{error}; using the embedded backbone instead", stacklevel=4)
        return None

    def _there(self, name: str) -> bool:
        if name in clip.PUBLISHED:
            return clip.find(name, self._weights_dir) is not None
        return external_backbones.locate(name, self._checkpoints) is not None

    def _read(self, name: str) -> Any:
        if name == "embedded":
            return load_embedded()
        if name.startswith(OWN_CLIP):
            return clip.load_directory(Path(name.removeprefix(OWN_CLIP)).expanduser())
        if name in clip.PUBLISHED:
            return clip.load_published(name, self._weights_dir)
        if name == "inception-v3":
            return external_backbones.InceptionBackbone.load(self._checkpoints)
        return external_backbones.LpipsBackbone.load(name, self._checkpoints)


def backbone_names(backbones: BackboneSet) -> tuple[str, ...]:
    """Return ``role=name`` of each extractor."""
    roles: Sequence[str] = ("identity", "distribution", "perceptual", "prompt")
    return tuple(f"{role}={getattr(backbones, role).name}" for role in roles)
