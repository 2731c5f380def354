"""Mistakes of every kind end in one clear sentence and the right exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from bench.cli.main import main
from bench.interfaces import TARGETS

SMALL = [
    *(
        "--records",
        "8",
        "--auxiliary",
        "12",
        "--calibration",
        "8",
        "--evaluation",
        "8",
        "--epochs",
        "1",
    ),
    *(
        "--batch-size",
        "4",
        "--targets",
        "4",
        "--iterations",
        "2",
        "--utility-steps",
        "2",
        "--backbones",
        "embedded",
    ),
]


def bench(*args: str) -> tuple[int, str]:
    """Exit code, and everything printed."""
    result = CliRunner().invoke(main, list(args), catch_exceptions=False)
    return result.exit_code, result.output


def one_sentence(output: str) -> str:
    """The last line, checked to be the only error and no traceback."""
    lines = [line for line in output.splitlines() if line.startswith(("bench:", "Error:"))]
    assert len(lines) == 1, output
    assert "Traceback" not in output
    return lines[0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--attack", "inversoin"], "unknown attack 'inversoin'; did you mean 'inversion'?"),
        (["--defense", "timstep"], "did you mean 'timestep'?"),
        (["--victim", "split-controlnt"], "did you mean 'split-controlnet'?"),
        (["--data", "portrait"], "did you mean 'portraits'?"),
        (["--threat", "sever"], "did you mean 'server'?"),
        (["--withhold", "noise_targt"], "did you mean 'noise_target'?"),
        (["--withhold", "gradient_down"], "does not send it"),
        (["--protocol", "gradeint"], "no protocol 'gradeint'"),
        (["--defense", "timestep:t_min=5,snr=1"], "one of t_min, snr or epsilon"),
        (["--defense", "timestep:tmin=5"], "parameters: t_min"),
        (["--defense", "timestep:t_min=5000"], "beyond the schedule"),
        (["--defense", "timestep+timestep"], "given twice"),
        (["--defense", "none+prompt"], "does not stack"),
        (["--defense", "timestep:t_min"], "must be key=value"),
        (["--defense", "published:t_min=3"], "takes no parameters"),
        (["--attack", "inversion:width=0"], "width"),
        (["--model", "no/such/dir"], "no such directory"),
        (["--device", "tpu"], "not available"),
        (["--condition", "cany"], "canny"),
        (["--image-size", "70"], "multiple of"),
        (["--data", "folder:/no/such/folder"], "no such folder"),
        (["--epoch", "7"], "epochs 0 to 0"),
    ],
)
def test_wrong_requests(args, words, tiny_model, tmp_path):
    model = [] if "--model" in args else ["--model", str(tiny_model)]
    code, output = bench("run", *SMALL, *model, *args, "--results", str(tmp_path / "results"))
    assert code == 2, output
    assert words in one_sentence(output)


def test_click_errors_have_exit_code_2_and_a_suggestion():
    assert bench("rnu")[0] == 2
    assert "did you mean 'run'?" in bench("rnu")[1]
    assert bench("run", "--epochs", "0")[0] == 2
    assert bench("ls", "atacks")[0] == 2


def test_results_that_cannot_be_written(tiny_model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, output = bench(
        "run", *SMALL, "--model", str(tiny_model), "--results", str(tmp_path / "file" / "x")
    )
    assert code == 2
    assert "cannot write" in one_sentence(output)


def picture(path: Path, size: tuple[int, int] = (70, 90), mode: str = "RGB") -> None:
    Image.effect_noise(size, 60).convert(mode).save(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            '{"file_name": "b.png", "text": 5}',
            "line 2: 'text' must be a text, a list of texts or null, not int",
        ),
        ('{"file_name": "none.png", "text": "x"}', "line 2: file 'none.png' does not exist"),
        (
            '{"file_name": "../out.png", "text": "x"}',
            "line 2: '../out.png' leads out of the folder",
        ),
        ('{"file_name": "a.png", "text"', "line 2: not valid JSON"),
        (
            '{"file_name": "broken.png", "text": "x"}',
            "line 2: broken.png cannot be read as a picture",
        ),
        ("[1]", "line 2: must be a JSON object"),
    ],
)
def test_folder_metadata_errors_name_file_and_line(line, words, tiny_model, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    picture(folder / "a.png")
    picture(folder / "b.png")
    picture(tmp_path / "out.png")
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    (folder / "metadata.jsonl").write_text(
        json.dumps({"file_name": "a.png", "text": "fine"}) + "\n" + line + "\n"
    )
    code, output = bench(
        "run",
        *SMALL,
        "--model",
        str(tiny_model),
        "--data",
        f"folder:{folder}",
        "--results",
        str(tmp_path),
    )
    assert code == 2
    assert words in one_sentence(output)


def test_empty_folder_and_too_few_pictures(tiny_model, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    args = [
        "run",
        *SMALL,
        "--model",
        str(tiny_model),
        "--data",
        f"folder:{folder}",
        "--results",
        str(tmp_path),
    ]
    code, output = bench(*args)
    assert code == 2
    assert "no pictures" in one_sentence(output)
    picture(folder / "a.png")
    code, output = bench(*args)
    assert code == 2
    assert "1 records in 1 groups that share no identity and no picture, too few" in one_sentence(
        output
    )


def test_a_folder_of_any_sizes_and_modes_runs(tiny_model, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for i, mode in enumerate(["RGB", "L", "RGBA", "P", "1", "CMYK", "LA", "I;16"] * 5):
        suffix = "tif" if mode == "CMYK" else "png"
        picture(folder / f"picture-{i}.{suffix}", (40 + i, 80 - i), mode)
    code, output = bench(
        "run",
        *SMALL,
        "--model",
        str(tiny_model),
        "--data",
        f"folder:{folder}",
        "--image-size",
        "32",
        "--attack",
        "closed-form",
        "--results",
        str(tmp_path / "r"),
    )
    assert code == 0, output
    assert (tmp_path / "r" / "rows.csv").exists()


@pytest.mark.slow
def test_a_grid_runs_every_combination_and_prints_the_tables(tiny_model, tmp_path):
    args = ["run", *SMALL, "--model", str(tiny_model), "--results", str(tmp_path)]
    code, output = bench(
        *args,
        "--attack",
        "closed-form",
        "--attack",
        "inversion",
        "--defense",
        "none",
        "--defense",
        "published",
    )
    assert code == 0, output
    assert output.count("condition, 4 records") == 4
    assert "timestep+activation+prompt" in output
    assert output.count("reused") == 2
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + 4 * len(TARGETS)


@pytest.mark.slow
def test_the_same_cell_twice_in_a_grid_is_run_once_and_shown_again_later(tiny_model, tmp_path):
    args = [
        "run",
        *SMALL,
        "--model",
        str(tiny_model),
        "--results",
        str(tmp_path),
        "--attack",
        "closed-form",
    ]
    code, output = bench(*args, "--defense", "published", "--defense", "timestep+activation+prompt")
    assert code == 0, output
    assert "1 of the cells are the same as others; merged" in output
    assert output.count("condition, 4 records") == 1
    rows = (tmp_path / "rows.csv").read_text()
    code, output = bench(*args, "--defense", "published")
    assert code == 0, output
    assert "is in the ledger already (--fresh runs it anew)" in output
    assert output.count("condition, 4 records") == 1
    assert (tmp_path / "rows.csv").read_text() == rows


@pytest.mark.parametrize(
    "name", ["inversion", "closed-form", "timestep", "split-controlnet", "server", "noise_target"]
)
def test_describe_knows_plugins_threat_models_and_channels(name):
    code, output = bench("describe", name)
    assert code == 0
    assert name in output


def test_describe_offers_a_malicious_attack_to_malicious_servers_only():
    for name, honest in (("stir", False), ("replay", True)):
        (threats,) = (
            line
            for line in bench("describe", name)[1].splitlines()
            if line.startswith("  threats:")
        )
        assert "malicious_server" in threats
        assert (" server," in threats) == honest


def test_describe_says_what_a_models_stem_means(tiny_model):
    code, output = bench("describe", "split-controlnet", "--model", str(tiny_model))
    assert code == 0
    assert "16 x 36, rank 16" in output
