"""Kill a suite at random moments and check that nothing is lost or doubled.

    python docs/studies/kill_test.py [KILLS] [SEED]

A small suite on a random tiny model runs in worker processes. Each time, after a random while, the
whole run or one of its workers is killed (SIGKILL); then it is started again. In the end every cell
must be there once, and the rows must be those of a run that was not disturbed.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.ledger.ledger import Ledger
from tests.support.suites import SETTINGS, stable_rows, workers_of
from tests.support.tiny_model import make_tiny_model

AXES = {
    "attacks": ["closed-form", "inversion"],
    "defenses": ["none", "timestep:t_min=900", "activation"],
    "withhold": ["", "noise_target"],
    "seeds": [0, 1],
}


def start(suite: Path, results: Path) -> subprocess.Popen[bytes]:
    """Start a run in the background; failed cells (of killed workers) are run again."""
    command = [
        sys.executable,
        "-m",
        "bench",
        "run",
        str(suite),
        "--retry-failed",
        "--jobs",
        "2",
        "--threads",
        "1",
    ]
    return subprocess.Popen(
        [*command, "--results", str(results)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def kill(run: subprocess.Popen[bytes], rng: random.Random) -> str:
    """Kill the run, or one of its workers if there are any; return which."""
    workers = workers_of(run.pid)
    if workers and rng.random() < 0.3:
        os.kill(rng.choice(workers), signal.SIGKILL)
        time.sleep(rng.uniform(0, 2))
        run.kill()
        return "a worker, then the run"
    run.kill()
    return "the run"


def verify(killed: Path, calm: Path) -> None:
    """Check that a finished run has every row and score of the calm one, once, and no remains.

    Raises:
        AssertionError: names what differs.
    """
    assert stable_rows(killed) == stable_rows(calm), "rows differ from those of a calm run"
    with (killed / "rows.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(stable_rows(calm))
    ledgers = Ledger(killed), Ledger(calm)
    assert not ledgers[0].damaged
    for cell_id in ledgers[1].entries():
        assert ledgers[0].score_table(cell_id).equals(ledgers[1].score_table(cell_id))
    left = [path.name for path in (killed / "captures").glob(".partial-*")]
    assert not left, f"left behind: {left}"


def main(kills: int = 20, seed: int = 0) -> None:
    """Run the test; raise where something was lost, doubled or changed."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="splitleak-kill-") as folder:
        root = Path(folder)
        model = make_tiny_model(root / "model")
        settings = {**SETTINGS, "model": str(model)}
        suite = root / "small.yaml"
        suite.write_text(
            json.dumps({"blocks": {"only": {**AXES, "settings": settings}}})
        )  # JSON is YAML
        begin = time.perf_counter()
        calm = start(suite, root / "calm")
        assert calm.wait() == 0, calm.communicate()[1].decode()
        whole = time.perf_counter() - begin
        print(f"undisturbed: {whole:.0f} s, {len(stable_rows(root / 'calm'))} rows", flush=True)
        struck = 0
        while struck < kills:
            run = start(suite, root / "killed")
            try:
                run.wait(timeout=rng.uniform(0.2, 0.6) * whole)
                verify(root / "killed", root / "calm")
                print(
                    "finished before it was killed, with the rows of the calm run; starting afresh",
                    flush=True,
                )
                (root / "killed").rename(root / f"finished-{struck}-{time.monotonic_ns()}")
                continue
            except subprocess.TimeoutExpired:
                what = kill(run, rng)
            run.wait()
            struck += 1
            rows = Ledger(root / "killed").rows()
            print(f"kill {struck}: {what}; {len(rows)} rows kept", flush=True)
            keys = [(row["cell_id"], row["target"]) for row in rows]
            assert len(keys) == len(set(keys)), "a row is doubled"
        last = start(suite, root / "killed")
        assert last.wait() == 0, last.communicate()[1].decode()
        verify(root / "killed", root / "calm")
        print(f"{struck} kills, nothing lost or doubled, rows as in the calm run")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
