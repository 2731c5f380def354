"""The settings of a cell that users set: their names, and the field that declares each.

A field of a specification declares a setting once: type, bounds, default and a sentence about it.
The options of ``bench run``, the ``settings`` of a suite and requests follow from this table; a new
setting is a field, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo

from bench.data.split_sizes import SplitSizes
from bench.settings.cell import AttackSpec, DataSpec, TrainSpec, UtilitySpec
from bench.util.frozen_model import FrozenModel


class Choices(FrozenModel):
    """What a user names and the planner resolves."""

    model: str | None = Field(
        default=None,
        description="The victim starts from this model: pocket, a directory in diffusers layout, "
        "or a hub id owner/name@COMMIT.",
    )
    data: str = Field(
        default="portraits",
        description="Records come from this data set: portraits, fill, photos, or folder:PATH.",
    )
    condition: str = Field(
        default="auto",
        description="Hint images are of this kind: canny, scribble, blur, random, or a kind that "
        "the data set brings; auto takes the data set's own, or canny.",
    )
    device: str = Field(
        default="auto",
        description="Computations run on this torch device; auto takes a GPU where there is one.",
    )
    backbones: str = Field(
        default="auto",
        description="Metrics take their features from these networks: auto, embedded, or names "
        "separated by commas: alex, vgg, inception-v3, clip-vit-base-patch32, "
        "clip-vit-large-patch14, clip:DIR; role=name sets one of identity, distribution, "
        "perceptual and prompt.",
    )


ATTACKED, DATA, TRAINING = "What is attacked", "Data", "Training"
ATTACK, SCORING, RUNNING = "Attack", "Scoring", "Running"


@dataclass(frozen=True)
class Setting:
    """One setting: its name in suites and options, and the field that declares it.

    Attributes:
        model, field: the specification and the name of its field.
        group: heading of the option in the help.
        default_text: the default in words where it is known only when a cell is planned; the
            setting then has no default to be shown.
    """

    name: str
    model: type[FrozenModel]
    field: str
    group: str
    default_text: str | None = None

    @property
    def info(self) -> FieldInfo:
        """The declaration: type, bounds, default and description."""
        return self.model.model_fields[self.field]

    @property
    def default(self) -> Any:
        """The default value; None where it is known only when a cell is planned."""
        return None if self.default_text is not None else self.info.default

    @property
    def option(self) -> str:
        """The name of the option on the command line."""
        return f"--{self.name.replace('_', '-')}"


_OWN = "the attack's own"

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        setting.name: setting
        for setting in (
            Setting("model", Choices, "model", ATTACKED, "the victim's own"),
            Setting("data", Choices, "data", DATA),
            Setting("condition", Choices, "condition", DATA),
            Setting("image_size", DataSpec, "image_size", DATA),
            Setting("records", SplitSizes, "victim", DATA),
            Setting("auxiliary", SplitSizes, "auxiliary", DATA),
            Setting("calibration", SplitSizes, "calibration", DATA),
            Setting("evaluation", SplitSizes, "evaluation", DATA),
            Setting("epochs", TrainSpec, "epochs", TRAINING),
            Setting("batch_size", TrainSpec, "batch_size", TRAINING),
            Setting("learning_rate", TrainSpec, "learning_rate", TRAINING),
            Setting("dtype", TrainSpec, "dtype", TRAINING),
            Setting("iterations", AttackSpec, "iterations", ATTACK, _OWN),
            Setting("attack_batch_size", AttackSpec, "batch_size", ATTACK, _OWN),
            Setting("targets", AttackSpec, "targets", ATTACK),
            Setting("epoch", AttackSpec, "epoch", ATTACK),
            Setting("utility_steps", UtilitySpec, "steps", SCORING),
            Setting("utility_guidance", UtilitySpec, "guidance", SCORING),
            Setting("device", Choices, "device", RUNNING),
            Setting("backbones", Choices, "backbones", SCORING),
        )
    }
)
"""Every setting by its name, in the order of the help."""
