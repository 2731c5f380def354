"""Facts that need no attack on the wire: what claimed attributes and identities are held against."""

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
    """The truth in the shape of the claim, and the controls by name.

    Args:
        records: those scored, with the truth.
        gallery: what the attack chose among, where it claims identities.

    Raises:
        BenchError: identities are claimed of records that are not in the gallery.
    """
    if isinstance(claim, AttributeOdds):
        return AttributeOdds.one_hot(records.attributes, claim.values), _labels(
            claim, records, auxiliary, seed
        )
    places = None if gallery is None else gallery.positions(records.identities)
    if gallery is None or places is None:
        raise BenchError("an identity that is to be found is not in the gallery")
    return IdentityScores.one_hot(places, len(gallery.names)), _lineups(
        claim, records, gallery, seed
    )


def _labels(
    claim: AttributeOdds, records: Records, auxiliary: Records, seed: int
) -> dict[str, Fact]:
    """AttributeOdds by control name; all but the last two are made of auxiliary records alone.

    * ``majority``: how often each value is met among auxiliary records, for every record.
    * ``random``: the labels of one auxiliary record each, drawn with ``seed``.
    * ``nearest``: those of the auxiliary record whose picture has the least squared error to the
    truth. * ``shuffled``: the claim itself, each record's dealt out to a record of another
    identity. * ``oracle``: what is read off the true picture.
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
        SHUFFLED: claim.take(_wrong(records, seed)),
        ORACLE: AttributeReader(claim.values, auxiliary).read(records.image_batch()),
    }


def _lineups(
    claim: IdentityScores, records: Records, gallery: Gallery, seed: int
) -> dict[str, Fact]:
    """Lineups by control name: ``random`` is a blind guess, ``shuffled`` the claim dealt out to
    records of other people, ``oracle`` the identity embeddings of the true picture and the
    gallery's."""
    size = (len(records), len(gallery.names))
    embed = load_embedded().embed
    return {
        "random": IdentityScores(
            torch.rand(size, generator=generator(seed, "control", "identity"))
        ),
        SHUFFLED: claim.take(_wrong(records, seed)),
        ORACLE: IdentityScores(embed(records.image_batch()) @ embed(gallery.images).T),
    }


def _wrong(records: Records, seed: int) -> list[int]:
    """Whose claim each record is given: a record's of another identity, so that no true answer counts as blind luck."""
    return other_identities(records.identities, generator(seed, "control", "shuffled"))
