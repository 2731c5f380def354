"""A claim beside what it is compared with: the truth, and estimates that need no attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.interfaces.public import Codec
from bench.interfaces.public_text import PublicText
from bench.scoring.control_cache import ControlCache
from bench.scoring.controls.facts import fact_controls
from bench.scoring.controls.images import controls
from bench.scoring.controls.prompts import prompt_controls
from bench.scoring.matching import match_facts, match_images, match_texts
from bench.scoring.picture import Panel
from bench.types.estimate import Estimate
from bench.types.facts import Fact, Labels, Lineup
from bench.types.gallery import Gallery
from bench.types.records import Records
from bench.types.texts import Wording

Groups = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class ControlSource:
    """What the controls of a cell are made from.

    Attributes:
        auxiliary: the attacker's records.
        codec: the public autoencoder, None where the victim has none.
        text: the victim's text encoder, None where it has none.
        gallery: who the attack was to find, with names; None where there is no gallery.
        cache: controls that other cells have made.
        words: what names the controls in the cache besides tensors: model, splits, device,
            extractors.
    """

    seed: int
    auxiliary: Records
    codec: Codec | None
    text: PublicText | None
    gallery: Gallery | None
    cache: ControlCache
    words: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """One target's claim and everything that it is scored against.

    Attributes:
        claimed: in the order of the truth, where an update has several records and no order.
        known: mean scores of these controls by metric, as far as they are known.
        panel: for the cell's picture, where the target is one.
    """

    claimed: Estimate | Wording | Fact
    told: Estimate | Wording | Fact
    controls: Mapping[str, Estimate] | Mapping[str, Wording] | Mapping[str, Fact]
    known: dict[str, Mapping[str, float]] = field(default_factory=dict)
    panel: Panel | None = None


def compare(
    target: str,
    claimed: Estimate | Wording | Fact,
    truth: Mapping[str, Estimate],
    records: Records,
    source: ControlSource,
    groups: Groups,
) -> Comparison:
    """Return the comparison of one target.

    Args:
        truth: pictures by target.
        records: behind the attacked releases, in their order.
        groups: which of them share an update; empty where each has a message of its own.
    """
    seed, auxiliary = source.seed, source.auxiliary
    if isinstance(claimed, Wording):
        told = Wording(records.prompts)
        texts = prompt_controls(records, auxiliary, source.text, seed=seed)
        if not groups:
            return Comparison(claimed, told, texts)
        texts = {name: match_texts(c, told, groups) for name, c in texts.items()}
        return Comparison(match_texts(claimed, told, groups), told, texts)
    if isinstance(claimed, Labels | Lineup):
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
    told = truth[target]

    def make() -> Mapping[str, Estimate]:
        return controls(target, told, source.auxiliary, source.codec, seed=source.seed)

    if groups:  # controls are dealt out anew, update by update
        shown = {name: match_images(c, told.images, groups) for name, c in make().items()}
        claimed = match_images(claimed, told.images, groups)
        return Comparison(
            claimed, told, shown, panel=Panel(target, told.images, claimed.images, shown)
        )
    words = (target, str(source.seed), *source.words, str(source.codec is None))
    tensors = [
        told.images.pixels,
        truth["image"].images.pixels,
        *([] if told.latents is None else [told.latents]),
    ]
    reference = source.cache.of(words, tensors, make)
    panel = Panel(target, told.images, claimed.images, reference.controls)
    return Comparison(claimed, told, reference.controls, reference.means, panel)
