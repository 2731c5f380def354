"""Puts a claim beside what it is compared with: the truth, and controls that need no attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.interfaces.public import Codec
from bench.interfaces.public_text import PublicText
from bench.scoring.control_cache import ControlCache
from bench.scoring.controls.facts import fact_controls
from bench.scoring.controls.images import image_controls
from bench.scoring.controls.prompts import prompt_controls
from bench.scoring.matching import match_facts, match_images, match_texts
from bench.scoring.picture import Panel
from bench.types.estimate import Estimate
from bench.types.facts import AttributeOdds, Fact, IdentityScores
from bench.types.gallery import Gallery
from bench.types.records import Records
from bench.types.texts import Texts

Groups = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class ControlSource:
    """Everything that the controls of a cell are computed from.

    Attributes:
        seed: the seed of the victim, which also seeds the random controls.
        auxiliary: the attacker's records.
        codec: the public autoencoder; None where the victim has none.
        text: the victim's text encoder; None where it has none.
        gallery: pictures with names among which the attack names identities; None where there is
            no gallery.
        cache: controls that earlier cells have computed.
        key_parts: the parts of the cache key that are no tensors: model, splits, device, backbones.
    """

    seed: int
    auxiliary: Records
    codec: Codec | None
    text: PublicText | None
    gallery: Gallery | None
    cache: ControlCache
    key_parts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The claim about one target and everything that it is scored against.

    Attributes:
        claimed: the claim. Records that share an update have no order there, so they are put in the
            order of the truth.
        truth: the true value of the target, in the type of the claim.
        controls: estimates that need no attack, by name.
        known: mean scores of these controls by metric, as far as they have been computed.
        panel: the pictures for the cell's PNG; None where the target is no picture.
    """

    claimed: Estimate | Texts | Fact
    truth: Estimate | Texts | Fact
    controls: Mapping[str, Estimate] | Mapping[str, Texts] | Mapping[str, Fact]
    known: dict[str, Mapping[str, float]] = field(default_factory=dict)
    panel: Panel | None = None


def compare(
    target: str,
    claimed: Estimate | Texts | Fact,
    truth: Mapping[str, Estimate],
    records: Records,
    source: ControlSource,
    groups: Groups,
) -> Comparison:
    """Return the claim about one target beside its truth and its controls.

    Args:
        target: what is claimed, such as ``image``.
        claimed: the claim about that target.
        truth: the true pictures by target.
        records: the records behind the attacked releases, in their order.
        source: what the controls are computed from.
        groups: positions of records that share an update; empty where each record has its own
            message.
    """
    seed, auxiliary = source.seed, source.auxiliary
    if isinstance(claimed, Texts):
        prompts = Texts(records.prompts)
        texts = prompt_controls(records, auxiliary, source.text, seed=seed)
        if not groups:
            return Comparison(claimed, prompts, texts)
        texts = {name: match_texts(c, prompts, groups) for name, c in texts.items()}
        return Comparison(match_texts(claimed, prompts, groups), prompts, texts)
    if isinstance(claimed, AttributeOdds | IdentityScores):
        fact, facts = fact_controls(claimed, records, auxiliary, source.gallery, seed=seed)
        if not groups:
            return Comparison(claimed, fact, facts)
        facts = {name: match_facts(c, fact, groups) for name, c in facts.items()}
        return Comparison(match_facts(claimed, fact, groups), fact, facts)
    return _pictures(target, claimed, truth, source, groups)


def _pictures(
    target: str,
    claimed: Estimate,
    truth: Mapping[str, Estimate],
    source: ControlSource,
    groups: Groups,
) -> Comparison:
    target_truth = truth[target]

    def make() -> Mapping[str, Estimate]:
        return image_controls(
            target, target_truth, source.auxiliary, source.codec, seed=source.seed
        )

    if groups:  # the order depends on the truth, so these controls cannot come from the cache
        ordered = {name: match_images(c, target_truth.images, groups) for name, c in make().items()}
        claimed = match_images(claimed, target_truth.images, groups)
        panel = Panel(target, target_truth.images, claimed.images, ordered)
        return Comparison(claimed, target_truth, ordered, panel=panel)
    key_parts = (target, str(source.seed), *source.key_parts, str(source.codec is None))
    tensors = [
        target_truth.images.pixels,
        truth["image"].images.pixels,
        *([] if target_truth.latents is None else [target_truth.latents]),
    ]
    cached = source.cache.get_or_make(key_parts, tensors, make)
    panel = Panel(target, target_truth.images, claimed.images, cached.controls)
    return Comparison(claimed, target_truth, cached.controls, cached.means, panel)
