"""Computes controls for recovered prompts; none of them uses the wire."""

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

# The ceiling where only the picture carries information about the prompt.
CAPTION = "caption"
SAMPLE = 64  # number of auxiliary prompts among which the typical one is chosen


def prompt_controls(
    records: Records, auxiliary: Records, text: PublicText | None, *, seed: int
) -> Mapping[str, Texts]:
    """Return prompts by control name; all but the oracle use auxiliary prompts.

    * ``typical``: for every record the auxiliary prompt that is most like the others by ROUGE-L.
    * ``random``: one auxiliary prompt for each record, drawn with ``seed``.
    * ``nearest``: the auxiliary prompt nearest to the true one by ROUGE-L; choosing it requires the
      truth.
    * ``caption``: the caption of the true picture by a captioner fitted to the auxiliary records.
    * ``oracle``: the true prompt, truncated to the length of the text encoder.

    Args:
        records: the scored records, with the truth.
        auxiliary: the attacker's records.
        text: the victim's text encoder; None where it has none.
        seed: seeds the random controls.
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
