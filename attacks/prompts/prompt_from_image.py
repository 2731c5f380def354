"""The prompt by captioning the recovered picture, for clients that keep prompts."""

from __future__ import annotations

import torch

from attacks.wire.closed_form import ClosedForm
from bench.backbones.captioner import Captioner
from bench.backbones.embedded_backbone import load_embedded
from bench.interfaces import (
    UNET_FEATURES,
    Attack,
    Budget,
    Card,
    Claim,
    Estimate,
    NotApplicableError,
    Progress,
    Texts,
    View,
)


class PromptFromImage(Attack):
    """Captions the picture of the closed-form attack; reads nothing of ``prompt_embedding``.

    The picture is exact where the noise target is in view, and the best linear estimate a_t x_t
    where it is not. The captioner picks and rewords a prompt of the auxiliary records.
    """

    name = "prompt-from-image"
    requires = frozenset({UNET_FEATURES})
    default_budget = Budget(iterations=0, batch_size=64)
    card = Card(
        summary=(
            "Captions the picture that the closed-form attack recovers, in words of auxiliary "
            "prompts."
        ),
        source=(
            "this project; word search after arXiv:2302.03668, captions by embedding after "
            "arXiv:2103.00020"
        ),
        needs="unet_features; timestep or noise_target; auxiliary records with prompts",
        cost="closed-form, and a few thousand texts through the embedded text tower per record",
        notes=(
            "Its ceiling is the control caption: the caption of the true picture. The captioner "
            "knows the data set portraits only. On other pictures it is weak, and a weak result "
            "proves nothing."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        if not len(view.public.auxiliary):
            raise NotApplicableError("needs at least one auxiliary record to take words from")
        image = (
            ClosedForm().run(view, rng=rng, budget=budget, progress=progress).estimates.get("image")
        )
        if not isinstance(image, Estimate):
            raise NotApplicableError(
                "neither a timestep nor a noise target is in view, so there is no picture"
            )
        captioner = Captioner(view.public.auxiliary, load_embedded())
        texts: list[str] = []
        with progress.stage("captioning", len(image.images)) as advance:
            for part in torch.split(torch.arange(len(image.images)), budget.batch_size):
                texts += captioner.caption(image.images.take(part))
                advance(len(part))
        return Claim({"prompt": Texts(tuple(texts))})
