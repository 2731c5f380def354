"""Models on the Hugging Face hub: pinned commits, the files to fetch, and offline use."""

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
"""The commits of hub ids that may be given without a commit; all other ids need one."""

NEEDED = (
    "[uvt]*/*model.safetensors",
    "[uvt]*/*model-*-of-*.safetensors",
    "*.json",
    "tokenizer*/*.txt",
)
"""Patterns of the files to fetch: configurations, vocabularies, networks without variants."""

_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w.-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PROBE_SECONDS = 1.5


class _NoAnswerError(Exception):
    """The hub does not list its files; the message gives the reason."""


def is_hub_id(model: str) -> bool:
    """Return whether the text has the form ``owner/name[@revision]``."""
    return _ID.fullmatch(model) is not None


def with_commit(model: str) -> str:
    """Return a known hub id with its commit, and any other text, or a directory, unchanged."""
    if model in PINNED and not Path(model).is_dir():
        return f"{model}@{PINNED[model]}"
    return model


def cached_snapshot(model: str) -> Path | None:
    """Return the snapshot of a hub id in the local cache, or None; never reach the network.

    The snapshot may be incomplete.

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
    """Fetch the missing files of a hub id into the local cache, and return the snapshot.

    A request with a short time limit first checks that the hub answers: the library itself may
    retry for half a minute.

    Raises:
        RequestError: the id names no commit, or the hub is disabled, does not answer or refuses.
    """
    from huggingface_hub import constants, snapshot_download

    repo, commit = _split(model)
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(repo, commit, "HF_HUB_OFFLINE is set")
    try:
        patterns = download_patterns(_listing(repo, commit))
    except _NoAnswerError as error:
        raise _unreachable(repo, commit, str(error)) from error
    try:
        return Path(snapshot_download(repo, revision=commit, allow_patterns=patterns))
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreachable(
            repo, commit, f"the download broke off, {type(error).__name__}"
        ) from error


def download_patterns(listing: Sequence[str]) -> list[str]:
    """Return patterns of the files to fetch from a repository.

    They are ``NEEDED``, and half-precision weights of parts that have no others.

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
    """Return the shell command that fetches these files into the local cache."""
    includes = " ".join(f'--include "{pattern}"' for pattern in NEEDED)
    return f"hf download {repo} --revision {commit} {includes}"


def _split(model: str) -> tuple[str, str]:
    match = _ID.fullmatch(with_commit(model))
    if match is None:
        raise RequestError(
            f"model {model!r}: no such directory, and not a hub id such as owner/name@COMMIT"
        )
    repo, revision = match["repo"], match["revision"] or ""
    if not _COMMIT.fullmatch(revision):
        raise RequestError(
            f"model {model!r}: no such directory; as a hub id it needs the full commit, {repo}@ "
            f"and 40 hex digits (huggingface.co/{repo}/commits/main lists them), so that the row "
            "can be made again"
        )
    return repo, revision


def _listing(repo: str, commit: str) -> list[str]:
    """Return the paths of the files that the hub has.

    The request runs in a thread, because name resolution has no time limit.

    Raises:
        _NoAnswerError: the hub refuses, or does not answer in time.
    """
    from huggingface_hub import HfApi

    answers: list[list[str] | Exception] = []

    def ask() -> None:
        try:
            info = HfApi().model_info(repo, revision=commit, timeout=_PROBE_SECONDS)
            answers.append([file.rfilename for file in info.siblings or []])
        except Exception as error:  # errors depend on the HTTP library underneath
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    if not answers:
        raise _NoAnswerError(f"the hub does not answer within {_PROBE_SECONDS} s")
    answer = answers[0]
    if isinstance(answer, Exception):
        raise _NoAnswerError(f"the hub cannot be reached or refuses it, {type(answer).__name__}")
    return answer


def _unreachable(repo: str, commit: str, reason: str) -> RequestError:
    return RequestError(
        f"model '{repo}@{commit}' is not complete in the local cache and cannot be fetched "
        f"({reason}); give a directory in diffusers layout, or run this where the hub can be "
        f"reached: {command(repo, commit)}"
    )
