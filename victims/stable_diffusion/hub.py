"""Models on the Hugging Face hub: which commit is meant, what of it is fetched, and when not to try."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from bench.interfaces import RequestError
from victims.stable_diffusion.weight_files import NETWORKS, VARIANTS

PINNED = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    "CompVis/stable-diffusion-v1-4": "133a221b8aa7292a167afc5127cb63fb5005638b",
    "stabilityai/stable-diffusion-xl-base-1.0": "462165984030d82259a11f4367a4eed129e94a7b",
}
"""The commit that a hub id stands for when none is given; every other id needs one."""

NEEDED = (
    "[uvt]*/*model.safetensors",
    "[uvt]*/*model-*-of-*.safetensors",
    "*.json",
    "tokenizer*/*.txt",
)
"""Of a Stable Diffusion repository: all configurations and vocabularies; networks without their variants."""

_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w.-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PROBE_SECONDS = 1.5


class _NoAnswerError(Exception):
    """The hub cannot say what it has; the message says why."""


def is_hub_id(model: str) -> bool:
    """Whether the text has the form ``owner/name[@revision]``."""
    return _ID.fullmatch(model) is not None


def pinned(model: str) -> str:
    """A known hub id with its commit; anything else as it is, a directory of that name included."""
    if model in PINNED and not Path(model).is_dir():
        return f"{model}@{PINNED[model]}"
    return model


def cached(model: str) -> Path | None:
    """The snapshot of a hub id in the local cache, perhaps incomplete, or None. Never reaches the
    network.

    Raises:
        RequestError: the id names no commit.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, commit = _split(model)
    try:
        return Path(snapshot_download(repo, revision=commit, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def download(model: str) -> Path:
    """Fetch what is missing of a hub id into the local cache.

    Asks first, with a short limit, whether the hub answers: the library itself may retry for half a
    minute.

    Raises:
        RequestError: no commit is named, the hub is off, does not answer or refuses; says what to
            do.
    """
    from huggingface_hub import constants, snapshot_download

    repo, commit = _split(model)
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(repo, commit, "HF_HUB_OFFLINE is set")
    try:
        patterns = needed(_listing(repo, commit))
    except _NoAnswerError as error:
        raise _unreachable(repo, commit, str(error)) from error
    try:
        return Path(snapshot_download(repo, revision=commit, allow_patterns=patterns))
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreachable(
            repo, commit, f"the download broke off, {type(error).__name__}"
        ) from error


def needed(listing: Sequence[str]) -> list[str]:
    """Patterns of the files to fetch of a repository: ``NEEDED``, and half precision of parts that
    have nothing else.

    Args:
        listing: the paths of all files in the repository.
    """
    patterns = list(NEEDED)
    for part in NETWORKS:
        weights = [
            name
            for name in listing
            if name.startswith(f"{part}/") and name.endswith(".safetensors")
        ]
        if any(fnmatch(name, pattern) for name in weights for pattern in NEEDED):
            continue
        variants = (f"{part}/*.{variant}*safetensors" for variant in VARIANTS if variant)
        patterns += [p for p in variants if any(fnmatch(name, p) for name in weights)][:1]
    return patterns


def command(repo: str, commit: str) -> str:
    """The shell command that fetches the same files into the same cache."""
    includes = " ".join(f'--include "{pattern}"' for pattern in NEEDED)
    return f"hf download {repo} --revision {commit} {includes}"


def _split(model: str) -> tuple[str, str]:
    match = _ID.fullmatch(pinned(model))
    if match is None:
        raise RequestError(
            f"model {model!r}: no such directory, and not a hub id such as owner/name@COMMIT"
        )
    repo, revision = match["repo"], match["revision"] or ""
    if not _COMMIT.fullmatch(revision):
        raise RequestError(
            f"model {model!r}: no such directory; as a hub id it needs the full commit, {repo}@ and 40 hex digits "
            f"(huggingface.co/{repo}/commits/main lists them), so that the row can be made again"
        )
    return repo, revision


def _listing(repo: str, commit: str) -> list[str]:
    """The paths of the files that the hub has. The name look-up knows no limit, hence the thread.

    Raises:
        _NoAnswerError: the hub refuses, or does not answer in time.
    """
    from huggingface_hub import HfApi

    found: list[list[str] | Exception] = []

    def ask() -> None:
        try:
            info = HfApi().model_info(repo, revision=commit, timeout=_PROBE_SECONDS)
            found.append([file.rfilename for file in info.siblings or []])
        except Exception as error:  # whichever HTTP library is underneath has errors of its own
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    if not found:
        raise _NoAnswerError(f"the hub does not answer within {_PROBE_SECONDS} s")
    if isinstance(found[0], Exception):
        raise _NoAnswerError(f"the hub cannot be reached or refuses it, {type(found[0]).__name__}")
    return found[0]


def _unreachable(repo: str, commit: str, reason: str) -> RequestError:
    return RequestError(
        f"model '{repo}@{commit}' is not complete in the local cache and cannot be fetched ({reason}); "
        f"give a directory in diffusers layout, or run this where the hub can be reached: {command(repo, commit)}"
    )
