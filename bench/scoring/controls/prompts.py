"""Prompts that need no attack on the wire: what every recovered prompt is held against."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from bench.backbones.captioner import Captioner
from bench.backbones.embedded_backbone import load_embedded
from bench.interfaces.public_text import PublicText
from bench.metrics.rouge import rouge_table
from bench.scoring.controls.images import NEAREST, ORACLE, TYPICAL
from bench.types.records import Records
from bench.types.texts import Texts
from bench.util.rng import generator

CAPTION = "caption"  # of the true picture: the ceiling where only the picture tells of the prompt (METHODS 5.2)
SAMPLE = 64  # auxiliary prompts among which the typical one is sought


def prompt_controls(
    records: Records, auxiliary: Records, text: PublicText | None, *, seed: int
) -> Mapping[str, Texts]:
    """Wordings by control name; all but the oracle are made of auxiliary prompts.

    * ``typical``: for every record the auxiliary prompt that is most like the others by ROUGE-L.
    * ``random``: one auxiliary prompt each, drawn with ``seed``.
    * ``nearest``: the auxiliary prompt nearest to the true one by ROUGE-L, chosen with the truth in
    hand. * ``caption``: what a captioner that knows the auxiliary records says of the true picture.
    * ``oracle``: the true prompt, cut to what the text encoder takes.

    Args:
        records: those scored, with the truth.
        text: the victim's text encoder, or None where it has none.
    """
    truth, pool = records.prompts, auxiliary.prompts
    draw = torch.randint(
        0, len(pool), (len(truth),), generator=generator(seed, "control", "prompt")
    ).tolist()
    some = [
        pool[i]
        for i in torch.randperm(len(pool), generator=generator(seed, "typical"))[:SAMPLE].tolist()
    ]
    typical = some[int(rouge_table(some, some).mean(1).argmax())]
    nearest = rouge_table(truth, pool).argmax(1).tolist()
    rows = None if text is None else text.tokens(truth)
    cut = truth if text is None or rows is None else tuple(text.decode(row) for row in rows)
    return {
        TYPICAL: Texts((typical,) * len(truth)),
        "random": Texts(tuple(pool[i] for i in draw)),
        NEAREST: Texts(tuple(pool[i] for i in nearest)),
        CAPTION: Texts(Captioner(auxiliary, load_embedded()).caption(records.image_batch())),
        ORACLE: Texts(cut, rows),
    }
