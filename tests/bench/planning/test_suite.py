"""The file of a suite: its fields, the sentences about mistakes, and the cells it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.interfaces import RequestError, Silent
from bench.ledger.reader import CellEntry
from bench.planning.planner import Planner
from bench.planning.settings import Settings
from bench.planning.suite import SHIPPED, Block, Suite, find_suite, read_suite, shipped
from bench.planning.suite_plan import describe_plan, plan_suite
from tests.support.suites import SETTINGS, small_suite

GOOD = """\
description: An example.
settings: {epochs: 2}
blocks:
  one:
    attacks: [closed-form, inversion]
    defenses: [none, timestep]
    seeds: [0, 1]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GOOD.replace("attacks:", "atacks:"),
            "line 5: blocks.one.atacks: there is no such field; did you mean 'atta",
        ),
        (
            GOOD.replace("epochs", "epoch_count"),
            "line 2: settings.epoch_count: there is no such field",
        ),
        (
            GOOD.replace("epochs: 2", "epochs: 0"),
            "line 2: settings.epochs: input should be greater than",
        ),
        (
            GOOD.replace("[0, 1]", "\n      - 0\n      - one"),
            "line 9: blocks.one.seeds.1: input should be a valid int",
        ),
        (
            GOOD.replace("[0, 1]", "[]"),
            "line 7: blocks.one.seeds: value should have at least 1 item",
        ),
        (
            GOOD.replace("    attacks: [closed-form, inversion]\n", ""),
            "line 4: blocks.one: 'attacks' is missing",
        ),
        (GOOD + "    seeds: [2]\n", "line 8: 'seeds' is given twice"),
        (GOOD + "  1: {}\n", "line 8: the key 1 must be a word"),
        (GOOD.replace("[0, 1]", "[0, 1"), "not valid YAML"),
        (GOOD.replace("An example.", "!!python/object:os.system x"), "line 1: not valid YAML"),
        ("- one\n", "line 1: a suite is a mapping with 'blocks'"),
        ("", "line 1: a suite is a mapping with 'blocks'"),
        ("blocks: {}\n", "line 1: blocks: dictionary should have at least 1 item"),
        (GOOD + "    exclude:\n      - {seed: 7}\n", "line 9: this exclusion leaves out no cell"),
        (
            GOOD + "    exclude:\n      - {attack: [closed-form, inversion]}\n",
            "block 'one' excludes all its cells",
        ),
    ],
)
def test_mistakes_name_file_and_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        read_suite(write(tmp_path, text))
    assert str(caught.value).startswith("mine.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("inversion", "inversoin"),
            "line 5: unknown attack 'inversoin'; did you mean 'inversion'?",
        ),
        (("timestep", "timestep:t=5"), "line 6: timestep: t: extra inputs"),
        (
            ("seeds: [0, 1]", "threats: [sever]"),
            "line 7: unknown threat model 'sever'; did you mean 'server'?",
        ),
        (("seeds: [0, 1]", "victims: [splt]"), "line 7: unknown victim 'splt'"),
        (
            ("seeds: [0, 1]", "protocols: [no-gradient, gradeint]"),
            "line 7: victim 'split-controlnet' has no protocol",
        ),
        (
            ("seeds: [0, 1]", "withhold: ['', noise_targt]"),
            "line 7: threat model 'server': cannot withhold 'noise_t",
        ),
    ],
)
def test_wrong_values_are_named_with_their_line(change, words, planner, tiny_model, tmp_path):
    suite = read_suite(write(tmp_path, GOOD.replace(*change)))
    with pytest.raises(RequestError) as caught:
        plan_suite(suite, planner, overrides=Settings(**SETTINGS, model=str(tiny_model)))
    assert words in str(caught.value)


def test_a_grid_is_every_combination_less_what_is_excluded() -> None:
    block = Block.model_validate(
        {
            "attacks": ["a", "b"],
            "defenses": ["none", "d"],
            "withhold": ["", "y, x"],
            "seeds": [0, 1],
            "exclude": [{"attack": "a", "defense": "d"}, {"withhold": [["x", "y"]], "seed": 1}],
        }
    )
    points = list(block.points())
    assert len(points) == len(set(points)) == 16 - 4 - 3
    assert not [p for p in points if (p.attack, p.defense) == ("a", "d")]
    assert not [p for p in points if p.withhold == ("x", "y") and p.seed == 1]
    assert {p.withhold for p in points} == {(), ("x", "y")}
    assert {p.protocol for p in points} == {None}


def test_equal_cells_are_merged_and_captures_counted_once(planner, tiny_model):
    suite = small_suite(
        tiny_model,
        attacks=["closed-form"],
        defenses=["published", "timestep+activation+prompt", "none"],
    )
    plan = plan_suite(suite, planner)
    assert (len(plan.jobs), plan.merged, plan.captures()) == (2, 1, 2)
    both = small_suite(
        tiny_model, attacks=["closed-form", "inversion"], withhold=["", "noise_target"]
    )
    plan = plan_suite(both, planner)
    assert (len(plan.jobs), plan.merged, plan.captures()) == (4, 0, 1)


