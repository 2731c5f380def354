"""CLIP (Radford et al. 2021, arXiv:2103.00020) from a directory that the user already has.

Nothing is downloaded. Weights are read as safetensors only, and their sha256 decides the name in a
row: a published file has its published name, any other file the name of its directory and the first
digits of its hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.types.images import ImageBatch
from bench.util.errors import DataError
from bench.util.files import sha256_file
from bench.util.torchvision_guard import guard_torchvision

CHUNK = 16
WEIGHTS = "model.safetensors"
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ClipRelease:
    """A published CLIP.

    Attributes:
        repository: name on the Hugging Face hub.
        revision: a commit at which the repository holds the weights as safetensors.
        sha256: hash of the weights.
    """

    repository: str
    revision: str
    sha256: str


PUBLISHED = {
    "clip-vit-base-patch32": ClipRelease(
        "openai/clip-vit-base-patch32",
        # The commit of the hub's conversion; the main branch holds a pickle only.
        "b33cedfd0df4e43b8238760678fcc89e1a0d38b3",
        "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d",
    ),
    "clip-vit-large-patch14": ClipRelease(
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    ),
}


@dataclass(frozen=True)
class ClipFiles:
    """The places of the parts of a CLIP, which may be different snapshots of the hub's cache.

    Attributes:
        weights: the safetensors file.
        config: directory of the configuration.
        tokenizer: directory of the tokenizer.
    """

    weights: Path
    config: Path
    tokenizer: Path

    @classmethod
    def among(cls, folders: list[Path]) -> ClipFiles | None:
        """Return the first of each part in ``folders``, or None where a part is in none of them."""
        weights = [f for f in folders if (f / WEIGHTS).is_file()]
        configs = [f for f in folders if (f / "config.json").is_file()]
        words = [
            f for f in folders if (f / "tokenizer.json").is_file() or (f / "vocab.json").is_file()
        ]
        return (
            cls(weights[0] / WEIGHTS, configs[0], words[0])
            if weights and configs and words
            else None
        )


def hub_cache() -> Path:
    """Return the cache of the Hugging Face hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def find(name: str, folder: Path | None) -> ClipFiles | None:
    """Return the files of a published CLIP, unchecked, or None.

    Args:
        name: the published name.
        folder: the files are in ``folder/NAME``, or in the hub's cache where this is None.
    """
    if folder is not None:
        return ClipFiles.among([folder / name])
    repository = "models--" + PUBLISHED[name].repository.replace("/", "--")
    return ClipFiles.among(sorted((hub_cache() / repository / "snapshots").glob("*")))


def load_published(name: str, folder: Path | None) -> ClipBackbone:
    """Return a published CLIP whose file has the published hash.

    Raises:
        DataError: the files are missing, incomplete, damaged or different; the message says which
            file to put where.
    """
    known, files = PUBLISHED[name], find(name, folder)
    if files is None:
        place = (
            f"into {folder / name}"
            if folder
            else f"into {hub_cache()}, or into {name}/ under --weights"
        )
        local = f" --local-dir {folder / name}" if folder else ""
        raise DataError(
            f"{name}: put config.json, {WEIGHTS}, vocab.json and merges.txt {place}: hf download "
            f"{known.repository} --revision {known.revision} config.json {WEIGHTS} vocab.json "
            f"merges.txt{local}; nothing is downloaded"
        )
    found = sha256_file(files.weights)
    if found != known.sha256:
        raise DataError(
            f"{name}: {files.weights} has sha256 {found[:8]}…, the published file "
            f"{known.sha256[:8]}…; get it again from huggingface.co/{known.repository}, or use it "
            "under another name with clip:DIRECTORY"
        )
    return ClipBackbone(name, files)


def load_directory(folder: Path) -> ClipBackbone:
    """Return any CLIP in the layout of transformers.

    A file whose hash is not a published one is named after its hash.

    Raises:
        DataError: the directory is incomplete or damaged.
    """
    files = ClipFiles.among([folder])
    if files is None:
        raise DataError(
            f"clip:{folder}: not a CLIP directory, it needs config.json, {WEIGHTS} and a "
            "tokenizer's files"
        )
    found = sha256_file(files.weights)
    published = [name for name, known in PUBLISHED.items() if known.sha256 == found]
    return ClipBackbone(
        published[0] if published else f"{folder.resolve().name}#{found[:8]}", files
    )


