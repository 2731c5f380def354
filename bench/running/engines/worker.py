"""The other end of ``worker_process``: reads tasks from its input, one JSON line each, and answers
each on its output.

Run as ``python -P -m bench.running.engines.worker``. It ends when its input does, in the middle of
a cell too, so that a killed parent leaves no worker behind.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TextIO

from bench.planning.planner import Planner
from bench.running.engines.base import Limits, Setup, Task, execute
from bench.running.engines.stages import StageSender
from bench.util.files import DiskFullError


def send(answers: TextIO, kind: str, text: str) -> None:
    """One answer: ``ready``, ``note``, ``result`` or ``full``, or what ``bench.running.engines.stages`` knows."""
    answers.write(json.dumps([kind, text]) + "\n")
    answers.flush()


def serve(setup: Setup, tasks: TextIO, answers: TextIO) -> None:
    """Run tasks until there are no more."""
    waiting: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in tasks:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    notes = StageSender(partial(send, answers))
    planner = Planner(notes)
    send(answers, "ready", "")
    while True:
        task = Task.decode(waiting.get())
        try:
            send(answers, "result", execute(task, planner, setup, notes).encode())
        except DiskFullError as error:
            send(answers, "full", str(error))


def main() -> None:
    """Take the place of a worker; ``sys.argv`` holds results directory, threads and weights directory."""
    import torch

    from bench.util.torchvision_guard import guard_torchvision

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(
        sys.stderr.fileno(), sys.stdout.fileno()
    )  # what plugins print must not stand between answers
    results, threads, weights = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    guard_torchvision()
    serve(
        Setup(Path(results), Path(weights) if weights else None, int(threads), Limits()),
        sys.stdin,
        answers,
    )


if __name__ == "__main__":
    main()
