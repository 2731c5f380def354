"""The public reconstruction of a client that trains a small classifier."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import grad
from torch.nn import functional

from bench.interfaces import Estimate, ImageBatch, LocalTraining, PublicTrainer, Records, Unknown
from victims.classifier.parts.labelled_records import enlarge, labels, pool
from victims.classifier.parts.small_networks import HEAD, Classifier

PIXELS, LABEL, INSERTED = "pixels", "label", "inserted_noise"


class ClassifierTrainer(PublicTrainer):
    """Computes the cross-entropy of a small classifier, and its gradient.

    The inputs are ``pixels`` ``(B, 3, size, size)`` in [0, 1], soft ``label`` ``(B, classes)``,
    and, where a defence has inserted layers that draw noise, ``inserted_noise`` ``(B, noise)``.

    Args:
        classifier: the network.
        local: how a client trains.
        image_size: height and width of the records' pictures.
        label: the attribute that gives a record's class, or ``identity``.
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
        unknowns = {
            PIXELS: Unknown((3, size, size), low=0.0, high=1.0),
            LABEL: Unknown((self._classifier.classes,), low=0.0, high=1.0, simplex=True),
        }
        return unknowns if insertion is None else unknowns | {INSERTED: Unknown((insertion.noise,))}

    def inputs(self, records: Records) -> dict[str, Tensor]:
        """Return ``pixels`` and one-hot ``label`` of records.

        Raises:
            RequestError: a record lacks the attribute that gives its class.
        """
        classes = self._classifier.classes
        one_hot = functional.one_hot(labels(records, self._label, classes), classes).float()
        return {PIXELS: pool(records.images, self._classifier.size), LABEL: one_hot}

    def draw(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the noise of inserted layers for ``count`` records; empty where there are none."""
        insertion = self._classifier.insertion
        return (
            {}
            if insertion is None
            else {INSERTED: torch.randn((count, insertion.noise), generator=rng)}
        )

    def loss(self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean loss of a batch; without ``inserted_noise`` the noise is zero."""
        return self._classifier.loss(weights, inputs[PIXELS], inputs[LABEL], inputs.get(INSERTED))

    def gradient(
        self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return dict(grad(self.loss)(dict(weights), dict(inputs)))

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        pixels = inputs[PIXELS].detach().float().cpu().clamp(0, 1)
        return {"image": Estimate(ImageBatch.clamped(enlarge(pixels, self._image_size)))}
