"""Backbones of the literature, from weight files that the user already has.

Nothing is downloaded. PyTorch names such a file after the first eight hex digits of its sha256, and
no library checks a file that is already there. This module does, since otherwise any file of that
name would count as the published network. The files are pickles and are read as tensors only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.types.images import ImageBatch
from bench.util.errors import DataError
from bench.util.torchvision_guard import guard_torchvision

CHUNK = 16


@dataclass(frozen=True)
class WeightFile:
    """A published weight file.

    Attributes:
        name: file name; it ends in the hash that the content must have.
        source: where a user gets the file.
    """

    name: str
    source: str

    @property
    def digest(self) -> str:
        """The first eight hex digits of the sha256."""
        return Path(self.name).stem.rsplit("-", 1)[1]


FILES = {
    "alex": WeightFile(
        "alexnet-owt-7be5be79.pth", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    ),
    "vgg": WeightFile(
        "vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth"
    ),
    "inception-v3": WeightFile(
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    ),
}


def default_folder() -> Path:
    """Return PyTorch's cache of weights: ``$TORCH_HOME/hub/checkpoints`` or its default."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def locate(net: str, folder: Path) -> Path | None:
    """Return the file of ``net`` in ``folder``, unchecked, or None where there is none."""
    path = folder / FILES[net].name
    return path if path.is_file() else None


def read_checked(net: str, folder: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a weight file whose content matches the hash in its name.

    Args:
        net: ``alex``, ``vgg`` or ``inception-v3``.
        folder: where the file is.

    Raises:
        DataError: the file is missing, has another hash, or holds anything but tensors.
    """
    file = FILES[net]
    path = folder / file.name
    if not path.is_file():
        raise DataError(
            f"{net}: put {file.name} into {folder} (from {file.source}); nothing is downloaded"
        )
    # The file is read once, so that it cannot change between the check and the use.
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()[: len(file.digest)]
    if found != file.digest:
        raise DataError(
            f"{net}: {path} has sha256 {found}…, its name promises {file.digest}…; get it again "
            f"from {file.source}"
        )
    try:
        state: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises whatever the damage provokes
        raise DataError(
            f"{net}: {path} cannot be read as tensors: {str(error).splitlines()[0]}"
        ) from error
    return {str(name): tensor for name, tensor in state.items()}


class LpipsBackbone:
    """LPIPS 0.1 (Zhang et al. 2018, arXiv:1801.03924) as published, by the ``lpips`` package.

    Attributes:
        name: ``lpips-alex`` or ``lpips-vgg``.
    """

    def __init__(self, net: str, trunk: Mapping[str, Tensor]) -> None:
        """Build the network.

        Args:
            net: ``alex`` or ``vgg``.
            trunk: state of torchvision's network of that name.

        Raises:
            DataError: ``trunk`` does not fit the network.
        """
        self.name = f"lpips-{net}"
        self._module = _lpips_module(net, trunk)

    @classmethod
    def load(cls, net: str, folder: Path) -> LpipsBackbone:
        """Return the backbone from a checked file.

        Raises:
            DataError: see :func:`read_checked`.
        """
        return cls(net, read_checked(net, folder))

    @torch.no_grad()
    def distance(self, first: ImageBatch, second: ImageBatch) -> Tensor:
        """Return the distance of each pair, ``(N,)``, at least 0; 0 for equal images.

        Raises:
            DataError: the two batches differ in number or size.
        """
        if first.pixels.shape != second.pixels.shape:
            raise DataError(
                f"{self.name}: cannot compare images {tuple(first.pixels.shape)} with "
                f"{tuple(second.pixels.shape)}"
            )
        pairs = zip(
            torch.split(first.signed().cpu(), CHUNK),
            torch.split(second.signed().cpu(), CHUNK),
            strict=True,
        )
        return torch.cat([self._module(a, b).flatten() for a, b in pairs])


def _lpips_module(net: str, trunk: Mapping[str, Tensor]) -> nn.Module:
    """Return the package's network with the given trunk and the package's linear heads."""
    guard_torchvision()
    import lpips

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # torchvision deprecates the arguments that lpips passes
        module: nn.Module = lpips.LPIPS(pretrained=False, pnet_rand=True, net=net, verbose=False)
    heads = torch.load(
        Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth",
        map_location="cpu",
        weights_only=True,
    )
    state = {}
    for key in module.state_dict():
        if key.startswith("net.slice"):
            layer, kind = key.split(".")[2:]
            source, origin = trunk, f"features.{layer}.{kind}"
        elif key.startswith("lin"):
            # Each head is registered twice, as lin0 and as lins.0.
            source, origin = heads, key.replace("lins.", "lin", 1)
        else:
            continue
        if origin not in source:
            raise DataError(f"lpips-{net}: the weights have no {origin}")
        state[key] = source[origin]
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise DataError(
            f"lpips-{net}: the weights do not fit: {str(error).splitlines()[-1].strip()}"
        ) from error
    return module.eval().requires_grad_(False)


class InceptionBackbone:
    """Inception v3 of the original FID (arXiv:1706.08500), 2048 features, by ``torch-fidelity``.

    Attributes:
        name: ``inception-v3``.
        dim: 2048.
    """

    name = "inception-v3"
    dim = 2048

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """Build the network.

        Raises:
            DataError: torch-fidelity is not installed, or the weights do not fit.
        """
        if not fidelity_installed():
            raise DataError("inception-v3 needs torch-fidelity: pip install torch-fidelity")
        guard_torchvision()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # The package would unpickle a file without restriction; it gets the tensors already read
        # instead.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        buffer.seek(0)
        try:
            with torch.random.fork_rng(devices=[]):
                self._module: nn.Module = FeatureExtractorInceptionV3(
                    "inception-v3-compat", [str(self.dim)], feature_extractor_weights_path=buffer
                )
        except RuntimeError as error:
            raise DataError(
                f"inception-v3: the weights do not fit: {str(error).splitlines()[0]}"
            ) from error

    @classmethod
    def load(cls, folder: Path) -> InceptionBackbone:
        """Return the backbone from a checked file.

        Raises:
            DataError: torch-fidelity is not installed; or see :func:`read_checked`.
        """
        if not fidelity_installed():
            raise DataError("inception-v3 needs torch-fidelity: pip install torch-fidelity")
        return cls(read_checked("inception-v3", folder))

    @torch.no_grad()
    def features(self, images: ImageBatch) -> Tensor:
        """Return pooled features, ``(N, 2048)``; images are resized to 299x299 as in the paper."""
        return torch.cat(
            [self._module(part)[0] for part in torch.split(images.uint8().cpu(), CHUNK)]
        )


def fidelity_installed() -> bool:
    """Return whether the optional package ``torch-fidelity`` is installed."""
    return importlib.util.find_spec("torch_fidelity") is not None
