"""The public side of a client that trains a small classifier."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.func import grad

from bench.images import ImageBatch
from bench.interfaces import Estimate
from bench.public_trainer import LocalTraining, PublicTrainer, Unknown
from victims.classifier_network import Classifier
from victims.classifier_records import enlarged

PIXELS, LABEL = "pixels", "label"


class ClassifierTrainer(PublicTrainer):
    """Cross-entropy on ``pixels`` ``(B, 3, size, size)`` in [0, 1] and soft ``label`` ``(B, classes)``."""

    def __init__(self, classifier: Classifier, local: LocalTraining, image_size: int) -> None:
        self.local = local
        self._classifier = classifier
        self._image_size = image_size

    def unknowns(self) -> Mapping[str, Unknown]:
        size = self._classifier.size
        return {
            PIXELS: Unknown((3, size, size), low=0.0, high=1.0),
            LABEL: Unknown((self._classifier.classes,), low=0.0, high=1.0, simplex=True),
        }

    def gradient(self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = grad(self._classifier.loss)(dict(weights), inputs[PIXELS], inputs[LABEL])
        return dict(found)

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        pixels = inputs[PIXELS].detach().float().cpu().clamp(0, 1)
        return {"image": Estimate(ImageBatch.clamped(enlarged(pixels, self._image_size)))}
