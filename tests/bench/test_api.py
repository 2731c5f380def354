"""``import bench``: runs, steps by hand, and results as DataFrames, on a tiny model."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

import bench
from attacks.wire.closed_form import ClosedForm
from bench.interfaces import (
    NOISE_TARGET,
    TIMESTEP,
    BenchError,
    Claim,
    DataError,
    Estimate,
    ImageBatch,
    NotApplicableError,
    Records,
    RequestError,
)
from bench.metrics import ssim
from bench.reports.frontier_files import write_frontier
from bench.reports.leaderboard_files import write_leaderboard
from bench.util.errors import NotGrantedError
from tests.support.reachable import forbidden
from tests.support.suites import SETTINGS

MODULES = ["catalogue", "grid", "progress", "rows", "settings", "steps", "tables", "training"]


@pytest.fixture(scope="module")
def settings(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Small settings and a results directory for the tests of this file."""
    return {
        **SETTINGS,
        "model": str(tiny_model),
        "results": tmp_path_factory.mktemp("api") / "results",
    }


@pytest.fixture(scope="module")
def results(settings: dict[str, Any]) -> bench.Results:
    """Two attacks on two defences."""
    return bench.run(
        attack=["closed-form", "inversion"], defense=["none", "timestep:t_min=900"], **settings
    )


@pytest.fixture(scope="module")
def trained(results: bench.Results, settings: dict[str, Any]) -> bench.TrainedVictim:
    """The undefended victim of ``results``."""
    return bench.capture(**settings)


def row(results: bench.Results, **values: str) -> pandas.Series[Any]:
    """The one row with these values."""
    rows = results.rows
    for name, value in values.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def test_importing_bench_loads_nothing_heavy() -> None:
    script = (
        "import sys, bench; dir(bench); bench.__version__; "
        "print(sorted({'torch', 'numpy', 'pandas', 'click', 'attacks'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(bench.EXPORTS))
def test_every_public_name_is_documented_and_hides_no_module(name: str) -> None:
    public = getattr(bench, name)
    text = inspect.getdoc(public) or ""
    if inspect.isfunction(public):
        assert "Raises:" in text
        assert "Example:" in text
        assert inspect.signature(public).return_annotation is not inspect.Signature.empty
    assert text.splitlines()[0].endswith(".")
    with pytest.raises(ModuleNotFoundError):
        import_module(f"bench.{name}")


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = bench.runs  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module: str) -> None:
    assert doctest.testmod(import_module(f"bench.api.{module}")).failed == 0


def test_a_run_gives_a_row_for_each_cell_and_target(results: bench.Results) -> None:
    assert len(results) == 4
    assert repr(results) == f"Results(4 cells in {results.path / 'ledger.sqlite'})"
    rows = results.rows
    assert set(rows.cell_id) == set(results.cells)
    assert set(rows.attack) == {"closed-form", "inversion"}
    assert set(rows.defense) == {"none", "timestep:t_min=900"}
    assert rows[rows.target == "image"].ssim.notna().all()
    pandas.testing.assert_frame_equal(rows, bench.load_results(results.path))


def test_a_second_run_computes_nothing_and_selects_its_own_cells(
    results: bench.Results, settings: dict[str, Any]
) -> None:
    before = results.rows
    again = bench.run(attack="closed-form", **settings)
    assert len(again) == 1
    assert again.cells[0] in results.cells
    assert set(again.rows.cell_id) == set(again.cells)
    pandas.testing.assert_frame_equal(results.rows, before)


def test_ledger_and_csv_give_equal_frames_of_text_and_numbers(results: bench.Results) -> None:
    ledger = bench.load_results(results.path)
    for path in (results.path / "rows.csv", results.path / "ledger.sqlite"):
        pandas.testing.assert_frame_equal(ledger, bench.load_results(path), check_like=True)
    assert ledger.seed.tolist() == [0] * len(ledger)
    assert set(ledger.withheld_from_view) == {""}
    numbers = ledger.select_dtypes("number").columns
    assert {"ssim", "ssim_floor", "utility_fid", "n"} <= set(numbers)
    texts = [name for name in ledger.columns if name not in numbers]
    assert all(isinstance(value, str) for name in texts for value in ledger[name])


