"""Which backbones a run uses."""

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
    """The extractors of one run.

    Args:
        choice: names separated by commas. ``embedded``: the shipped one in every role. ``auto``: in
            every role a published one (``alex``, ``inception-v3``, CLIP) where the user's files are
            found, else the shipped one. Any other name is insisted on, in all roles it fits:
            ``alex`` or ``vgg``, ``inception-v3``, ``clip-vit-base-patch32`` or
            ``clip-vit-large-patch14``, ``clip:DIRECTORY``. ``role=name`` sets one role and goes
            before names without. Roles that nothing names are ``embedded``.
        weights_dir: where the user's files are; the caches of PyTorch and of the Hugging Face hub
            if None.

    Raises:
        RequestError: a name or role is unknown, they do not fit, or a role is named twice.
        DataError: the shipped weights are missing, or a named file is missing, damaged or has
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
    """``auto`` or ``embedded`` for the roles that nothing names, and the name that each other role has."""
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
    """The user's files; each is read once, whatever roles it has."""

    def __init__(self, weights_dir: Path | None) -> None:
        self._weights_dir = weights_dir
        self._checkpoints = (
            external_backbones.default_folder() if weights_dir is None else weights_dir
        )
        self._loaded: dict[str, Any] = {}
        self._unusable: set[str] = set()

    def load(self, name: str) -> Any:
        """The backbone of a name.

        Raises:
            DataError: its files are missing, damaged or others.
        """
        if name not in self._loaded:
            self._loaded[name] = self._read(name)
        return self._loaded[name]

    def first_usable(self, role: str) -> Any:
        """The first of ``AUTO`` for a role, or None; a warning, once, for files that are there and not usable."""
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
    """``role=name`` of each extractor."""
    roles: Sequence[str] = ("identity", "distribution", "perceptual", "prompt")
    return tuple(f"{role}={getattr(backbones, role).name}" for role in roles)
