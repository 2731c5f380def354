"""The pocket model's byte-pair tokenizer, learned from the words of portrait prompts.

The vocabulary contains every byte, so any text can be tokenised; each word of the prompts is one
token.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.util.torchvision_guard import guard_torchvision

MAX_TOKENS = 32
START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
_EXTRA = """
a an the of and or with in on at to by from for is are one two three photo picture portrait
painting drawing image face person people man woman boy girl child old young smiling happy sad
serious calm hair eyes nose mouth red blue green yellow black white purple orange pink grey gray
brown cyan magenta gold silver teal navy olive maroon violet indigo turquoise beige crimson coral
salmon khaki lavender circle square triangle ring shape background filled round large small big
left right top bottom dark bright light cat dog car tree house flower temple mountain street city
room table cup coffee astronaut rocket galaxies retina cells motorcycle building
"""
EXTRA_WORDS = tuple(_EXTRA.split())


def byte_characters() -> list[str]:
    """Return one printable character for each byte.

    A printable byte is its own character; the others get code points from 256 up.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    table = {b: chr(b) for b in printable}
    return [table[b] if b in table else chr(next(spare)) for b in range(256)]


def learn_merges(words: Counter[str]) -> list[tuple[str, str]]:
    """Return merges until every word is one symbol, most frequent pair first.

    Ties are broken alphabetically.
    """
    split = {w: [*w[:-1], w[-1] + WORD_END] for w in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in split.items():
            for pair in pairwise(symbols):
                pairs[pair] += words[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for word, symbols in split.items():
            split[word] = _merge(symbols, best)


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def build(prompts: Iterable[str]) -> Any:
    """Return a ``CLIPTokenizer`` with the words of ``prompts`` in its vocabulary."""
    guard_torchvision()
    from transformers import CLIPTokenizer

    words = Counter(word for text in prompts for word in text.lower().replace(",", " ").split())
    words.update(EXTRA_WORDS)
    merges = learn_merges(words)
    characters = byte_characters()
    names = [
        *characters,
        *(c + WORD_END for c in characters),
        *(a + b for a, b in merges),
        START,
        END,
    ]
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    pairs: Any = merges  # the library's annotation lacks pairs, which it takes
    tokenizer = CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=MAX_TOKENS)
    if len(tokenizer) != len(vocab):
        raise AssertionError(f"the tokenizer has {len(tokenizer)} tokens instead of {len(vocab)}")
    return tokenizer


def load(folder: Path) -> Any:
    """Return a saved tokenizer."""
    guard_torchvision()
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def save(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer, without the path that it was loaded from."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("name_or_path", "is_local", "local_files_only"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def encode(tokenizer: Any, prompts: list[str]) -> Any:
    """Return token ids, ``(B, 32)`` int64, truncated and padded."""
    return tokenizer(
        prompts, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids
