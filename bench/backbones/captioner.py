"""Describes a picture in words taken from known prompts."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from bench.backbones.embedded_backbone import EmbeddedBackbone
from bench.backbones.portrait_attributes import CLASSES
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.util.errors import BenchError

FLOOR = 1e-3
"""Least probability of a label, so that one that a head finds impossible does not decide alone."""


class Captioner:
    """Retrieves a known prompt, then changes it word by word to fit the picture better.

    The fit is judged by the embedded backbone: the cosine between picture and prompt and, where the
    known records carry the labels of its attribute heads, their probability under these heads. A
    word may be replaced by one that stands between the same neighbours in some known prompt. The
    search for a better prompt follows arXiv:2302.03668 and the CLIP interrogator; it uses no
    weights besides those of this project.
    """

    def __init__(self, known: Records, backbone: EmbeddedBackbone, rounds: int = 3) -> None:
        """Prepare the known prompts.

        Args:
            known: at least one record, with prompts.
            backbone: judges how well a prompt fits.
            rounds: passes over the words of a prompt; 0 is retrieval alone.

        Raises:
            BenchError: there is no record to take words from.
        """
        if not len(known):
            raise BenchError("a captioner needs at least one known prompt")
        self._backbone = backbone
        self._rounds = rounds
        self._prompts = known.prompts
        self._embedded = backbone.text_embed(known.prompts)
        self._labels = _labels(known)
        self._between: dict[tuple[str, str], set[str]] = defaultdict(set)
        for prompt in known.prompts:
            row = ["", *prompt.split(), ""]
            for left, word, right in zip(row, row[1:], row[2:], strict=False):
                self._between[left, right].add(word)

    def caption(self, images: ImageBatch) -> tuple[str, ...]:
        """Return one prompt per picture."""
        pictured = self._backbone.prompt_embed(images)
        fit = pictured @ self._embedded.T
        if self._labels is not None:
            fit = fit + self._likelihood(images, self._labels)
        found = [self._prompts[i] for i in fit.argmax(1).tolist()]
        return tuple(
            self._refined(prompt, picture) for prompt, picture in zip(found, pictured, strict=True)
        )

    def _likelihood(self, images: ImageBatch, labels: Tensor) -> Tensor:
        """Return the mean log-probability of each known record's labels, ``(N, K)``."""
        odds = self._backbone.attributes(images)
        logs = [
            odds[name].clamp_min(FLOOR).log()[:, labels[:, i]] for i, name in enumerate(CLASSES)
        ]
        return torch.stack(logs).mean(0)

    def _refined(self, prompt: str, picture: Tensor) -> str:
        best, height = prompt, float(self._backbone.text_embed((prompt,))[0] @ picture)
        for _ in range(self._rounds):
            before = best
            others = tuple(sorted(self._neighbours(best)))
            if not others:
                break
            scores = self._backbone.text_embed(others) @ picture
            i = int(scores.argmax())
            if float(scores[i]) > height:
                best, height = others[i], float(scores[i])
            if best == before:
                break
        return best

    def _neighbours(self, prompt: str) -> set[str]:
        """Return prompts that differ in one word."""
        row = ["", *prompt.split(), ""]
        return {
            " ".join([*row[1:i], word, *row[i + 1 : -1]])
            for i in range(1, len(row) - 1)
            for word in self._between[row[i - 1], row[i + 1]]
            if word != row[i]
        }


def _labels(known: Records) -> Tensor | None:
    """Return class numbers ``(K, attributes)``, or None where a record lacks a label."""
    if not all(
        row.get(name) in values for row in known.attributes for name, values in CLASSES.items()
    ):
        return None
    return torch.tensor(
        [[v.index(row[name]) for name, v in CLASSES.items()] for row in known.attributes]
    )
