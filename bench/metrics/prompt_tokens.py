"""Share of a prompt that is recovered exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces.metric import ScoringContext, TextMetric
from bench.interfaces.plugin import Card
from bench.metrics.pairs import check_texts, errors_of
from bench.types.texts import Texts, words_and_marks


class TokenAccuracy(TextMetric):
    """Share of the true tokens that the claim has at the same position."""

    name = "token_accuracy"
    higher_is_closer = True
    card = Card(
        summary="Share of the true prompt's tokens that the claim has at the same position.",
        source="standard definition; as reported in arXiv:2510.15511",
        needs="the victim's tokenizer",
        notes=(
            "Start, end and padding do not count, nor does what the text encoder cuts off. One "
            "word too many shifts all that follow: it measures exact attacks, not paraphrases."
        ),
    )

    def compare(self, claim: Texts, truth: Texts, context: ScoringContext) -> Tensor | None:
        """Return ``(N,)`` float64 in [0, 1], or None for a victim without a text encoder.

        Only an empty claim scores 1 for an empty prompt; any other scores 0.

        Raises:
            BenchError: claim and truth differ in number.
        """
        with errors_of(self.name):
            check_texts(claim, truth)
        if context.text is None:
            return None
        claimed = claim.tokens if claim.tokens is not None else context.text.tokens(claim.texts)
        wanted = truth.tokens if truth.tokens is not None else context.text.tokens(truth.texts)
        return torch.tensor(
            [_share(a, b) for a, b in zip(claimed, wanted, strict=True)], dtype=torch.float64
        )


class ExactMatch(TextMetric):
    """1 where the claim is the prompt, word by word and punctuation mark by punctuation mark."""

    name = "exact_match"
    higher_is_closer = True
    share = True
    card = Card(
        summary="1 where the claim is the prompt itself, but for case and blanks.",
        source="standard definition",
        notes=(
            "A prompt longer than the text encoder takes cannot be matched: its end never "
            "reached the wire."
        ),
    )

    def compare(self, claim: Texts, truth: Texts, context: ScoringContext) -> Tensor:
        """Return ``(N,)`` float64, 0 or 1.

        Raises:
            BenchError: claim and truth differ in number.
        """
        with errors_of(self.name):
            check_texts(claim, truth)
        pairs = zip(claim.texts, truth.texts, strict=True)
        return torch.tensor(
            [float(words_and_marks(a) == words_and_marks(b)) for a, b in pairs], dtype=torch.float64
        )


def _share(claimed: tuple[int, ...], wanted: tuple[int, ...]) -> float:
    """Return the share of the wanted tokens that ``claimed`` has at the same position."""
    if not wanted:
        return float(not claimed)
    return sum(a == b for a, b in zip(claimed, wanted, strict=False)) / len(wanted)
