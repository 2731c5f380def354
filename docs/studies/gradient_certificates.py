"""How well gradient attacks reconstruct from updates of 1, 2, 4 or 8 records, defended or not, as a
table.

Records that share an update are matched to the truth before they are scored, as in a row. A record
counts as reconstructed at a squared error below 1e-4 (40 dB). AttributeOdds are held against the truth
here, which attacks cannot. Each defence is attacked by one who knows it and by one who does not.

Usage: ``python docs/studies/gradient_certificates.py [--attacks dlg inverting-gradients:tv=0] [--records
1,2,4] [--targets 8] [--defenses none sign]``
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from attacks.gradients.engine.labels import recover_labels
from attacks.gradients.engine.updates import trainer_of, updates_in
from bench.data.portraits.dataset import Portraits
from bench.interfaces import (
    Attack,
    Budget,
    Defense,
    ImageBatch,
    Records,
    Release,
    Silent,
    ThreatModel,
    TrainingPlan,
    View,
)
from bench.interfaces.registry import Registry
from bench.scoring.matching import match_images
from bench.spec.names import parse_plugin
from victims.classifier.federated_classifier import FederatedClassifier
from victims.classifier.parts.labelled_records import labels

HEAD = "| defence | known | attack | records an update | records | MSE, median | below 1e-4 | labels | iterations | s |"


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
    private = Portraits(Portraits.parse({"photos_per_identity": 1})).load(
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
                        print(
                            f"| {defence} | {'yes' if known else 'no'} | {attack} | {count} | {cells}",
                            flush=True,
                        )


@dataclass(frozen=True, eq=False)
class Scene:
    """One round of one client: a view of it, the true pictures and classes, and which records share an update."""

    view: View
    truth: ImageBatch
    classes: Tensor
    groups: list[list[int]]


def seen(private: Records, count: int, defence: str, known: bool, folder: Path) -> Scene:
    """Train for a round and look at what was sent."""
    victim = FederatedClassifier.build({"records_per_update": count, "clients": 1})
    plan = TrainingPlan(
        epochs=1, batch_size=8, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32"
    )
    name, params = parse_plugin(defence)
    defense = Registry("defenses", Defense).load(name).build(params)
    capture = victim.train(
        private, defense, plan, protocol="fedsgd", out=folder / "c", progress=Silent()
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
        groups=grouped(targets),
    )


def attacked(scene: Scene, label: str, iterations: int | None) -> str:
    """The rest of a row of the table."""
    name, params = parse_plugin(label)
    attack = Registry("attacks", Attack).load(name).build(params)  # type: ignore[type-abstract]
    budget = Budget(
        iterations or attack.default_budget.iterations, attack.default_budget.batch_size
    )
    start = time.perf_counter()
    claim = attack.run(
        scene.view, rng=torch.Generator().manual_seed(0), budget=budget, progress=Silent()
    )
    took = time.perf_counter() - start
    fitted = match_images(claim.estimates["image"], scene.truth, scene.groups)
    error = (fitted.images.pixels - scene.truth.pixels).square().mean((1, 2, 3))
    return (
        f"{len(error)} | {float(error.median()):.1e} | {int((error < 1e-4).sum())} of {len(error)} | "
        f"{label_accuracy(scene):.2f} | {budget.iterations} | {took:.0f} |"
    )


def grouped(targets: list[Release]) -> list[list[int]]:
    """Positions of the targets by the update that they are in."""
    groups: dict[int, list[int]] = {}
    for i, target in enumerate(targets):
        groups.setdefault(target.step, []).append(i)
    return list(groups.values())


def label_accuracy(scene: Scene) -> float:
    """Share of the records' labels that are read off the updates, in whatever order."""
    trainer, right = trainer_of(scene.view), 0
    for update in updates_in(scene.view, trainer):
        found = recover_labels(trainer, update, torch.Generator().manual_seed(0))
        true = torch.nn.functional.one_hot(scene.classes[list(update.positions)], found.shape[1])
        right += int(torch.minimum(found.sum(0), true.sum(0)).sum())
    return right / len(scene.classes)


if __name__ == "__main__":
    main()
