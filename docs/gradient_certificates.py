"""How well gradient attacks reconstruct from undefended updates of 1, 2, 4 or 8 records, as a table.

Records that share an update are matched to the truth before they are scored, as in a row. A record counts as
reconstructed at a squared error below 1e-4 (40 dB). Labels are held against the truth here, which attacks cannot.

Usage: ``python docs/gradient_certificates.py [--attacks dlg inverting-gradients:tv=0] [--records 1,2,4] [--targets 8]``
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from attacks.gradients.labels import recover_labels
from attacks.gradients.updates import trainer_of, updates_in
from bench.data.portraits import Portraits
from bench.interfaces import Attack, Budget, TrainingPlan
from bench.matching import matched
from bench.progress import Silent
from bench.records import Records
from bench.registry import Registry
from bench.spec import parse_plugin
from bench.threat import ThreatModel, View
from bench.transcript import Release
from defenses.none import NoDefense
from victims.classifier_records import labels
from victims.federated_classifier import FederatedClassifier

HEAD = "| attack | records an update | records | MSE, median | below 1e-4 | labels | iterations | s |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attacks", nargs="+", default=["dlg", "inverting-gradients"], metavar="NAME[:KEY=VALUE,...]")
    parser.add_argument("--records", default="1,2,4,8")
    parser.add_argument("--targets", type=int, default=8, help="records attacked, a multiple of the records an update")
    parser.add_argument("--iterations", type=int, help="instead of the attack's own")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    private = Portraits(Portraits.parse({"photos_per_identity": 1})).load(
        asked.targets, image_size=64, condition="canny", progress=Silent()
    )
    print(HEAD + "\n|---|---|---|---|---|---|---|---|")
    for count in map(int, asked.records.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            view, truth, groups = seen(private, count, Path(folder))
            for label in asked.attacks:
                name, params = parse_plugin(label)
                attack = Registry("attacks", Attack).load(name).build(params)  # type: ignore[type-abstract]
                iterations = asked.iterations or attack.default_budget.iterations
                start = time.perf_counter()
                claim = attack.run(
                    view, rng=torch.Generator().manual_seed(0), budget=Budget(iterations, 32), progress=Silent()
                )
                took = time.perf_counter() - start
                fitted = matched(claim.estimates["image"], truth["image"].images, groups)
                error = (fitted.images.pixels - truth["image"].images.pixels).square().mean((1, 2, 3))
                read = label_accuracy(view, private, truth["index"])
                print(
                    f"| {label} | {count} | {len(error)} | {float(error.median()):.1e} | "
                    f"{int((error < 1e-4).sum())} of {len(error)} | {read:.2f} | "
                    f"{iterations} | {took:.0f} |",
                    flush=True,
                )


def seen(private: Records, count: int, folder: Path):  # type: ignore[no-untyped-def]
    """One round of one client: its view, the truth behind it, and which records share an update."""
    victim = FederatedClassifier.build({"records_per_update": count, "clients": 1, "classes": 10})
    plan = TrainingPlan(epochs=1, batch_size=8, learning_rate=1e-3, seed=0, device="cpu", dtype="fp32")
    capture = victim.train(private, NoDefense(), plan, protocol="fedsgd", out=folder / "c", progress=Silent())
    targets = capture.transcript.releases(0)
    public = victim.public(NoDefense(), private.select([]), protocol="fedsgd", device="cpu")
    _, truth = capture.secrets.truth(targets)
    truth["index"] = capture.secrets.record_index[[capture.secrets.position[r] for r in targets]].tolist()
    return ThreatModel().project(capture.transcript, public, targets), truth, grouped(targets)


def grouped(targets: list[Release]) -> list[list[int]]:
    """Positions of the targets by the update that they are in."""
    groups: dict[int, list[int]] = {}
    for i, target in enumerate(targets):
        groups.setdefault(target.step, []).append(i)
    return list(groups.values())


def label_accuracy(view: View, private: Records, index: list[int]) -> float:
    """Share of the records' labels that are read off the updates, in whatever order."""
    trainer = trainer_of(view)
    true = labels(private, "hair_colour", 10)[index]
    right = 0
    for update in updates_in(view, trainer):
        found = recover_labels(trainer, update, torch.Generator().manual_seed(0)).sum(0)
        count = torch.nn.functional.one_hot(true[list(update.positions)], 10).sum(0)
        right += int(torch.minimum(found, count).sum())
    return right / len(true)


if __name__ == "__main__":
    main()
