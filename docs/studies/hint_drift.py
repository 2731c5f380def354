"""Compare the hint part of early features with the movement of the client's weights.

In the first epochs a hint block adds little to the features, and the change of the client's weights
moves them by much more. The script prints both, and how near a replay of the client comes. A
ControlNet is split under ``gradient`` and trained on portraits; the releases of the last epoch are
compared with the truth.

python docs/studies/hint_drift.py [--records 160] [--epochs 5] [--seed 0]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor

import bench
from attacks.hints.parts.client_replay import ClientReplay
from attacks.hints.parts.hint_decoder import SimulatedHints
from bench.interfaces import Silent, ThreatModel
from victims.diffusion.split_controlnet import SplitControlNet


def main() -> None:
    """Print root mean squares over the last epoch's releases."""
    asked = _arguments()
    torch.set_num_threads(1)
    records = bench.build("datasets", "portraits:photos_per_identity=1").load(
        asked.records + 96, image_size=64, condition="canny", progress=Silent()
    )
    private, auxiliary = (
        records.select(range(start, end))
        for start, end in ((0, asked.records), (asked.records, asked.records + 96))
    )
    victim = SplitControlNet.build({})
    with tempfile.TemporaryDirectory() as folder:
        capture = bench.train(
            victim,
            private,
            Path(folder) / "capture",
            protocol="gradient",
            epochs=asked.epochs,
            seed=asked.seed,
        )
        public = victim.public(None, auxiliary, protocol="gradient", device="cpu")
        last = capture.transcript.releases(asked.epochs - 1)
        view = ThreatModel().project(capture.transcript, public, last, history=True)
        truth = capture.secrets.records.condition_batch().pixels[
            capture.secrets.records_behind(view.releases)
        ]
        replay = ClientReplay.from_view(view)
    attacked = [i for i, release in enumerate(view.releases) if release.epoch == asked.epochs - 1]
    typical = auxiliary.condition_batch().pixels.mean(0)
    rate = replay.rate(typical)
    steps = {view.releases[i].step for i in attacked}
    exact = replay.path(truth, rate, steps)
    lessons = SimulatedHints(replay.forward, exact, auxiliary, public.codec, "cpu", compared=True)
    said = replay.deviations(exact, truth, lessons.means, compared=True)[attacked]

    replay.forward.stem.load_state_dict(dict(exact.at[max(steps)]))
    missed = replay.log.features[attacked] - replay.sent(replay.forward, attacked, truth)
    print(f"learning rate found                                  {rate:.6f}")
    features = replay.log.features[attacked]
    print(f"h_ctrl                                               {_rms(features):.1e}")
    print(f"h_ctrl, from what the weights of the last step give  {_rms(missed):.1e}")
    print(f"what the hint block says of a record                 {_rms(said):.1e}")
    guess = typical.expand_as(truth)
    path = replay.path(guess, rate, steps)
    means = SimulatedHints(
        replay.forward, path, auxiliary, public.codec, "cpu", compared=True
    ).means
    wrong = replay.deviations(path, guess, means, compared=True)[attacked] - said
    print(f"missed of it by a replay on the mean condition       {_rms(wrong):.1e}")
    print(f"its weights miss the client's last by, of their way  {path.gap:.1e}")
    print(f"those of a replay on the true conditions             {exact.gap:.1e}")


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
