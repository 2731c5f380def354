"""Reads attributes from pictures, for the ceiling of attribute attacks and attacks on pictures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.backbones.embedded_backbone import load_embedded
from bench.backbones.portrait_attributes import CLASSES
from bench.types.facts import AttributeOdds
from bench.types.images import ImageBatch
from bench.types.records import Records


def learnable_attributes(auxiliary: Records) -> dict[str, tuple[str, ...]]:
    """Return the attributes that all auxiliary records carry and that can be learned, with values.

    An attribute with a single value carries no information. An attribute whose every value belongs
    to one identity is a name, so it cannot generalise to other people. The values are those of the
    embedded heads where these know the attribute, else those in the records.
    """
    if not len(auxiliary):
        return {}
    people = [
        name if name is not None else f"record {i}" for i, name in enumerate(auxiliary.identities)
    ]
    found = {}
    for name in auxiliary.attributes[0]:
        if not all(name in row for row in auxiliary.attributes):
            continue
        owners: dict[str, set[str]] = {}
        for row, who in zip(auxiliary.attributes, people, strict=True):
            owners.setdefault(row[name], set()).add(who)
        if len(owners) > 1 and any(len(who) > 1 for who in owners.values()):
            found[name] = (
                CLASSES[name]
                if set(owners) <= set(CLASSES.get(name, ()))
                else tuple(sorted(owners))
            )
    return found


class AttributeReader:
    """Reads attributes by the heads of the embedded backbone, or by a model of auxiliary pictures.

    The heads are used where they know all values. Other attributes are read by logistic regression
    on the backbone's features, fitted to the auxiliary pictures.

    Args:
        values: the values of each attribute to read.
        auxiliary: records that carry those attributes.
    """

    def __init__(self, values: Mapping[str, tuple[str, ...]], auxiliary: Records) -> None:
        self._values = dict(values)
        self._auxiliary = auxiliary

    def read(self, images: ImageBatch) -> AttributeOdds:
        """Return the odds of the attributes of pictures."""
        odds = load_embedded().attributes(images)
        learned = [name for name, known in self._values.items() if CLASSES.get(name) != known]
        odds |= self._learned(images, learned) if learned else {}
        return AttributeOdds(self._values, {name: odds[name] for name in self._values})

    def _learned(self, images: ImageBatch, names: list[str]) -> dict[str, Tensor]:
        from sklearn.linear_model import LogisticRegression

        known, asked = _features(self._auxiliary.image_batch()), _features(images)
        mean, spread = known.mean(0), known.std(0).clamp_min(1e-6)
        found = {}
        for name in names:
            model = LogisticRegression(C=0.1, max_iter=500)
            model.fit(
                ((known - mean) / spread).numpy(), [row[name] for row in self._auxiliary.attributes]
            )
            odds = torch.zeros(len(images), len(self._values[name]))
            places = [self._values[name].index(value) for value in model.classes_]
            odds[:, places] = torch.from_numpy(
                model.predict_proba(((asked - mean) / spread).numpy())
            ).float()
            found[name] = odds
        return found


def _features(images: ImageBatch) -> Tensor:
    backbone = load_embedded()
    return torch.cat([backbone.features(images), backbone.prompt_embed(images)], 1).double()
