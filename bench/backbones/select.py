"""Which backbones a run uses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bench.backbones.base import BackboneSet
from bench.backbones.embedded import embedded_set, load_embedded
from bench.backbones.external import FILES, InceptionBackbone, LpipsBackbone, default_folder, locate
from bench.errors import DataError, RequestError

_T = TypeVar("_T")


def load_backbones(choice: str = "auto", weights_dir: Path | None = None) -> BackboneSet:
    """The extractors of one run.

    Args:
        choice: ``embedded`` for the shipped ones alone; ``auto`` for the published LPIPS (``alex``) and
            Inception where the user's files are found, else the shipped ones; or names to insist on,
            separated by commas: ``alex`` or ``vgg``, and ``inception-v3``.
        weights_dir: where the user's files are; PyTorch's cache folder if None.

    Returns:
        Identity and prompt backbones are always the shipped ones.

    Raises:
        RequestError: the choice is unknown or names two perceptual backbones.
        DataError: the shipped weights are missing, or a named file is missing, damaged or has another hash.
    """
    folder = default_folder() if weights_dir is None else weights_dir
    shipped = embedded_set(load_embedded())
    if choice == "embedded":
        return shipped
    if choice == "auto":
        return replace(
            shipped,
            perceptual=_if_usable("alex", folder, lambda: LpipsBackbone.load("alex", folder)) or shipped.perceptual,
            distribution=_if_usable("inception-v3", folder, lambda: InceptionBackbone.load(folder))
            or shipped.distribution,
        )
    names = [name.strip() for name in choice.split(",")]
    unknown = [name for name in names if name not in FILES]
    if unknown:
        raise RequestError(f"unknown backbone {unknown[0]!r}; known: auto, embedded, {', '.join(FILES)}")
    if {"alex", "vgg"} <= set(names):
        raise RequestError("backbones: choose one of alex and vgg, a row has one perceptual distance")
    chosen = shipped
    for name in names:
        if name == "inception-v3":
            chosen = replace(chosen, distribution=InceptionBackbone.load(folder))
        else:
            chosen = replace(chosen, perceptual=LpipsBackbone.load(name, folder))
    return chosen


def _if_usable(net: str, folder: Path, load: Callable[[], _T]) -> _T | None:
    """What ``load`` gives, or None: silently without a file, with a warning for a file that cannot be used."""
    if locate(net, folder) is None:
        return None
    try:
        return load()
    except DataError as error:
        warnings.warn(f"{error}; using the embedded backbone instead", stacklevel=3)
        return None
