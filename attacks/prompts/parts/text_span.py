"""The span of text states behind a gradient of cross-attention, and a search for prompts in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.interfaces import NotApplicableError, PublicText

PROJECTIONS = ("attn2.to_k.weight", "attn2.to_v.weight")
SPARE = 16
"""A span differs from the whole space only where it leaves one in so many directions free."""
CHUNK = 4096
EXPLAINED = 1e-3
"""A residual below it is rounding; the residuals of wrong tokens are much larger."""


@dataclass(frozen=True, eq=False)
class TextSpan:
    """The space that the text states behind an update span.

    Attributes:
        complement: orthonormal directions outside the span, ``(D, D - rank)`` float64.
        tolerance: singular values below this share of the largest were taken for rounding.
    """

    complement: Tensor
    tolerance: float

    @property
    def rank(self) -> int:
        """Dimensions of the span."""
        return int(self.complement.shape[0] - self.complement.shape[1])

    def residual(self, states: Tensor) -> Tensor:
        """Return ||s - s R^T R|| / ||s|| of states ``(..., D)``.

        This is the span check of DAGER (arXiv:2405.15586, section 4).
        """
        double = states.double()
        outside: Tensor = (double @ self.complement.to(double.device)).norm(dim=-1)
        residual: Tensor = outside / double.norm(dim=-1)
        return residual


def text_span(
    update: Mapping[str, Tensor], width: int, *, finest: float, coarsest: float
) -> TextSpan:
    """Return the row space of the cross-attention's key and value projections in an update.

    Key and value are W s for each text state s, so dL/dW = sum of delta s^T: its rows lie in the
    states' span, whatever else the loss depends on. All matrices get equal weight, because those of
    deep layers are smaller.

    Args:
        update: gradient by name.
        width: D, of the text states.
        finest: first tolerance that is tried.
        coarsest: last tolerance that is tried. The finest one that leaves a sixteenth of the
            directions free is used.

    Raises:
        NotApplicableError: there are no such matrices, all of them are zero, or the states fill the
            space.
    """
    gradients = [
        g.double().cpu()
        for n, g in update.items()
        if n.endswith(PROJECTIONS) and g.shape[-1] == width
    ]
    if not gradients:
        raise NotApplicableError("the update has no cross-attention projections of text states")
    rows = [g / g.norm() for g in gradients if float(g.norm()) > 0]
    if not rows:
        raise NotApplicableError(
            "the gradient of every cross-attention projection is zero; in the first round the "
            "ControlNet's zero convolutions are zero and pass no gradient back"
        )
    _, values, directions = torch.linalg.svd(torch.cat(rows), full_matrices=True)
    values = values / values[0]
    tolerance, most = finest, width - -(-width // SPARE)
    while int((values > tolerance).sum()) > most:
        tolerance *= 10
        if tolerance > coarsest * (1 + 1e-9):
            raise NotApplicableError(
                f"the text states behind the update fill {int((values > coarsest).sum())} of "
                f"{width} directions: too many tokens in one update (or noise on it) for a span "
                "check"
            )
    return TextSpan(directions[int((values > tolerance).sum()) :].T.contiguous(), tolerance)


@dataclass(frozen=True)
class TokenSequence:
    """A sequence that lies in the span.

    Attributes:
        tokens: of a prompt, without start, end and padding.
        residual: the largest residual of its states, including its end's.
    """

    tokens: tuple[int, ...]
    residual: float


def read_prompts(text: PublicText, span: TextSpan, count: int, beam: int) -> list[TokenSequence]:
    """Return the ``count`` token sequences that lie deepest in the span, best first.

    There are fewer where not so many end. Sequences are read from left to right: the encoder is
    causal, so a state is a function of the tokens up to it. A sequence is as good as its worst
    state. The search ends when no open sequence can be among the ``count`` best.

    Args:
        text: the public encoder.
        span: of the update's text states.
        count: sequences that are wanted.
        beam: largest number of open sequences at each position. One that is ten times worse than
            the best is dropped where the span does not explain it.
    """
    vocabulary = torch.arange(text.vocabulary).unsqueeze(0)
    prefix = text.begin(1)
    open_: list[TokenSequence] = [TokenSequence((), 0.0)]
    ended: list[TokenSequence] = []
    for position in range(1, text.length):
        parts = torch.split(vocabulary, CHUNK, dim=1)
        residual = torch.cat(
            [span.residual(text.candidates(prefix, part)) for part in parts], 1
        ).cpu()
        so_far = torch.tensor(
            [reading.residual for reading in open_], dtype=torch.float64
        ).unsqueeze(1)
        worst = torch.maximum(residual, so_far)
        ended += [TokenSequence(r.tokens, float(worst[k, text.end])) for k, r in enumerate(open_)]
        ended = sorted(ended, key=lambda reading: reading.residual)[:count]
        worst[:, text.end] = torch.inf
        bar = ended[-1].residual if len(ended) == count else float("inf")
        best = worst.flatten().topk(min(beam, worst.numel()), largest=False)
        kept = best.values < min(bar, max(EXPLAINED, 10 * float(best.values[0])))
        if position == text.length - 1 or not bool(kept.any()):
            break
        origin, chosen = best.indices[kept] // text.vocabulary, best.indices[kept] % text.vocabulary
        open_ = [
            TokenSequence((*open_[k].tokens, token), value)
            for k, token, value in zip(
                origin.tolist(), chosen.tolist(), best.values[kept].tolist(), strict=True
            )
        ]
        prefix = text.extend(prefix.take(origin), chosen)
    return ended
