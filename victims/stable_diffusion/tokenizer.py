"""Check that a model's vocabulary is complete and fits its text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.interfaces import DataError
from bench.util.torchvision_guard import guard_torchvision
from victims.stable_diffusion.file_checks import (
    first_line,
    positive_int,
    read_object,
    refuse_pointer,
)

FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
"""The files of a tokenizer's directory that transformers reads."""

_REQUIRED = "tokenizer_config.json"
"""The file that names the padding token, which differs between models."""


def check_tokenizer(folder: Path, encoder: Path) -> None:
    """Refuse a tokenizer that is damaged or belongs to another text encoder.

    Args:
        folder: the directory of the tokenizer.
        encoder: the directory of its text encoder.

    Raises:
        DataError: names the file that is missing or damaged.
    """
    present = [name for name in FILES if (folder / name).exists()]
    if _REQUIRED not in present:
        raise DataError(f"{folder}: {_REQUIRED} is missing; download it again")
    pair = {"vocab.json", "merges.txt"}
    if "tokenizer.json" not in present and not pair <= set(present):
        raise DataError(
            f"{folder}: the vocabulary is missing, tokenizer.json or vocab.json with merges.txt; "
            "download it again"
        )
    for name in present:
        if name.endswith(".json"):
            read_object(folder / name)
        else:
            refuse_pointer(folder / name)
    if pair <= set(present):
        _check_merges(folder)
    tokens = len(read_tokenizer(folder))
    known = positive_int(read_object(encoder / "config.json"), encoder, "vocab_size")
    # For an unreadable vocabulary, transformers returns a tokenizer of two tokens and no error.
    if tokens != known:
        raise DataError(
            f"{folder}: {tokens} tokens, but the text encoder has {known}; its vocabulary files "
            "are of another model or damaged, download them again"
        )


def check_same_words(folder: Path, folder_2: Path) -> None:
    """Refuse two tokenizers that number words differently.

    Both encoders get the ids of the first tokenizer.

    Raises:
        DataError: the vocabularies differ.
    """
    if read_tokenizer(folder).get_vocab() != read_tokenizer(folder_2).get_vocab():
        raise DataError(
            f"{folder_2}: its words or their numbers are not those of {folder.name}/, and both "
            "text encoders must be given the same tokens; download both again"
        )


def read_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a directory.

    Raises:
        DataError: the library cannot read it.
    """
    guard_torchvision()
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library has no error class for this
        raise DataError(
            f"{folder}: the vocabulary cannot be read, {first_line(error)}; download it again"
        ) from error


def _check_merges(folder: Path) -> None:
    """Refuse merges that do not produce the vocabulary.

    The library does not notice a file that is truncated at the end of a line.
    """
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
            f"{folder / 'merges.txt'}: {len(rest)} of the {len(words)} words of vocab.json are "
            "made by no merge; the file is cut short or of another model, download it again"
        )
