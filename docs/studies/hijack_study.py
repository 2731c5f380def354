"""Print what a hijacking server recovers from a split classifier, beside an honest server.

The decoder is the same under both.

python docs/studies/hijack_study.py [--cut conv11] [--pilot client|own]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

import bench
from attacks.malicious.hijack import Hijack
from bench.interfaces import (
    Budget,
    ImageBatch,
    Public,
    ServerAdversary,
    Silent,
)
from bench.interfaces.threat import PRESETS
from bench.metrics import ssim
from victims.classifier.split_cnn import SplitCnn


def main() -> None:
    """Train under both servers and print the SSIM of both."""
    asked = _arguments()
    torch.set_num_threads(1)
    portraits = bench.build("datasets", "portraits:photos_per_identity=1").load(
        asked.records + 96, image_size=64, condition="canny", progress=Silent()
    )
    private = portraits.select(range(asked.records))
    auxiliary = portraits.select(range(asked.records, asked.records + 96))
    victim = SplitCnn.build({"cut": asked.cut, "width": 8, "size": 16, "label": "brightness"})
    attack = Hijack.build({"horizon": 600, "pilot": asked.pilot})

    def public() -> Public:
        return victim.public(None, auxiliary, protocol="gradient", device="cpu")

    def read(adversary: ServerAdversary | None) -> tuple[float, float]:
        """Return the SSIM of the claimed images of the last epoch, and of the mean image."""
        with tempfile.TemporaryDirectory() as folder:
            capture = bench.train(
                victim,
                private,
                Path(folder) / "capture",
                protocol="gradient",
                epochs=asked.epochs,
                batch_size=16,
                learning_rate=5e-3,
                adversary=adversary,
            )
            last = [r for r in capture.transcript.releases() if r.epoch == asked.epochs - 1][:48]
            view = PRESETS["malicious_server"].project(capture.transcript, public(), last)
            claim = attack.run(view, rng=torch.Generator(), budget=Budget(0, 64), progress=Silent())
            truth = capture.secrets.truth(last)[0].image_batch()
            mean = ImageBatch(auxiliary.image_batch().pixels.mean(0).expand_as(truth.pixels))
            claimed = claim.estimates["image"].images
            return float(ssim(claimed, truth).mean()), float(ssim(mean, truth).mean())

    adversary = attack.take_over(public(), rng=torch.Generator().manual_seed(0), progress=Silent())
    (hijacked, blind), (honest, _) = read(adversary), read(None)
    scores = f"SSIM {hijacked:.3f} hijacked, {honest:.3f} honest, {blind:.3f} mean picture"
    print(f"{asked.cut}, pilot={asked.pilot}: {scores}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cut", default="conv11")
    parser.add_argument("--pilot", choices=("client", "own"), default="client")
    parser.add_argument("--records", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=40)
    return parser.parse_args()


if __name__ == "__main__":
    main()
