"""The public side of a client that trains a small classifier."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import grad
from torch.nn import functional

from bench.interfaces import Estimate, ImageBatch, LocalTraining, PublicTrainer, Records, Unknown
from victims.classifier.parts.labelled_records import enlarged, labels, pooled
from victims.classifier.parts.small_networks import HEAD, Classifier

PIXELS, LABEL, INSERTED = "pixels", "label", "inserted_noise"


class ClassifierTrainer(PublicTrainer):
    """Cross-entropy on ``pixels`` ``(B, 3, size, size)`` in [0, 1] and soft ``label`` ``(B,
    classes)``.

    Where a defence has put layers in that draw noise, ``inserted_noise`` ``(B, noise)`` is the
    third input.

    Args:
        label: what a record's class is made of
            (``victims.classifier.parts.labelled_records.labels``).
    """

    def __init__(
        self, classifier: Classifier, local: LocalTraining, image_size: int, label: str
    ) -> None:
        self.local = local
        self._classifier, self._image_size, self._label = classifier, image_size, label
        if classifier.insertion is not None and classifier.insertion.noise:
            self.behind_noise = classifier.insertion.behind_noise | {HEAD, "head.bias"}

    def unknowns(self) -> Mapping[str, Unknown]:
        size, insertion = self._classifier.size, self._classifier.insertion
        found = {
            PIXELS: Unknown((3, size, size), low=0.0, high=1.0),
            LABEL: Unknown((self._classifier.classes,), low=0.0, high=1.0, simplex=True),
        }
        return found if insertion is None else found | {INSERTED: Unknown((insertion.noise,))}

    def inputs(self, records: Records) -> dict[str, Tensor]:
        """``pixels`` and one-hot ``label``.

        Raises:
            RequestError: a record lacks what its class is made of.
        """
        classes = self._classifier.classes
        one_hot = functional.one_hot(labels(records, self._label, classes), classes).float()
        return {PIXELS: pooled(records.images, self._classifier.size), LABEL: one_hot}

    def draw(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """The client's own noise for ``count`` records; nothing where no layer draws any."""
        insertion = self._classifier.insertion
        return (
            {}
            if insertion is None
            else {INSERTED: torch.randn((count, insertion.noise), generator=rng)}
        )

    def loss(self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        """The mean loss of one batch; without ``inserted_noise`` inserted layers give their mean."""
        return self._classifier.loss(weights, inputs[PIXELS], inputs[LABEL], inputs.get(INSERTED))

    def gradient(
        self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return dict(grad(self.loss)(dict(weights), dict(inputs)))

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        pixels = inputs[PIXELS].detach().float().cpu().clamp(0, 1)
        return {"image": Estimate(ImageBatch.clamped(enlarged(pixels, self._image_size)))}
