"""One cell from request to row: reuse, reproducibility, statuses, damage."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import sqlite3
from pathlib import Path

import pytest
import torch

from bench.cell.capture_store import CaptureStore
from bench.cell.runner import Runner
from bench.interfaces import Attack, BenchError, Card, Claim, DataError, Estimate, Silent
from bench.ledger.columns import FIRST_COLUMNS, TIMINGS
from bench.ledger.ledger import Ledger, RowError
from bench.util.files import DiskFullError, disk_errors


class Notes(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def stable(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


@pytest.fixture(scope="module")
def first(make_job, tmp_path_factory):
    """One inversion cell, run once; its results directory and what it returned."""
    results = tmp_path_factory.mktemp("results")
    return results, Runner(results, Silent()).run(make_job(defense="timestep:t_min=900"))


def test_a_cell_gives_a_row_per_target_between_floor_and_ceiling(first):
    results, result = first
    assert [row["target"] for row in result.rows] == ["image", "condition", "prompt"]
    assert result.rows[2]["status"] == "not_claimed"
    for row in result.rows[:2]:
        assert row["status"] == "ok"
        assert row["defense"] == "timestep:t_min=900"
        for suffix in ("", "_low", "_high", "_floor", "_ceiling", "_normalized", "_nearest"):
            assert isinstance(row[f"ssim{suffix}"], float)
        assert row["ssim_low"] <= row["ssim"] <= row["ssim_high"]
        assert row["channels_read"] == "control_features noise_target timestep unet_features"
        assert row["utility_fid"] is not None
        assert row["guarantee"].startswith("void: noise_target")
    with (results / "rows.csv").open() as stream:
        stored = list(csv.DictReader(stream))
    assert [r["cell_id"] for r in stored] == [r["cell_id"] for r in result.rows]
    assert float(stored[0]["ssim"]) == result.rows[0]["ssim"]
    assert result.picture is not None
    assert result.picture.read_bytes()[:4] == b"\x89PNG"


def test_per_record_scores_are_kept_and_average_to_the_row(first):
    results, result = first
    values = Ledger(results).scores(result.rows[0]["cell_id"], "image", "ssim")
    assert len(values) == result.rows[0]["n"] == 6
    assert sum(values) / 6 == pytest.approx(result.rows[0]["ssim"])


@pytest.mark.slow
def test_same_spec_same_row_bit_for_bit(first, make_job, tmp_path):
    again = Runner(tmp_path, Silent()).run(make_job(defense="timestep:t_min=900"))
    assert not again.reused
    assert stable(again.rows) == stable(first[1].rows)


@pytest.mark.slow
def test_the_capture_is_reused_unless_fresh(first, make_job):
    results, _ = first
    job = make_job(defense="timestep:t_min=900")
    assert Runner(results, Silent()).run(job).reused
    assert not Runner(results, Silent()).run(job, fresh=True).reused
    assert (
        Runner(results, Silent())
        .run(make_job(defense="timestep:t_min=900", attack="closed-form"))
        .reused
    )


def test_another_seed_gives_other_numbers(first, make_job):
    other = Runner(first[0], Silent()).run(make_job(defense="timestep:t_min=900", seed=1))
    assert other.rows[0]["capture_id"] != first[1].rows[0]["capture_id"]
    assert other.rows[0]["ssim"] != first[1].rows[0]["ssim"]


def test_an_attack_that_does_not_apply_says_why(make_job, tmp_path):
    result = Runner(tmp_path, Silent()).run(make_job(attack="closed-form", threat="released_model"))
    assert {row["status"] for row in result.rows} == {"not_applicable"}
    assert "unet_features" in str(result.rows[0]["reason"])
    assert result.rows[0]["n"] == 0
    assert "ssim" not in result.rows[0]


def test_a_target_that_is_not_claimed_is_marked(make_job, tmp_path):
    result = Runner(tmp_path, Silent()).run(make_job(attack="closed-form", protocol="gradient"))
    assert [row["status"] for row in result.rows] == ["ok", "not_claimed", "not_claimed"]


@pytest.mark.parametrize(
    ("victim", "status"), [("centralised", "not_applicable"), ("federated", "not_applicable")]
)
def test_reference_victims_train_and_show_no_records(victim, status, make_job, tmp_path):
    result = Runner(tmp_path, Silent()).run(make_job(victim=victim))
    assert result.status == status
    assert result.utility["fid"] > 0
    assert (result.rows[0]["bytes_once"] > 0) == (victim == "federated")


def test_an_undivided_victim_is_judged_without_a_protection_it_never_saw(make_job, tmp_path):
    plain, activated = (
        Runner(tmp_path, Silent()).run(make_job(victim="centralised", defense=d)).utility
        for d in ("none", "activation")
    )
    assert plain == activated


@pytest.mark.parametrize("null", ["empty", "learned"])
def test_other_null_contexts_train_and_are_judged(null, make_job, tmp_path):
    result = Runner(tmp_path, Silent()).run(
        make_job(attack="closed-form", defense=f"prompt:null={null}")
    )
    assert result.status == "ok"
    assert result.utility["fid"] > 0


class Broken(Attack):
    """Fails in the way its ``how`` says."""

    name = "broken"
    card = Card(summary="fails", source="this project")
    how = "raise"

    def run(self, view, *, rng, budget, progress):
        if self.how == "raise":
            raise ZeroDivisionError("the attack's own mistake")
        count = len(view.targets) - (self.how == "short")
        images = view.public.auxiliary.image_batch().take([0] * count)
        if self.how == "nan":
            return Claim({"image": Estimate(images, torch.full((count, 4, 16, 16), float("nan")))})
        return Claim({"image": Estimate(images)})


@pytest.mark.parametrize(
    ("how", "words"), [("raise", "own mistake"), ("short", "5 images for 6"), ("nan", "finite")]
)
def test_a_broken_attack_fails_its_own_cell_with_the_reason(how, words, make_job, tmp_path):
    attack = Broken()
    attack.how = how
    result = Runner(tmp_path, Silent()).run(dataclasses.replace(make_job(), attack=attack))
    assert {row["status"] for row in result.rows} == {"failed"}
    assert words in str(result.rows[0]["reason"])


@pytest.mark.slow
def test_a_damaged_capture_is_kept_aside_and_trained_anew(make_job, tmp_path):
    job = make_job(attack="closed-form")
    expected = Runner(tmp_path, Silent()).run(job)
    capture = CaptureStore(tmp_path).path(job.cell.capture)
    message = next((capture / "transcript").glob("*.safetensors"))
    blob = bytearray(message.read_bytes())
    blob[-1] ^= 1
    message.write_bytes(blob)
    notes = Notes()
    again = Runner(tmp_path, notes).run(job)
    assert not again.reused
    assert "damaged capture" in notes.lines[0]
    assert message.name in notes.lines[0]
    assert len(list(capture.parent.glob("*.damaged-1"))) == 1
    assert stable(again.rows) == stable(expected.rows)


def test_an_interrupted_training_leaves_nothing_and_the_next_run_works(
    make_job, tmp_path, monkeypatch
):
    job = make_job(attack="closed-form")
    from victims.diffusion.split_controlnet import SplitControlNet

    original = SplitControlNet.train

    def interrupted(self, records, defense, plan, *, protocol, out, progress):
        (out / "half").write_text("written before the interruption")
        raise KeyboardInterrupt

    monkeypatch.setattr(SplitControlNet, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Runner(tmp_path, Silent()).run(job)
    assert list((tmp_path / "captures").iterdir()) == []
    monkeypatch.setattr(SplitControlNet, "train", original)
    assert Runner(tmp_path, Silent()).run(job).status == "ok"


def test_what_a_killed_run_left_is_swept(make_job, tmp_path):
    left = tmp_path / "captures" / ".partial-0123-4194303"  # above any process id in use
    left.mkdir(parents=True)
    living = tmp_path / "captures" / f".partial-0123-{os.getppid()}"
    living.mkdir()
    Runner(tmp_path, Silent()).run(make_job(attack="closed-form"))
    assert not left.exists()
    assert living.exists()


@pytest.mark.slow
def test_a_damaged_ledger_is_kept_aside(first, make_job, tmp_path):
    job = make_job(attack="closed-form")
    Runner(tmp_path, Silent()).run(job)
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database" * 100)
    notes = Notes()
    Runner(tmp_path, notes).run(job)
    assert "damaged ledger" in notes.lines[0]
    assert (tmp_path / "ledger.sqlite.damaged-1").exists()
    assert (tmp_path / "rows.csv.damaged-1").exists()
    assert len(Ledger(tmp_path).rows()) == 3


def test_a_ledger_of_another_schema_is_left_alone(tmp_path):
    Ledger(tmp_path)
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    with db:
        db.execute("UPDATE meta SET value = '99'")
    db.close()
    with pytest.raises(BenchError, match="schema 99"):
        Ledger(tmp_path)


def test_rows_with_other_columns_do_not_shift(tmp_path):
    base = dict.fromkeys(FIRST_COLUMNS, "x") | {"target": "image", "n": 1, "created": "2026"}
    ledger = Ledger(tmp_path)
    ledger.write("a", "c", "{}", [{**base, "cell_id": "a", "ssim": 0.5}], [])
    ledger.write("b", "c", "{}", [{**base, "cell_id": "b", "zeta": 0.1, "psnr": 20.0}], [])
    with (tmp_path / "rows.csv").open() as stream:
        rows = {r["cell_id"]: r for r in csv.DictReader(stream)}
    assert rows["a"]["ssim"] == "0.5"
    assert rows["a"]["psnr"] == ""
    assert rows["b"]["psnr"] == "20.0"
    assert rows["b"]["zeta"] == "0.1"


@pytest.mark.parametrize("change", [{"n": None, "drop": "n"}, {"ssim": [1, 2]}])
def test_a_row_that_breaks_the_schema_is_refused(change, tmp_path):
    row = dict.fromkeys(FIRST_COLUMNS, "x") | {"target": "image", "n": 1, "created": "2026"}
    row |= {k: v for k, v in change.items() if k != "drop"}
    row.pop(change.get("drop", ""), None)
    with pytest.raises(RowError):
        Ledger(tmp_path).write("a", "c", "{}", [row], [])


def test_a_full_disk_is_one_sentence_with_exit_code_3(tmp_path):
    with pytest.raises(DiskFullError, match="no space left") as caught, disk_errors(tmp_path):
        raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 3


@pytest.mark.slow
def test_a_full_disk_during_training_loses_nothing(make_job, tmp_path, monkeypatch):
    from bench.interfaces import TranscriptWriter

    job = make_job(attack="closed-form")
    Runner(tmp_path, Silent()).run(job)
    rows = (tmp_path / "rows.csv").read_text()

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TranscriptWriter, "send", full)
    with pytest.raises(DiskFullError):
        Runner(tmp_path, Silent()).run(job, fresh=True)
    monkeypatch.undo()
    assert (tmp_path / "rows.csv").read_text() == rows
    assert Runner(tmp_path, Silent()).run(job).reused


def test_the_row_holds_the_whole_spec(first):
    row = first[1].rows[0]
    spec = json.loads(str(row["spec"]))
    assert spec["capture"]["seed"] == 0
    assert spec["capture"]["defense"][0]["params"]["t_min"] == 900
    assert spec["threat"]["name"] == "server"


@pytest.mark.slow
def test_another_latent_factor_goes_through_the_same_code(make_job, other_model, tmp_path):
    result = Runner(tmp_path, Silent()).run(make_job(attack="closed-form", model=str(other_model)))
    assert result.status == "ok"
    assert result.rows[0]["latent_nmse"] < 1e-4
    assert result.rows[1]["latent_nmse"] < 1e-4


def test_a_model_directory_that_is_none_is_refused(make_job, tmp_path):
    (tmp_path / "unet").mkdir()
    with pytest.raises(DataError, match=r"unet/config\.json: file is missing"):
        make_job(model=str(tmp_path))


def test_pickled_weights_are_refused(make_job, tiny_model, tmp_path):
    import shutil

    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = next((copy / "unet").glob("*.safetensors"))
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(DataError, match="safetensors"):
        make_job(model=str(copy))
