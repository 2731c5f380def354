"""Read the networks of a model: with their weights, or as shapes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bench.interfaces import DataError
from bench.util.torchvision_guard import guard_torchvision
from victims.stable_diffusion.file_checks import first_line
from victims.stable_diffusion.weight_files import NETWORKS, check_weights, header, library


def read_network(part: Path) -> Any:
    """Return a network with its weights in float32, whatever type they are stored in.

    The libraries only warn of a missing weight and initialise it at random; here it is an error.

    Raises:
        DataError: a weight is missing or has another shape, or a file cannot be read.
    """
    transformers = library(part.name) == "transformers"
    options = {"dtype" if transformers else "torch_dtype": torch.float32}
    try:
        network, info = _class(part).from_pretrained(
            part,
            variant=check_weights(part).variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except DataError:
        raise
    except Exception as error:  # the libraries have no common error class
        raise DataError(
            f"{part}: the part cannot be read, {first_line(error)}; copy or download it again"
        ) from error
    missing = sorted(info["missing_keys"]) or sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise DataError(
            f"{part}: the weights lack {missing[0]} and {len(missing) - 1} more, or have another "
            "shape; weights and config.json are not of one model"
        )
    return network


def shapes(part: Path) -> Any:
    """Return a network on the device ``meta``, from its configuration alone.

    Raises:
        DataError: no network can be built from the configuration.
    """
    cls = _class(part)
    try:
        with torch.device("meta"):
            if library(part.name) == "transformers":
                return cls(cls.config_class.from_pretrained(part, local_files_only=True))
            return cls.from_config(cls.load_config(part, local_files_only=True))
    except Exception as error:  # the libraries have no common error class
        raise DataError(
            f"{part / 'config.json'}: no network can be built from it, {first_line(error)}; "
            "download it again"
        ) from error


def check_network(part: Path) -> None:
    """Compare a part's configuration with the headers of its weights.

    Weights are loaded only where the names disagree.

    Raises:
        DataError: a weight is missing or has another shape.
    """
    stored = {
        _plain(name): shape
        for file in check_weights(part).files
        for name, shape in header(file).items()
    }
    wanted = {
        _plain(name): tuple(tensor.shape) for name, tensor in shapes(part).state_dict().items()
    }
    other = sorted(name for name, shape in wanted.items() if stored.get(name, shape) != shape)
    if other:
        raise DataError(
            f"{part}: {other[0]} has the shape {list(stored[other[0]])}, by config.json "
            f"{list(wanted[other[0]])}; weights and config.json are not of one model"
        )
    if not set(wanted) <= set(stored):
        # Older files have other names. The library knows them, so loading decides.
        read_network(part)


def _class(part: Path) -> Any:
    guard_torchvision()
    import diffusers
    import transformers

    return getattr(
        transformers if library(part.name) == "transformers" else diffusers, NETWORKS[part.name]
    )


def _plain(name: str) -> str:
    """Return a tensor's name in transformers 5; older versions have the prefix ``text_model.``."""
    return name.removeprefix("text_model.")
