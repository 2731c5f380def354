"""Print which prompts the updates of a federated ControlNet reveal, as a table.

The rows differ in the records of an update and in the age of the model. One client trains with SGD
on a few portraits; the first update, one in the middle and the last are attacked by
``prompt-span``. A prompt counts as exact where every token is right. Claimed prompts are matched to
the records of their update before they are scored, as in a row.

Usage: ``python docs/studies/federated_leaks.py [--counts 1,2,4,8] [--records 8] [--epochs 3]
[--rate 0.1] [--protocol fedavg] [--clients 1] [--defense dp-sgd:noise=1]``
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

import bench
from bench.interfaces import (
    Capture,
    NotApplicableError,
    Records,
    Release,
    Silent,
    Texts,
    ThreatModel,
)
from bench.scoring.matching import match_texts
from victims.diffusion.federated import Federated

HEAD = (
    "| records an update | update | rank of the span | tokens right | prompts exact "
    "| worst residual | s |"
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1,2,4,8", help="records an update, of one client")
    parser.add_argument("--records", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--protocol", default="fedavg", choices=Federated.protocols)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--defense", default="none")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    defense = bench.build("defenses", asked.defense)
    private = bench.build("datasets", "portraits:photos_per_identity=1").load(
        asked.records, image_size=64, condition="canny", progress=Silent()
    )
    print(HEAD + "\n|---|---|---|---|---|---|---|", flush=True)
    for count in map(int, asked.counts.split(",")):
        victim = Federated.build(
            {
                "clients": asked.clients,
                "records_per_update": count,
                "optimizer": "sgd",
                "learning_rate": asked.rate,
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            capture = bench.train(
                victim,
                private,
                Path(folder) / "capture",
                defense=defense,
                protocol=asked.protocol,
                epochs=asked.epochs,
                batch_size=count,
                learning_rate=asked.rate,
            )
            for target in ages(capture):
                print(f"| {len(target)} " + attacked(victim, capture, private, target), flush=True)


def ages(capture: Capture) -> list[list[Release]]:
    """The releases of the first update, of one in the middle and of the last."""
    releases = capture.transcript.releases()
    steps = sorted({release.step for release in releases})
    return [
        [r for r in releases if r.step == step]
        for step in (steps[0], steps[len(steps) // 2], steps[-1])
    ]


def attacked(victim: Federated, capture: Capture, private: Records, target: list[Release]) -> str:
    """The rest of one row."""
    public = victim.public(
        None, private.select([0]), protocol=capture.transcript.header.protocol, device="cpu"
    )
    view = ThreatModel().project(capture.transcript, public, target)
    start, which = time.perf_counter(), f"| {target[0].step + 1} "
    try:
        claim = bench.attack("prompt-span", view, iterations=0, batch_size=1)
    except NotApplicableError as error:
        return f"{which}| not applicable: {error} | | | | |"
    took = time.perf_counter() - start
    records, _ = capture.secrets.truth(target)
    assert public.text is not None
    true = Texts(records.prompts, public.text.tokens(records.prompts))
    claimed = claim.estimates["prompt"]
    assert isinstance(claimed, Texts)
    found = match_texts(claimed, true, [list(range(len(target)))])
    assert true.tokens is not None
    assert found.tokens is not None
    right = [
        sum(map(int.__eq__, a, b)) / len(b) for a, b in zip(found.tokens, true.tokens, strict=True)
    ]
    exact = sum(a == b for a, b in zip(found.tokens, true.tokens, strict=True))
    shown = claim.diagnostics
    return (
        f"{which}| {shown['span_rank']:.0f} of {shown['span_dimensions']:.0f} "
        f"| {sum(right) / len(right):.3f} | {exact} of {len(target)} "
        f"| {shown['span_residual_worst']:.1e} | {took:.0f} |"
    )


if __name__ == "__main__":
    main()