def test_cells_of_one_capture_stand_together(planner, tiny_model):
    one = small_suite(tiny_model, attacks=["closed-form"], seeds=[0, 1]).content
    two = small_suite(tiny_model, attacks=["inversion"], seeds=[0, 1]).content
    blocks = {"first": one.blocks["only"], "second": two.blocks["only"]}
    plan = plan_suite(Suite("two", one.model_copy(update={"blocks": blocks})), planner)
    assert [(job.attack.name, job.cell.capture.seed) for job in plan.jobs] == [
        ("closed-form", 0),
        ("inversion", 0),
        ("closed-form", 1),
        ("inversion", 1),
    ]


def test_a_combination_that_does_not_exist_is_not_applicable_with_its_reason(planner, tiny_model):
    suite = small_suite(
        tiny_model,
        attacks=["closed-form"],
        protocols=["no-gradient", "gradient"],
        withhold=["", "gradient_down"],
    )
    plan = plan_suite(suite, planner)
    assert len(plan.jobs) == 4
    (impossible,) = (job for job in plan.jobs if job.obstacle)
    assert impossible.cell.capture.protocol == "no-gradient"
    assert "cannot withhold 'gradient_down'" in impossible.obstacle
    assert plan.captures() == 2
    text = "\n".join(describe_plan(plan, {}, fresh=False, retry_failed=False, jobs=1))
    assert "4 cells on 2 captures; 1 not applicable" in text
    assert "to run: 4 cells" in text


def test_command_line_settings_count_before_the_suites(planner, tiny_model):
    plan = plan_suite(
        small_suite(tiny_model, attacks=["closed-form"]),
        planner,
        overrides=Settings(epochs=1, targets=3),
    )
    assert plan.jobs[0].cell.capture.training.epochs == 1
    assert plan.jobs[0].cell.attack.targets == 3
    assert plan.jobs[0].cell.capture.training.batch_size == SETTINGS["batch_size"]


@pytest.mark.parametrize(
    ("status", "fresh", "retry", "runs"),
    [
        ("ok", False, True, False),
        ("ok", True, False, True),
        ("not_applicable", False, True, False),
        ("failed", False, False, False),
        ("failed", False, True, True),
        ("timeout", False, True, True),
    ],
)
def test_what_is_run_again(status, fresh, retry, runs, planner, tiny_model):
    plan = plan_suite(small_suite(tiny_model, attacks=["closed-form"]), planner)
    cell = plan.jobs[0].cell
    known = {cell.cell_id: CellEntry(cell.cell_id, "", status, cell.canonical(), 1.0, True)}
    assert bool(plan.remaining(known, fresh=fresh, retry_failed=retry)) is runs
    assert plan.remaining({}, fresh=False, retry_failed=False) == list(plan.jobs)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_shipped_suites_can_be_planned(name, planner, tiny_model):
    suite = find_suite(name)
    assert shipped()[name] == suite.content.description != ""
    plan = plan_suite(suite, planner, overrides=Settings(**SETTINGS, model=str(tiny_model)))
    assert not [job.obstacle for job in plan.jobs if job.obstacle]
    labels = {"+".join(d.name for d in job.cell.capture.defense) for job in plan.jobs}
    if name != "quick":  # a handful of cells
        assert {"none", "timestep", "activation", "prompt", "timestep+activation+prompt"} <= labels
    assert {job.attack.name for job in plan.jobs} >= {"closed-form", "inversion"}
    if name == "standard":
        assert {job.cell.capture.protocol for job in plan.jobs} >= {
            "no-gradient",
            "gradient",
            "u-shaped",
            "none",
        }
        repeated = [
            job for job in plan.jobs if job.cell.capture.defense[0].label in ("none", "timestep")
        ]
        assert {job.cell.capture.seed for job in repeated} == {0, 1, 2}


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="no suite 'standrd'; did you mean 'standard'"):
        find_suite("standrd")
    with pytest.raises(RequestError, match="cannot be read"):
        find_suite("missing.yaml")


@pytest.mark.slow
def test_a_dry_run_prints_the_plan_and_runs_nothing(tiny_model, tmp_path):
    suite = write(tmp_path, GOOD)
    options = [
        part
        for k, v in SETTINGS.items()
        if k != "learning_rate"
        for part in (f"--{k.replace('_', '-')}", str(v))
    ]
    command = [
        "run",
        str(suite),
        "--dry-run",
        "--model",
        str(tiny_model),
        "--results",
        str(tmp_path / "results"),
    ]
    result = CliRunner().invoke(main, [*command, *options])
    assert result.exit_code == 0, result.output
    assert "suite mine: An example." in result.output
    assert "8 cells on 4 captures" in result.output
    assert not (tmp_path / "results").exists()


def test_axes_belong_to_the_suite(tmp_path):
    result = CliRunner().invoke(main, ["run", str(write(tmp_path, GOOD)), "--attack", "inversion"])
    assert result.exit_code == 2
    assert "--attack is an axis of the grid" in result.output


def test_planning_knows_what_a_stored_cell_was(planner: Planner, make_job) -> None:
    """``rebuild`` gives the cell that was written down, whatever it was made of."""
    for changes in (
        {"defense": "timestep:t_min=900+activation", "withhold": ("noise_target",)},
        {"victim": "centralised", "threat": "released_model", "attack": "closed-form"},
        {"iterations": 7, "attack_batch_size": 2, "epoch": 0, "targets": 3, "seed": 4},
    ):
        cell = make_job(**changes).cell
        stored = type(cell).model_validate_json(cell.canonical())
        assert planner.rebuild(stored).cell == cell
        assert Planner(Silent()).rebuild(stored).cell.cell_id == cell.cell_id
