"""Models on the Hugging Face hub: which commit is meant, what of it is fetched, and when not to try."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

from bench.errors import RequestError

PINNED = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    "CompVis/stable-diffusion-v1-4": "133a221b8aa7292a167afc5127cb63fb5005638b",
    "stabilityai/stable-diffusion-xl-base-1.0": "462165984030d82259a11f4367a4eed129e94a7b",
}
"""The commit that a hub id stands for when none is given; every other id needs one."""

NEEDED = ("[uvt]*/*model.safetensors", "[uvt]*/*model-*-of-*.safetensors", "*.json", "tokenizer*/*.txt")
"""Of a Stable Diffusion repository: all configurations; UNet, autoencoder and text encoder without their variants."""

_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w.-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PROBE_SECONDS = 1.5


def is_hub_id(model: str) -> bool:
    """Whether the text has the form ``owner/name[@revision]``."""
    return _ID.fullmatch(model) is not None


def pinned(model: str) -> str:
    """A known hub id with its commit; anything else as it is, a directory of that name included."""
    if model in PINNED and not Path(model).is_dir():
        return f"{model}@{PINNED[model]}"
    return model


def cached(model: str) -> Path | None:
    """The snapshot of a hub id in the local cache, perhaps incomplete, or None. Never reaches the network.

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

    Asks first, with a short limit, whether the hub answers: the library itself may retry for half a minute.

    Raises:
        RequestError: no commit is named, the hub is off, does not answer or refuses; says what to do.
    """
    from huggingface_hub import constants, snapshot_download

    repo, commit = _split(model)
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(repo, commit, "HF_HUB_OFFLINE is set")
    answer = _probe(repo, commit)
    if answer is not None:
        raise _unreachable(repo, commit, answer)
    try:
        return Path(snapshot_download(repo, revision=commit, allow_patterns=list(NEEDED)))
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreachable(repo, commit, f"the download broke off, {type(error).__name__}") from error


def command(repo: str, commit: str) -> str:
    """The shell command that fetches the same files into the same cache."""
    includes = " ".join(f'--include "{pattern}"' for pattern in NEEDED)
    return f"hf download {repo} --revision {commit} {includes}"


def _split(model: str) -> tuple[str, str]:
    match = _ID.fullmatch(pinned(model))
    if match is None:
        raise RequestError(f"model {model!r}: no such directory, and not a hub id such as owner/name@COMMIT")
    repo, revision = match["repo"], match["revision"] or ""
    if not _COMMIT.fullmatch(revision):
        raise RequestError(
            f"model {model!r}: no such directory; as a hub id it needs the full commit, {repo}@ and 40 hex digits "
            f"(huggingface.co/{repo}/commits/main lists them), so that the row can be made again"
        )
    return repo, revision


def _probe(repo: str, commit: str) -> str | None:
    """None if the hub has the commit, else why not. The name look-up knows no limit, hence the thread."""
    from huggingface_hub import HfApi

    found: list[Any] = []

    def ask() -> None:
        try:
            HfApi().model_info(repo, revision=commit, timeout=_PROBE_SECONDS)
            found.append(None)
        except Exception as error:  # whichever HTTP library is underneath has errors of its own
            found.append(f"the hub cannot be reached or refuses it, {type(error).__name__}")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return found[0] if found else f"the hub does not answer within {_PROBE_SECONDS} s"


def _unreachable(repo: str, commit: str, reason: str) -> RequestError:
    return RequestError(
        f"model '{repo}@{commit}' is not complete in the local cache and cannot be fetched ({reason}); "
        f"give a directory in diffusers layout, or run this where the hub can be reached: {command(repo, commit)}"
    )
