"""Every engine gives the same rows, and a cell that goes wrong costs no other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.interfaces import RequestError, Silent
from bench.ledger.ledger import Ledger
from bench.planning.planner import Planner
from bench.planning.suite_plan import SuitePlan, plan_suite
from bench.running.engines.base import Limits, Setup, SuiteEngine, Task
from bench.running.engines.pool import CaptureQueue
from bench.running.engines.processes import ProcessEngine
from bench.running.engines.ray_cluster import RayEngine
from bench.running.engines.serial import SerialEngine
from bench.running.suite import SuiteSummary, run_suite
from tests.support.suites import install_faulty, small_suite, stable_rows, workers_of

NONE = Limits()


def engine(
    name: str, results: Path, planner: Planner, limits: Limits = NONE, jobs: int = 2
) -> SuiteEngine:
    setup = Setup(results, None, 1, limits)
    if name == "serial":
        return SerialEngine(setup, planner, Silent())
    if name == "processes":
        return ProcessEngine(setup, jobs, Silent())
    pytest.importorskip("ray")
    return RayEngine(setup, jobs, None)


def run(
    plan: SuitePlan,
    engine: SuiteEngine,
    results: Path,
    *,
    fresh: bool = False,
    retry_failed: bool = False,
) -> SuiteSummary:
    show = lambda *shown: None  # noqa: E731
    return run_suite(
        plan, engine, results, Ledger(results), fresh=fresh, retry_failed=retry_failed, show=show
    )


def reasons(results: Path) -> dict[str, tuple[str, str]]:
    """Status and reason by attack, of the pictures, which every attack here claims."""
    rows = [row for row in Ledger(results).rows() if row["target"] == "image"]
    return {str(row["attack"]): (row["status"], row["reason"]) for row in rows}


@pytest.fixture(scope="module")
def plan(planner: Planner, tiny_model: Path) -> SuitePlan:
    """Two captures with four cells each, half of which see too little."""
    suite = small_suite(
        tiny_model,
        attacks=["closed-form", "inversion"],
        defenses=["none", "timestep:t_min=900"],
        threats=["server", "released_model"],
    )
    return plan_suite(suite, planner)


@pytest.fixture(scope="module")
def expected(plan: SuitePlan, planner: Planner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the serial engine."""
    results = tmp_path_factory.mktemp("serial")
    summary = run(plan, engine("serial", results, planner), results)
    assert summary.statuses == {"ok": 4, "not_applicable": 4}
    return results


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack that goes wrong, seen by this process and by those that it starts."""
    install_faulty(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    path = os.pathsep.join(filter(None, (str(tmp_path / "site"), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_the_same_rows_and_scores_on_every_engine(name, plan, expected, planner, tmp_path):
    run(plan, engine(name, tmp_path, planner), tmp_path)
    assert stable_rows(tmp_path) == stable_rows(expected)
    for cell_id in Ledger(expected).entries():
        assert Ledger(tmp_path).score_table(cell_id).equals(Ledger(expected).score_table(cell_id))
    assert len(list((tmp_path / "captures").iterdir())) == 2
    trained = [entry for entry in Ledger(tmp_path).entries().values() if entry.trained]
    assert len(trained) == 2  # by one cell each, the others waited for it


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_workers_import_what_is_installed(name, tiny_model, planner, tmp_path, monkeypatch):
    """The working directory has files with the names of our packages and of modules that workers
    need.
    """
    for room in ("attacks", "bench", "defenses", "victims"):
        (tmp_path / "here" / room).mkdir(parents=True)
        (tmp_path / "here" / room / "__init__.py").write_text("raise SystemExit('the wrong one')")
    for module in ("queue", "torch", "tempfile"):
        (tmp_path / "here" / f"{module}.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep
    )  # two empty items, which stand for the working directory
    plan = plan_suite(small_suite(tiny_model, attacks=["closed-form"]), planner)
    summary = run(plan, engine(name, tmp_path / "r", planner, jobs=1), tmp_path / "r")
    assert summary.statuses == {"ok": 1}, reasons(tmp_path / "r")


def test_a_second_run_has_nothing_to_do(plan, expected, planner):
    before = stable_rows(expected)
    assert run(plan, engine("serial", expected, planner), expected).ran == 0
    assert stable_rows(expected) == before


@pytest.mark.slow
def test_bad_cells_cost_themselves_only(tiny_model, tmp_path, faulty):
    """An attack that raises, one that is killed and one that eats memory, with good ones before and
    behind.
    """
    results, planner = tmp_path / "results", Planner(Silent())
    attacks = [
        "closed-form",
        *(f"faulty:how={how}" for how in ("raise", "die", "eat")),
        "inversion",
    ]
    plan = plan_suite(small_suite(tiny_model, attacks=attacks), planner)
    limits = Limits(memory_mib=3000)
    summary = run(plan, engine("processes", results, planner, limits, jobs=1), results)
    assert summary.statuses == {"ok": 2, "failed": 3}
    found = reasons(results)
    assert found["closed-form"][0] == found["inversion"][0] == "ok"
    status, reason = found["faulty"]
    assert status == "failed"
    assert reason.startswith("ZeroDivisionError: the attack's own mistake (faulty.py, line ")
    assert (
        (results / reason.rpartition("traceback in ")[2])
        .read_text()
        .endswith("ZeroDivisionError: the attack's own mistake\n")
    )
    assert found["faulty:how=die"] == ("failed", "the worker was killed by SIGKILL; out of memory?")
    assert found["faulty:how=eat"] == ("failed", "used more than 3000 MiB of memory (memory limit)")
    assert run(plan, engine("serial", results, planner), results).ran == 0
    again = plan_suite(small_suite(tiny_model, attacks=["faulty", "closed-form"]), planner)
    assert run(again, engine("serial", results, planner), results, retry_failed=True).ran == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["serial", "processes"])
def test_a_hanging_attack_is_cut_off(name, tiny_model, tmp_path, faulty):
    """The limit is short enough to cut off training too, on a slow machine, with the same row."""
    planner = Planner(Silent())
    plan = plan_suite(small_suite(tiny_model, attacks=["faulty:how=hang"]), planner)
    summary = run(plan, engine(name, tmp_path / "r", planner, Limits(seconds=5)), tmp_path / "r")
    assert summary.statuses == {"timeout": 1}
    assert reasons(tmp_path / "r") == {
        "faulty:how=hang": ("timeout", "not finished after 5 s (time limit)")
    }


def test_the_serial_engine_refuses_a_limit_of_memory(plan, planner, tmp_path):
    with pytest.raises(RequestError, match="cannot limit memory"):
        run(plan, engine("serial", tmp_path, planner, Limits(memory_mib=10)), tmp_path)


@pytest.mark.slow
def test_a_worker_killed_from_outside_costs_its_cell_and_is_replaced(tiny_model, planner, tmp_path):
    plan = plan_suite(small_suite(tiny_model, attacks=["closed-form"], seeds=[0, 1]), planner)
    killed = threading.Event()

    def kill_first_worker() -> None:
        while not killed.is_set():
            if list((tmp_path / "captures").glob(".partial-*")):  # it trains
                for worker in workers_of(os.getpid()):
                    os.kill(worker, signal.SIGKILL)
                    killed.set()
            time.sleep(0.005)

    killer = threading.Thread(target=kill_first_worker, daemon=True)
    killer.start()
    summary = run(plan, engine("processes", tmp_path, planner, jobs=1), tmp_path)
    killed.set()
    killer.join()
    assert summary.statuses == {"failed": 1, "ok": 1}
    assert run(
        plan, engine("processes", tmp_path, planner), tmp_path, retry_failed=True
    ).statuses == {"ok": 2}
    assert not list((tmp_path / "captures").glob(".partial-*"))


@pytest.mark.slow
def test_an_interrupted_run_keeps_what_is_done_and_leaves_no_worker(plan, planner, tmp_path):
    class Interrupting(ProcessEngine):
        def run(self, tasks, report) -> None:
            def stop_after_first(task, result) -> None:
                report(task, result)
                raise KeyboardInterrupt

            super().run(tasks, stop_after_first)

    with pytest.raises(KeyboardInterrupt):
        run(plan, Interrupting(Setup(tmp_path, None, 1, NONE), 2, Silent()), tmp_path)
    states = Counter(entry.status for entry in Ledger(tmp_path).entries().values())
    assert states["ok"] + states["not_applicable"] >= 1
    assert workers_of(os.getpid()) == []


def test_a_capture_is_handed_out_again_when_it_is_trained(plan: SuitePlan) -> None:
    tasks = [Task(job.cell, "") for job in plan.jobs if job.cell.threat.name == "server"]
    assert len({task.capture for task in tasks}) == 2
    waiting = CaptureQueue(tasks)
    first, second = waiting.take(), waiting.take()
    assert first is not None
    assert second is not None
    assert first.capture != second.capture
    taken: list[Task | None] = []
    taker = threading.Thread(target=lambda: taken.append(waiting.take()))
    taker.start()
    waiting.done(first)
    taker.join(timeout=30)
    assert taken[0] is not None
    assert taken[0].capture == first.capture
    waiting.close()
    assert waiting.take() is None


def test_a_task_survives_being_sent(plan: SuitePlan) -> None:
    job = plan.jobs[0]
    task = Task(job.cell, "split", fresh=True)
    assert Task.decode(task.encode()) == task
    assert Task.decode(task.encode()).cell.cell_id == job.cell.cell_id
    decode: Callable[[str], Task] = Task.decode
    with pytest.raises(ValueError, match="Expecting value"):
        decode("no task")
