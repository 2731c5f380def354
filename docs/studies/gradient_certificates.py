"""Print how well gradient attacks reconstruct from updates of several records, as a table.

Updates hold 1, 2, 4 or 8 records, with or without a defence. Records that share an update are
matched to the truth before they are scored, as in a row. A record counts as reconstructed at a
squared error below 1e-4 (40 dB). The script compares recovered labels with the truth, which an
attack cannot. Each defence is attacked by an attacker who knows it and by one who does not.

Usage: ``python docs/studies/gradient_certificates.py [--attacks dlg inverting-gradients:tv=0]
[--records 1,2,4] [--targets 8] [--defenses none sign]``
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import bench
from attacks.gradients.engine.labels import recover_labels
from attacks.gradients.engine.updates import trainer_of, updates_in
from bench.cell.targets import update_groups
from bench.interfaces import (
    Budget,
    ImageBatch,
    Records,
    Silent,
    ThreatModel,
    View,
)
from bench.metrics import mse
from bench.scoring.matching import match_images
from victims.classifier.federated_classifier import FederatedClassifier
from victims.classifier.parts.labelled_records import labels

HEAD = (
    "| defence | known | attack | records an update | records | MSE, median | below 1e-4 | labels "
    "| iterations | s |"
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--attacks",
        nargs="+",
        default=["dlg", "inverting-gradients"],
        metavar="NAME[:KEY=VALUE,...]",
    )
    parser.add_argument("--records", default="1,2,4,8")
    parser.add_argument(
        "--targets",
        type=int,
        default=8,
        help="records attacked, a multiple of the records an update",
    )
    parser.add_argument("--defenses", nargs="+", default=["none"], metavar="NAME[:KEY=VALUE,...]")
    parser.add_argument("--iterations", type=int, help="instead of the attack's own")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    private = bench.build("datasets", "portraits:photos_per_identity=1").load(
        asked.targets, image_size=64, condition="canny", progress=Silent()
    )
    print(HEAD + "\n" + "|---" * 10 + "|")
    for count in map(int, asked.records.split(",")):
        for defence in asked.defenses:
            for known in (True, False) if defence != "none" else (True,):
                with tempfile.TemporaryDirectory() as folder:
                    scene = seen(private, count, defence, known, Path(folder))
                    for attack in asked.attacks:
                        cells = attacked(scene, attack, asked.iterations)
                        head = f"| {defence} | {'yes' if known else 'no'} | {attack} | {count} "
                        print(f"{head}| {cells}", flush=True)


@dataclass(frozen=True, eq=False)
class Scene:
    """One round of one client.

    Attributes:
        view: what the server sees of the round.
        truth: the true images.
        classes: the true classes, ``(N,)``.
        groups: positions of the records by the update that they share.
    """

    view: View
    truth: ImageBatch
    classes: Tensor
    groups: list[list[int]]


def seen(private: Records, count: int, defence: str, known: bool, folder: Path) -> Scene:
    """Train for a round and look at what was sent."""
    victim = FederatedClassifier.build({"records_per_update": count, "clients": 1})
    defense = bench.build("defenses", defence)
    capture = bench.train(
        victim,
        private,
        folder / "capture",
        defense=defense,
        protocol="fedsgd",
        learning_rate=1e-3,
    )
    targets = capture.transcript.releases(0)
    public = victim.public(
        defense if known else None, private.select([]), protocol="fedsgd", device="cpu"
    )
    index = capture.secrets.record_index[[capture.secrets.position[r] for r in targets]]
    return Scene(
        view=ThreatModel().project(capture.transcript, public, targets),
        truth=capture.secrets.truth(targets)[1]["image"].images,
        classes=labels(private, victim.params.label, victim.params.classes)[index],
        groups=update_groups(capture.transcript, targets),
    )


def attacked(scene: Scene, label: str, iterations: int | None) -> str:
    """The rest of a row of the table."""
    attack = bench.build("attacks", label)
    budget = Budget(
        iterations or attack.default_budget.iterations, attack.default_budget.batch_size
    )
    start = time.perf_counter()
    claim = attack.run(
        scene.view, rng=torch.Generator().manual_seed(0), budget=budget, progress=Silent()
    )
    took = time.perf_counter() - start
    fitted = match_images(claim.estimates["image"], scene.truth, scene.groups)
    error = mse(fitted.images, scene.truth)
    return (
        f"{len(error)} | {float(error.median()):.1e} "
        f"| {int((error < 1e-4).sum())} of {len(error)} | "
        f"{label_accuracy(scene):.2f} | {budget.iterations} | {took:.0f} |"
    )


def label_accuracy(scene: Scene) -> float:
    """Return the share of the records' labels that follow from the updates, in any order."""
    trainer, right = trainer_of(scene.view), 0
    for update in updates_in(scene.view, trainer):
        found = recover_labels(trainer, update, torch.Generator().manual_seed(0))
        true = torch.nn.functional.one_hot(scene.classes[list(update.positions)], found.shape[1])
        right += int(torch.minimum(found.sum(0), true.sum(0)).sum())
    return right / len(scene.classes)


if __name__ == "__main__":
    main()
