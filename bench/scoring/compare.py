"""A claim beside what it is compared with: the truth, and estimates that need no attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.interfaces.public import Codec
from bench.interfaces.public_text import PublicText
from bench.scoring.controls.facts import fact_controls
from bench.scoring.controls.images import controls
from bench.scoring.controls.prompts import prompt_controls
from bench.scoring.matching import matched, matched_facts, matched_texts
from bench.scoring.picture import Panel
from bench.types.estimate import Estimate
from bench.types.facts import Fact, Labels, Lineup
from bench.types.gallery import Gallery
from bench.types.records import Records
from bench.types.texts import Wording

if TYPE_CHECKING:
    from bench.cell.job import Job

Groups = Sequence[Sequence[int]]


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
    job: Job,
    target: str,
    claimed: Estimate | Wording | Fact,
    truth: Mapping[str, Estimate],
    records: Records,
    text: PublicText | None,
    gallery: Gallery | None,
    codec: Codec | None,
    groups: Groups,
) -> Comparison:
    """The comparison of one target.

    Args:
        truth: pictures by target.
        records: behind the attacked releases, in their order.
        groups: which of them share an update; empty where each has a message of its own.
    """
    seed, auxiliary = job.cell.capture.seed, job.splits.auxiliary
    if isinstance(claimed, Wording):
        told = Wording(records.prompts)
        texts = prompt_controls(records, auxiliary, text, seed=seed)
        if not groups:
            return Comparison(claimed, told, texts)
        texts = {name: matched_texts(c, told, groups) for name, c in texts.items()}
        return Comparison(matched_texts(claimed, told, groups), told, texts)
    if isinstance(claimed, Labels | Lineup):
        fact, facts = fact_controls(claimed, records, auxiliary, gallery, seed=seed)
        if not groups:
            return Comparison(claimed, fact, facts)
        facts = {name: matched_facts(c, fact, groups) for name, c in facts.items()}
        return Comparison(matched_facts(claimed, fact, groups), fact, facts)
    return _pictures(job, target, claimed, truth, codec, groups)


def _pictures(
    job: Job, target: str, claimed: Estimate, truth: Mapping[str, Estimate], codec: Codec | None, groups: Groups
) -> Comparison:
    told, seed = truth[target], job.cell.capture.seed

    def make() -> Mapping[str, Estimate]:
        return controls(target, told, job.splits.auxiliary, codec, seed=seed)

    if groups:  # controls are dealt out anew, update by update
        shown = {name: matched(c, told.images, groups) for name, c in make().items()}
        claimed = matched(claimed, told.images, groups)
        return Comparison(claimed, told, shown, panel=Panel(target, told.images, claimed.images, shown))
    spec = job.cell.capture
    words = (target, str(seed), spec.model_hash, spec.victim.content_hash(), job.splits.content_hash(), spec.device)
    tensors = [told.images.pixels, truth["image"].images.pixels, *([] if told.latents is None else [told.latents])]
    reference = job.references.of((*words, str(codec is None), *job.cell.backbones), tensors, make)
    panel = Panel(target, told.images, claimed.images, reference.controls)
    return Comparison(claimed, told, reference.controls, reference.means, panel)
