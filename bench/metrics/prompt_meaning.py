"""Similarity in meaning of a recovered prompt and the true one, by a text tower."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces.backbone import TextBackbone
from bench.interfaces.metric import ScoringContext, TextMetric
from bench.interfaces.plugin import Card
from bench.metrics.identification import ranks
from bench.metrics.pairs import check_texts, errors_of
from bench.types.texts import Texts
from bench.util.errors import BenchError


def _unit(context: ScoringContext, texts: tuple[str, ...]) -> Tensor | None:
    """Return ``(N, D)`` float64 unit-length embeddings, or None without a text tower."""
    backbone = context.backbones.prompt
    if not isinstance(backbone, TextBackbone):
        return None

    def compute() -> Tensor:
        embedded = backbone.text_embed(texts).detach().cpu().double()
        length: Tensor = torch.linalg.vector_norm(embedded, dim=1, keepdim=True)
        return embedded / length

    return context.once(("prompt", texts), compute)


class PromptCosine(TextMetric):
    """Cosine between the text embeddings of claim and prompt."""

    name = "prompt_cosine"
    higher_is_closer = True
    card = Card(
        summary="Cosine between text embeddings of claim and prompt.",
        source="CLIP text similarity, Radford et al., arXiv:2103.00020",
        needs="a prompt backbone with a text tower",
        cost="one pass of the text tower over claims and truth",
        notes=(
            "The captioner searches words in the embedded backbone's own space, so that backbone "
            "flatters it here; rouge_l does not."
        ),
    )

    def compare(self, claim: Texts, truth: Texts, context: ScoringContext) -> Tensor | None:
        """Return ``(N,)`` float64 in [-1, 1], or None where the backbone embeds no texts.

        Raises:
            BenchError: claim and truth differ in number.
        """
        with errors_of(self.name):
            check_texts(claim, truth)
        claimed, wanted = _unit(context, claim.texts), _unit(context, truth.texts)
        return (
            None
            if claimed is None or wanted is None
            else (claimed * wanted).sum(1).clamp(-1.0, 1.0)
        )

    def backbone(self, context: ScoringContext) -> str:
        """Return the name of the prompt backbone."""
        return context.backbones.prompt.name


class PromptTop1(TextMetric):
    """1 where no other prompt is as near to the claim as the true one."""

    name = "prompt_top1"
    higher_is_closer = True
    share = True
    card = Card(
        summary="1 where no other prompt of the gallery is as near to the claim as the true one.",
        source=(
            "rank-1 identification rate, ISO/IEC 19795-1, on CLIP text similarity, arXiv:2103.00020"
        ),
        needs="a prompt backbone with a text tower",
        cost="one pass of the text tower over claims and gallery",
        notes=(
            "The gallery: prompts of the scored and of the evaluation records, each text once. "
            "Ties count against the attacker."
        ),
    )

    def compare(self, claim: Texts, truth: Texts, context: ScoringContext) -> Tensor | None:
        """Return ``(N,)`` float64, 0 or 1, or None.

        None without a text tower, or where the gallery has only one prompt.

        Raises:
            BenchError: claim and truth differ in number, or a true prompt is not in the gallery.
        """
        with errors_of(self.name):
            check_texts(claim, truth)
        if missing := set(truth.texts) - set(context.prompts):
            raise BenchError(f"{self.name}: the gallery lacks the true prompt {min(missing)!r}")
        # A row of the gallery for each record, as ranks() wants it, would hold equal prompts twice:
        # each record gets a gallery of its prompt and the different ones.
        gallery = tuple(dict.fromkeys(context.prompts))
        claimed, known = _unit(context, claim.texts), _unit(context, gallery)
        if len(gallery) < 2 or claimed is None or known is None:
            return None
        own = [gallery.index(text) for text in truth.texts]
        others = [[i, *(j for j in range(len(gallery)) if j != i)] for i in own]
        places = [int(ranks(claimed[k : k + 1], known[order])[0]) for k, order in enumerate(others)]
        return torch.tensor([float(place == 0) for place in places], dtype=torch.float64)

    def backbone(self, context: ScoringContext) -> str:
        """Return the name of the prompt backbone."""
        return context.backbones.prompt.name
