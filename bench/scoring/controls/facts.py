"""Computes controls for claimed attributes and identities; none of them uses the wire."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from bench.backbones.attribute_reader import AttributeReader
from bench.backbones.embedded_backbone import load_embedded
from bench.scoring.controls.images import MAJORITY, NEAREST, ORACLE, SHUFFLED
from bench.types.facts import AttributeOdds, Fact, IdentityScores
from bench.types.gallery import Gallery
from bench.types.identities import other_identities
from bench.types.records import Records
from bench.util.errors import BenchError
from bench.util.rng import generator


def fact_controls(
    claim: Fact, records: Records, auxiliary: Records, gallery: Gallery | None, *, seed: int
) -> tuple[Fact, Mapping[str, Fact]]:
    """Return the truth in the type of the claim, and the controls by name.

    Args:
        claim: attributes or identities, as the attack claims them.
        records: the scored records, with the truth.
        auxiliary: the attacker's records.
        gallery: the pictures that the attack chose among, where it claims identities.
        seed: seeds the random controls.

    Raises:
        BenchError: identities are claimed of records that are not in the gallery.
    """
    if isinstance(claim, AttributeOdds):
        return AttributeOdds.one_hot(records.attributes, claim.values), _labels(
            claim, records, auxiliary, seed
        )
    positions = None if gallery is None else gallery.positions(records.identities)
    if gallery is None or positions is None:
        raise BenchError("an identity that is to be found is not in the gallery")
    return IdentityScores.one_hot(positions, len(gallery.names)), _lineups(
        claim, records, gallery, seed
    )


def _labels(
    claim: AttributeOdds, records: Records, auxiliary: Records, seed: int
) -> dict[str, Fact]:
    """Return labels by control name; all but the last two use auxiliary records alone.

    * ``majority``: the frequency of each value among auxiliary records, for every record.
    * ``random``: the labels of one auxiliary record for each record, drawn with ``seed``.
    * ``nearest``: the labels of the auxiliary record whose picture has the least squared error to
      the true picture.
    * ``shuffled``: the claim itself, where each record gets the claim for another identity.
    * ``oracle``: the labels that a classifier reads from the true picture.
    """
    count = len(records)
    public = AttributeOdds.one_hot(auxiliary.attributes, claim.values)
    prior = {
        name: odds.mean(0, keepdim=True).expand(count, -1) for name, odds in public.odds.items()
    }
    draw = torch.randint(
        0, len(auxiliary), (count,), generator=generator(seed, "control", "attribute")
    )
    truth, pool = (part.image_batch().pixels.flatten(1) for part in (records, auxiliary))
    nearest = torch.cdist(truth, pool).argmin(1)
    return {
        MAJORITY: AttributeOdds(claim.values, prior),
        "random": public.take(draw.tolist()),
        NEAREST: public.take(nearest.tolist()),
        SHUFFLED: claim.take(_wrong_records(records, seed)),
        ORACLE: AttributeReader(claim.values, auxiliary).read(records.image_batch()),
    }


def _lineups(
    claim: IdentityScores, records: Records, gallery: Gallery, seed: int
) -> dict[str, Fact]:
    """Return lineups by control name.

    * ``random``: a blind guess.
    * ``shuffled``: the claim itself, where each record gets the claim for another identity.
    * ``oracle``: the similarity of the identity embeddings of the true picture and of the gallery.
    """
    size = (len(records), len(gallery.names))
    embed = load_embedded().embed
    return {
        "random": IdentityScores(
            torch.rand(size, generator=generator(seed, "control", "identity"))
        ),
        SHUFFLED: claim.take(_wrong_records(records, seed)),
        ORACLE: IdentityScores(embed(records.image_batch()) @ embed(gallery.images).T),
    }


def _wrong_records(records: Records, seed: int) -> list[int]:
    """Return for each record a record of another identity, so that no claim stays correct."""
    return other_identities(records.identities, generator(seed, "control", "shuffled"))
