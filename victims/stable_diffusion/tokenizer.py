"""Whether a model's vocabulary is whole and fits its text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.interfaces import DataError
from bench.util.torchvision_guard import guard_torchvision
from victims.stable_diffusion.file_checks import read_object, refuse_pointer, whole

FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
"""What transformers reads of a tokenizer's directory."""

_REQUIRED = (
    "tokenizer_config.json"  # names the padding, which differs between models and would be guessed
)


def check_tokenizer(folder: Path, encoder: Path) -> None:
    """Refuse a tokenizer that is damaged or not the text encoder's.

    Args:
        folder: the directory of the tokenizer, ``encoder`` that of its text encoder.

    Raises:
        DataError: with the file that is missing or damaged.
    """
    present = [name for name in FILES if (folder / name).exists()]
    if _REQUIRED not in present:
        raise DataError(f"{folder}: {_REQUIRED} is missing; download it again")
    pair = {"vocab.json", "merges.txt"}
    if "tokenizer.json" not in present and not pair <= set(present):
        raise DataError(
            f"{folder}: the vocabulary is missing, tokenizer.json or vocab.json with merges.txt; download it again"
        )
    for name in present:
        if name.endswith(".json"):
            read_object(folder / name)
        else:
            refuse_pointer(folder / name)
    if pair <= set(present):
        _check_merges(folder)
    tokens, known = (
        len(read_tokenizer(folder)),
        whole(read_object(encoder / "config.json"), encoder, "vocab_size"),
    )
    # transformers answers an unreadable vocabulary with a tokenizer of two tokens and no error.
    if tokens != known:
        raise DataError(
            f"{folder}: {tokens} tokens, but the text encoder has {known}; its vocabulary files are of another model "
            "or damaged, download them again"
        )


def check_same_words(folder: Path, folder_2: Path) -> None:
    """Refuse two tokenizers that number words differently: both encoders are given what the first
    one reads.

    Raises:
        DataError: they differ.
    """
    if read_tokenizer(folder).get_vocab() != read_tokenizer(folder_2).get_vocab():
        raise DataError(
            f"{folder_2}: its words or their numbers are not those of {folder.name}/, and both text encoders must be "
            "given the same tokens; download both again"
        )


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a directory.

    Raises:
        DataError: the library cannot read it.
    """
    guard_torchvision()
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library has no error of its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{folder}: the vocabulary cannot be read, {lines[0]}; download it again"
        ) from error


def _check_merges(folder: Path) -> None:
    """Refuse merges that do not make the vocabulary: a file cut at the end of a line passes the library unnoticed."""
    words = set(read_object(folder / "vocab.json"))
    try:
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{folder / 'merges.txt'}: not a text; download it again") from error
    made = {line.replace(" ", "", 1) for line in lines if not line.startswith("#version")}
    rest = {
        word
        for word in words - made
        if len(word.removesuffix("</w>")) > 1 and not word.startswith("<|")
    }
    if rest:
        raise DataError(
            f"{folder / 'merges.txt'}: {len(rest)} of the {len(words)} words of vocab.json are made by no merge; the "
            "file is cut short or of another model, download it again"
        )