def test_results_without_a_ledger_are_read_from_their_csv(
    results: bench.Results, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_bytes((results.path / "rows.csv").read_bytes())
    assert len(bench.load_results(tmp_path)) == len(results.rows)


def test_what_is_no_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"neither ledger\.sqlite nor rows\.csv is there"):
        bench.load_results(tmp_path)
    with pytest.raises(DataError, match="file is missing"):
        bench.load_results(tmp_path / "other.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"column 'victim' is missing; is it a rows\.csv\?"):
        bench.load_results(tmp_path / "other.csv")


def test_scores_are_those_of_the_row(results: bench.Results) -> None:
    one = row(results, attack="inversion", defense="none", target="image")
    scores = bench.load_scores(results.path, one.cell_id[:10])
    pandas.testing.assert_frame_equal(scores, results.scores(one.cell_id))
    assert list(scores.columns) == ["target", "metric", "record", "value"]
    values = scores[(scores.target == "image") & (scores.metric == "ssim")].value
    assert len(values) == one.n
    assert values.mean() == pytest.approx(one.ssim)
    with pytest.raises(RequestError, match="no cells have an id"):
        bench.load_scores(results.path, "zzz")


def test_leaderboard_and_frontier_are_the_files_of_the_command_line(
    results: bench.Results,
) -> None:
    write_leaderboard(results.path)
    write_frontier(results.path)
    for table, name in (
        (results.leaderboard(), "leaderboard"),
        (results.frontier(), "frontier"),
    ):
        file = pandas.read_csv(results.path / f"{name}.csv", keep_default_na=False, na_values=[""])
        pandas.testing.assert_frame_equal(pandas.DataFrame(table), file)
    board = bench.leaderboard(results.path, metric="mse", against="timestep:t_min=900")
    assert set(board.metric) == {"mse"}
    assert board[board.defense == "none"].difference.notna().all()


def test_a_report_of_rows_that_no_attack_fits_is_refused(results: bench.Results) -> None:
    nothing = results.rows.iloc[:0]
    with pytest.raises(RequestError, match="the leaderboard is empty"):
        bench.leaderboard(nothing)
    with pytest.raises(RequestError, match="the frontier is empty"):
        bench.frontier(nothing)


def test_summary_is_the_mean_over_seeds_with_its_range(results: bench.Results) -> None:
    rows = pandas.concat([results.rows, results.rows.assign(seed=1, ssim=results.rows.ssim + 0.1)])
    table = bench.summary(rows, ["ssim", "mse"], where={"target": "image", "defense": "none"})
    assert set(table.attack) == {"closed-form", "inversion"}
    mine = table[table.attack == "inversion"].iloc[0]
    first = row(results, attack="inversion", defense="none", target="image").ssim
    assert [mine.ssim_low, mine.ssim, mine.ssim_high] == pytest.approx(
        [first, first + 0.05, first + 0.1]
    )
    assert mine.seeds == 2
    assert len(results.summary("utility_fid", utility=True)) == 2
    with pytest.raises(RequestError, match="no column 'sim' in the rows; did you mean 'ssim'"):
        bench.summary(rows, "sim")


def test_a_table_in_markdown_has_its_columns_and_digits() -> None:
    table = bench.ReportTable(
        {"defence": ["a|b", "c"], "ssim": [0.12345, float("nan")], "seeds": [3, 1]}
    )
    assert table.to_markdown().splitlines() == [
        "| defence | ssim | seeds |",
        "|---|---|---|",
        "| a\\|b | 0.123 | 3 |",
        "| c |  | 1 |",
    ]
    assert isinstance(table[["ssim"]], bench.ReportTable)
    assert "0.12 " in table.to_markdown(digits=2)


@pytest.mark.parametrize("attack", ["closed-form", "inversion"])
def test_steps_by_hand_give_the_row_of_the_run(
    attack: str, results: bench.Results, trained: bench.TrainedVictim
) -> None:
    claim = bench.attack(attack, bench.view(trained), iterations=3, batch_size=4)
    table = bench.score(claim, trained).set_index(["target", "metric"])
    for target in ("image", "condition"):
        expected = row(results, attack=attack, defense="none", target=target)
        for metric in ("ssim", "mse", "id_top1" if target == "image" else "edge_f1"):
            mine = table.loc[(target, metric)]
            assert mine.value == expected[metric]
            assert mine.normalized == pytest.approx(expected[f"{metric}_normalized"], nan_ok=True)
            assert mine.low == pytest.approx(expected[f"{metric}_low"])
            assert mine.floor == pytest.approx(expected[f"{metric}_floor"])
            assert mine.n == expected.n
    by_record = bench.score(claim, trained, records=True)
    stored = results.scores(row(results, attack=attack, defense="none", target="image").cell_id)
    pandas.testing.assert_frame_equal(by_record, stored, check_dtype=False)


def test_links_are_scored_over_the_releases_of_every_epoch(
    trained: bench.TrainedVictim, settings: dict[str, Any]
) -> None:
    view = bench.view(trained, attack="linkage")
    assert len(view.releases) == 2 * settings["records"] > len(bench.view(trained).releases)
    table = bench.score(bench.attack("linkage", view), trained).set_index(["target", "metric"])
    expected = row(bench.run(attack="linkage", **settings), target="link")
    assert table.loc[("link", "link_f1")].value == expected.link_f1


def test_people_are_looked_for_in_the_gallery_of_the_run(
    trained: bench.TrainedVictim, settings: dict[str, Any]
) -> None:
    view = bench.view(trained, attack="reidentify")
    assert view.public.gallery is not None
    assert bench.view(trained).public.gallery is None
    claim = bench.attack("reidentify", view, iterations=3, batch_size=4)
    table = bench.score(claim, trained).set_index("metric")
    expected = row(bench.run(attack="reidentify", **settings), target="identity")
    assert table.loc["identity_rank"].value == expected.identity_rank


def test_a_view_leads_to_no_secret_and_hides_what_is_withheld(
    trained: bench.TrainedVictim,
) -> None:
    view = bench.view(trained, withhold=[NOISE_TARGET])
    assert forbidden(view, trained.job) == []
    assert set(view.channels) == set(trained.channels) - {NOISE_TARGET}
    with pytest.raises(NotGrantedError):
        view.read(NOISE_TARGET)
    both = bench.view(trained, threat="eavesdropper", withhold=f"{NOISE_TARGET},{TIMESTEP}")
    assert set(both.channels) == set(trained.channels) - {NOISE_TARGET, TIMESTEP}
    assert both.threat.role == "eavesdropper"


def test_a_capture_is_trained_once(
    trained: bench.TrainedVictim, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cell.runner.train_capture", None)
    again = bench.capture(**{**settings, "targets": 3})
    assert again.capture.model_dir == trained.capture.model_dir
    assert len(again.targets) == 3
    assert repr(again).endswith("no-gradient, none, seed 0, 3 targets)")


def test_an_object_of_the_users_class_attacks(trained: bench.TrainedVictim) -> None:
    class Grey(ClosedForm):
        def run(self, view, *, rng, budget, progress):  # type: ignore[no-untyped-def]
            size = len(view.targets), 3, *view.public.auxiliary.images.shape[-2:]
            return Claim({"image": Estimate(ImageBatch(torch.full(size, 0.5)))})

    claim = bench.attack(Grey(), bench.view(trained))
    table = bench.score(claim, trained).set_index(["target", "metric"])
    assert set(table.index.get_level_values("target")) == {"image"}
    truth = trained.capture.secrets.truth(list(trained.targets))[0].image_batch()
    grey = ImageBatch(torch.full_like(truth.pixels, 0.5))
    assert table.loc[("image", "ssim")].value == pytest.approx(float(ssim(grey, truth).mean()))
    with pytest.raises(RequestError, match="an attack is a name or an object of its class"):
        bench.attack(Grey, bench.view(trained))  # type: ignore[arg-type]


def test_a_claim_that_does_not_fit_is_refused(trained: bench.TrainedVictim) -> None:
    size = trained.job.cell.capture.data.image_size
    claim = Claim({"image": Estimate(ImageBatch(torch.zeros(1, 3, size, size)))})
    with pytest.raises(BenchError, match="6"):
        bench.score(claim, trained)


def test_an_attack_says_what_it_lacks(trained: bench.TrainedVictim) -> None:
    with pytest.raises(NotApplicableError, match="dlg requires"):
        bench.attack("dlg", bench.view(trained))
    with pytest.raises(RequestError, match=r"bench\.capture\(adversary='hijack'\)"):
        bench.attack("hijack", bench.view(trained))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: bench.run(atack="closed-form", **s), "no setting 'atack'"),
        (lambda s: bench.run(attack="closed-from", **s), "did you mean 'closed-form'"),
        (lambda s: bench.run(**{**s, "epochs": 0}), "epochs: input should be greater"),
        (lambda s: bench.run("smoke", attack="closed-form", **s), "give a suite or values"),
        (lambda s: bench.run("smoak", **s), "no suite 'smoak'"),
        (lambda s: bench.run(jobs=0, **s), "jobs must be at least 1"),
        (lambda s: bench.capture(epoch_s=2, **s), "no setting 'epoch_s'"),
        (lambda s: bench.capture(**{**s, "records": "many"}), "records: input should be"),
        (lambda s: bench.capture(adversary="closed-form", **s), "is no server"),
        (lambda s: bench.capture(protocol="gradient2", **s), "no protocol 'gradient2'"),
        (lambda s: bench.plugins("attack"), "did you mean 'attacks'"),
        (lambda s: bench.describe("closed-from"), "did you mean 'closed-form'"),
        (lambda s: bench.load("attacks", "closed-from"), "did you mean 'closed-form'"),
        (lambda s: bench.build("defenses", "timestep:tmin=3"), "tmin"),
    ],
)
def test_a_mistake_gets_one_sentence(
    call: Callable[[dict[str, Any]], object], message: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        call(settings)
    assert "\n" not in str(caught.value)


def test_wrong_threat_models_and_channels_are_refused(trained: bench.TrainedVictim) -> None:
    with pytest.raises(RequestError, match="unknown threat model 'servr'; did you mean 'server'"):
        bench.view(trained, threat="servr")
    with pytest.raises(RequestError, match="cannot withhold 'noise'"):
        bench.view(trained, withhold=["noise"])


def test_a_cell_that_fails_is_counted_and_keeps_its_reason(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: ClosedForm, view: object, **rest: object) -> Claim:
        raise ValueError("nothing to see")

    monkeypatch.setattr(ClosedForm, "run", run)
    with pytest.warns(UserWarning, match="1 of 1 cells failed; column 'reason'"):
        failed = bench.run(attack="closed-form", **{**settings, "results": tmp_path})
    assert set(failed.rows.status) == {"failed"}
    assert failed.rows.reason.str.contains("nothing to see").all()


def test_a_suite_runs_from_its_file(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("blocks: {only: {attacks: [closed-form], withhold: ['', noise_target]}}\n")
    suite = bench.run(str(file), **settings)
    assert len(suite) == 2
    assert set(suite.rows.withheld_from_view) == {"", "noise_target"}


def test_the_catalogue_lists_what_is_installed() -> None:
    table = bench.plugins("attacks")
    assert list(table.columns) == ["name", "summary", "package"]
    assert {"closed-form", "inversion"} <= set(table.name)
    assert table.summary.str.len().min() > 0
    assert bench.load("attacks", "closed-form") is ClosedForm
    text = bench.describe("closed-form")
    assert repr(text) == text
    assert text.startswith("attack closed-form\n")


def test_a_victim_is_trained_on_given_records(records: Records, tmp_path: Path) -> None:
    victim = bench.build("victims", "split-cnn:size=16,width=4,label=identity")
    same = {"protocol": "gradient", "epochs": 2, "batch_size": 4, "seed": 3}
    capture = bench.train(victim, records, tmp_path / "one", **same)
    assert len(capture.transcript.releases()) == 2 * len(records)
    again = bench.train(victim, records, tmp_path / "two", **same)
    assert capture.costs.losses == again.costs.losses
    usual = bench.train(victim, records, tmp_path / "three", batch_size=4)
    assert usual.transcript.header.protocol == victim.protocols[0]
    with pytest.raises(RequestError, match="'split-cnn' has no protocol 'none'; it has"):
        bench.train(victim, records, tmp_path / "four", protocol="none")