class ClipBackbone:
    """Identity and prompt backbone; computes in float32 on the CPU.

    Attributes:
        name: a published name, or ``DIRECTORY#hash``.
    """

    def __init__(self, name: str, files: ClipFiles) -> None:
        """Read the files.

        Raises:
            DataError: a part is damaged, or the parts do not fit together.
        """
        guard_torchvision()
        from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

        self.name = name
        try:
            config: Any = CLIPConfig.from_pretrained(files.config, local_files_only=True)
            tokenizer: Any = CLIPTokenizer.from_pretrained(files.tokenizer, local_files_only=True)
        except Exception as error:
            raise DataError(
                f"{name}: {files.config} cannot be read: {str(error).splitlines()[0]}"
            ) from error
        # transformers answers a missing vocabulary with a tokenizer of two tokens and no error.
        if len(tokenizer) != config.text_config.vocab_size:
            raise DataError(
                f"{name}: {files.tokenizer} has {len(tokenizer)} tokens, the text tower "
                f"{config.text_config.vocab_size}; its vocabulary files are missing or of another "
                "model"
            )
        with torch.random.fork_rng(devices=[]):
            model: Any = CLIPModel(config)
        _fill(name, model, files.weights)
        self._model = model.float().eval().requires_grad_(False)
        self._tokenizer = tokenizer

    @torch.no_grad()
    def embed(self, images: ImageBatch) -> Tensor:
        """Return unit-length image embeddings, ``(N, D)``."""
        side = self._model.config.vision_config.image_size
        parts = [
            self._model.visual_projection(
                self._model.vision_model(clip_input(part, side)).pooler_output
            )
            for part in torch.split(images.pixels.detach().cpu(), CHUNK)
        ]
        return functional.normalize(torch.cat(parts), dim=1)

    @torch.no_grad()
    def text_embed(self, prompts: tuple[str, ...]) -> Tensor:
        """Return unit-length embeddings of prompts, ``(N, D)``; long prompts are truncated."""
        length = self._model.config.text_config.max_position_embeddings
        parts = []
        for start in range(0, len(prompts), CHUNK):
            tokens = self._tokenizer(
                list(prompts[start : start + CHUNK]),
                padding="max_length",
                truncation=True,
                max_length=length,
                return_tensors="pt",
            )
            states = self._model.text_model(tokens.input_ids, attention_mask=tokens.attention_mask)
            parts.append(self._model.text_projection(states.pooler_output))
        return functional.normalize(torch.cat(parts), dim=1)

    def prompt_score(self, images: ImageBatch, prompts: tuple[str, ...]) -> Tensor:
        """Return the cosine between each image and its prompt, ``(N,)`` in [-1, 1].

        A CLIPScore (arXiv:2104.08718) is 2.5 times this.

        Raises:
            DataError: images and prompts differ in number.
        """
        if len(images) != len(prompts):
            raise DataError(f"{self.name}: {len(images)} images but {len(prompts)} prompts")
        if not prompts:
            return torch.zeros(0)
        cosine: Tensor = (self.embed(images) * self.text_embed(prompts)).sum(dim=1)
        return cosine.clamp(-1.0, 1.0)


def clip_input(pixels: Tensor, side: int) -> Tensor:
    """Return CLIP's input, ``(N, 3, side, side)``: resized, centre cut out, channels normalized.

    Args:
        pixels: ``(N, 3, H, W)`` in [0, 1].
        side: height and width that the model takes.
    """
    height, width = pixels.shape[-2:]
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    resized = functional.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(
        0.0, 1.0
    )
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    cut = resized[:, :, top : top + side, left : left + side]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (cut - mean) / std


def _fill(name: str, model: nn.Module, weights: Path) -> None:
    """Load every weight of the model from the file, and refuse a file that lacks one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: Mapping[str, Tensor] = load_file(weights)
        # Position ids are counting numbers; older files hold them, newer networks do not.
        model.load_state_dict(
            {key: t for key, t in state.items() if not key.endswith(".position_ids")}
        )
    except (SafetensorError, RuntimeError) as error:
        line = str(error).splitlines()[-1].strip()
        raise DataError(f"{name}: {weights} does not fit: {line}") from error
