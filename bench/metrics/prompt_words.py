"""Share of a prompt's words that is recovered in order."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces.metric import ScoringContext, TextMetric
from bench.interfaces.plugin import Card
from bench.metrics.pairs import check_texts, errors_of
from bench.metrics.rouge import rouge_l
from bench.types.texts import Texts


class RougeL(TextMetric):
    """ROUGE-L, F-measure with equal weights, over lower-cased words without stemming."""

    name = "rouge_l"
    higher_is_closer = True
    card = Card(
        summary="F-measure of the longest common subsequence of words between claim and prompt.",
        source="Lin, Text Summarization Branches Out, ACL 2004, section 3",
        notes=(
            "Prompts of one data set share turns of phrase, so its floor is far above 0: read it "
            "between its controls."
        ),
    )

    def compare(self, claim: Texts, truth: Texts, context: ScoringContext) -> Tensor:
        """Return ``(N,)`` float64 in [0, 1].

        Raises:
            BenchError: claim and truth differ in number.
        """
        with errors_of(self.name):
            check_texts(claim, truth)
        return torch.from_numpy(rouge_l(claim.texts, truth.texts))
