"""Settings are declared once: suites, requests and options follow from the field."""

from __future__ import annotations

import dataclasses

import click
import pytest
from pydantic import Field, ValidationError

from bench.cli.main import main
from bench.cli.options import GroupedOption, setting_option
from bench.cli.run import run
from bench.data.split_sizes import SplitSizes
from bench.planning.request import Request
from bench.planning.settings import Settings
from bench.settings.cell import TrainSpec, UtilitySpec
from bench.settings.table import SETTINGS, Choices, Setting
from bench.util.frozen_model import FrozenModel

HEADINGS = ["What is attacked", "Data", "Training", "Attack", "Scoring", "Running"]


class Example(FrozenModel):
    """A specification with fields of every kind."""

    depth: int = Field(default=3, ge=2, description="The example is this deep.")
    rate: float = Field(default=0.5, gt=0, description="The example runs at this rate.")
    name: str = Field(default="x", description="The example has this name.")


def options() -> dict[str, click.Option]:
    return {str(p.name): p for p in run.params if isinstance(p, click.Option)}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_an_option_a_suite_field_and_a_description(name: str) -> None:
    setting, option = SETTINGS[name], options()[name]
    assert option.help == setting.info.description == Settings.model_fields[name].description
    assert option.default == setting.default
    assert Settings.model_fields[name].default is None


def test_an_option_has_type_and_bounds_of_its_field() -> None:
    made = [setting_option(Setting(f, Example, f, "Data")) for f in Example.model_fields]
    depth, rate, name = (option.type for option in made)
    assert isinstance(depth, click.IntRange)
    assert (depth.min, depth.min_open) == (2, False)
    assert isinstance(rate, click.FloatRange)
    assert (rate.min, rate.min_open) == (0, True)
    assert name is click.STRING
    assert [option.default for option in made] == [3, 0.5, "x"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("records", 1),
        ("calibration", 7),
        ("image_size", 15),
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("utility_guidance", float("nan")),
        ("dtype", "fp16"),
        ("iterations", -1),
        ("attack_batch_size", 0),
        ("targets", 1),
        ("colour", "red"),
    ],
)
def test_a_suite_and_a_request_refuse_what_the_field_refuses(setting: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Settings(**{setting: value})
    if setting in SETTINGS:
        with pytest.raises(ValidationError):
            Request().replace(**{setting: value})


def test_settings_build_the_specification_that_declares_them() -> None:
    settings = Settings(epochs=2, records=9, utility_steps=3, data="photos")
    assert settings.build(TrainSpec) == TrainSpec(epochs=2)
    assert settings.build(SplitSizes) == SplitSizes(victim=9)
    assert settings.build(UtilitySpec) == UtilitySpec(steps=3)
    assert settings.build(Choices) == Choices(data="photos")
    assert Settings().build(TrainSpec) == TrainSpec()
    assert settings.build(TrainSpec, epochs=7, batch_size=5) == TrainSpec(epochs=2, batch_size=5)


def test_later_settings_replace_earlier_ones() -> None:
    own = Settings(epochs=2, records=9)
    assert own.under(Settings(epochs=3)).given() == {"epochs": 3, "records": 9}
    request = Request(settings=own).replace(attack="dlg", records=8)
    assert (request.attack, request.settings.given()) == ("dlg", {"epochs": 2, "records": 8})
    assert request.replace(records=None).settings.given() == {"epochs": 2}
    with pytest.raises(TypeError):
        request.replace(colour="red")


def test_the_defaults_of_a_request_are_those_of_the_options() -> None:
    request = Request()
    for field, option in (("victim", "victims"), ("attack", "attacks"), ("defense", "defenses")):
        assert options()[option].default == (getattr(request, field),)
    assert options()["threats"].default == (request.threat,)
    assert options()["seeds"].default == (request.seed,)
    assert {f.name for f in dataclasses.fields(request)} >= {"victim", "settings", "weights_dir"}


def test_the_help_of_a_run_groups_its_options() -> None:
    context = click.Context(run, info_name="run", terminal_width=100)
    text = run.get_help(context)
    positions = [text.index(f"\n{heading}:\n") for heading in HEADINGS]
    assert positions == sorted(positions)
    for option in options().values():
        assert isinstance(option, GroupedOption) or option.name == "help"
        if isinstance(option, GroupedOption):
            assert option.group in HEADINGS
    training = text[positions[2] : positions[3]]
    assert "--learning-rate" in training
    assert "bench run standard" in text


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_option_of_every_command_says_a_sentence(command: str) -> None:
    context = click.Context(main.commands[command], info_name=command)
    for parameter in main.commands[command].get_params(context):
        if isinstance(parameter, click.Option):
            text = parameter.help or ""
            assert text[:1].isupper(), parameter.opts
            assert text.endswith("."), parameter.opts
            assert len(text.split()) > 2, parameter.opts
