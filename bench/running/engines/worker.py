"""The worker process: reads tasks from its input as JSON lines and answers on its output.

Run as ``python -P -m bench.running.engines.worker`` by ``worker_process``. It ends when its input
ends, even in the middle of a cell, so that no worker outlives a killed parent.
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
    """Write a message of kind ``ready``, ``note``, ``result``, ``full`` or of ``stages.KINDS``."""
    answers.write(json.dumps([kind, text]) + "\n")
    answers.flush()


def serve(setup: Setup, tasks: TextIO, answers: TextIO) -> None:
    """Run tasks until the input ends."""
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
    """Run as a worker; ``sys.argv`` holds results directory, threads and weights directory."""
    import torch

    from bench.util.torchvision_guard import guard_torchvision

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # What plugins print goes to stderr, so that it cannot mix with the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
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
