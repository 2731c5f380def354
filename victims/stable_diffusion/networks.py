"""The networks of a model as the libraries read them: with their weights, or as shapes alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from bench.interfaces import DataError
from bench.util.torchvision_guard import guard_torchvision
from victims.stable_diffusion.weight_files import NETWORKS, check_weights, header, library


def read_network(part: Path) -> Any:
    """A network with all its weights in float32, whatever type they are stored in.

    The libraries only warn of a weight that is missing, and fill it at random.

    Raises:
        DataError: a weight is missing or has another shape, or a file cannot be read.
    """
    transformers = library(part.name) == "transformers"
    options = {"dtype" if transformers else "torch_dtype": torch.float32}
    try:
        network, found = _class(part).from_pretrained(
            part,
            variant=check_weights(part).variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except DataError:
        raise
    except Exception as error:  # the libraries have no error of their own
        raise unreadable(part, error) from error
    lacking = sorted(found["missing_keys"]) or sorted(str(key) for key in found["mismatched_keys"])
    if lacking:
        raise _lacking(part, lacking)
    return network


def shapes(part: Path) -> Any:
    """A network on the device ``meta``, from its configuration alone.

    Raises:
        DataError: no network can be made of the configuration.
    """
    cls = _class(part)
    try:
        with torch.device("meta"):
            if library(part.name) == "transformers":
                return cls(cls.config_class.from_pretrained(part, local_files_only=True))
            return cls.from_config(cls.load_config(part, local_files_only=True))
    except Exception as error:  # the libraries have no error of their own
        raise DataError(
            f"{part / 'config.json'}: no network can be made of it, {_line(error)}"
        ) from error


def check_network(part: Path) -> None:
    """Compare a part's configuration with the headers of its weights; nothing is loaded where they
    agree.

    Raises:
        DataError: a weight is missing or has another shape.
    """
    there = {
        _plain(name): shape
        for file in check_weights(part).files
        for name, shape in header(file).items()
    }
    wanted = {
        _plain(name): tuple(tensor.shape) for name, tensor in shapes(part).state_dict().items()
    }
    other = sorted(name for name, shape in wanted.items() if there.get(name, shape) != shape)
    if other:
        raise DataError(
            f"{part}: {other[0]} has the shape {list(there[other[0]])}, by config.json {list(wanted[other[0]])}; "
            "weights and config.json are not of one model"
        )
    if not set(wanted) <= set(there):
        read_network(
            part
        )  # older files have other names, which the library knows: its word is final


def unreadable(part: Path, error: Exception) -> DataError:
    """What the libraries say of a part in one sentence."""
    return DataError(f"{part}: the part cannot be read, {_line(error)}; copy or download it again")


def _class(part: Path) -> Any:
    guard_torchvision()
    import diffusers
    import transformers

    return getattr(
        transformers if library(part.name) == "transformers" else diffusers, NETWORKS[part.name]
    )


def _plain(name: str) -> str:
    """A tensor's name in transformers 5; older versions put the text model one level down."""
    return name.removeprefix("text_model.")


def _lacking(part: Path, names: Iterable[str]) -> DataError:
    first, *others = names
    return DataError(
        f"{part}: the weights lack {first} and {len(others)} more, or have another shape; weights and config.json are "
        "not of one model"
    )


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
