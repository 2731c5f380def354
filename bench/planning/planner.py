"""Turn a request into a job: find the plugins, check the parameters, load data and extractors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.backbones.selection import backbone_names
from bench.cell.code_roots import cell_roots
from bench.cell.job import Job
from bench.cell.training import train_capture
from bench.data.splits import Splits, load_splits
from bench.interfaces.attack import Attack
from bench.interfaces.backbone import BackboneSet
from bench.interfaces.defense import Defense
from bench.interfaces.hook_checks import with_hook_checks
from bench.interfaces.metric import Metric
from bench.interfaces.threat import ThreatModel, preset
from bench.interfaces.victim import Victim
from bench.planning.backbone_source import BackboneSource
from bench.planning.guest_errors import guest_errors
from bench.planning.plugins import Plugins
from bench.planning.records import RecordSource
from bench.planning.request import Request
from bench.planning.resolved_plugin import ResolvedPlugin
from bench.scoring.control_cache import ControlCache
from bench.settings.cell import (
    AttackSpec,
    CaptureSpec,
    CellSpec,
    DataSpec,
    PluginSpec,
    TrainSpec,
    UtilitySpec,
)
from bench.settings.names import parse_plugin
from bench.settings.table import Choices
from bench.types.channels import Channel
from bench.util.code_identity import code_hash, is_ours
from bench.util.device import resolve_device
from bench.util.errors import RequestError
from bench.util.progress import Progress
from bench.util.provenance import libraries


@dataclass(frozen=True)
class _Parts:
    """The parts of a cell, each checked, before they are put together."""

    victim: ResolvedPlugin[Victim]
    protocol: str | None
    defenses: tuple[ResolvedPlugin[Defense], ...]
    attack: ResolvedPlugin[Attack]
    attack_spec: AttackSpec
    threat: ThreatModel
    data: DataSpec
    splits: Splits
    training: TrainSpec
    utility: UtilitySpec
    backbones: BackboneSet
    metrics: tuple[ResolvedPlugin[Metric], ...]
    seed: int
    device: str


class Planner:
    """Resolves requests against the installed plugins; requests that share data load them once."""

    def __init__(self, progress: Progress) -> None:
        self.plugins = Plugins(progress)
        self._records = RecordSource(self.plugins, progress)
        self._backbones = BackboneSource()
        self._model_hashes: dict[str, str] = {}
        self._control_cache = ControlCache()

    def plan(self, request: Request) -> Job:
        """Return the job of a request.

        Raises:
            RequestError: an unknown name, a bad parameter or an impossible combination.
            DataError: the data or the model cannot be used.
        """
        job = self.draft(request)
        if job.obstacle:
            raise RequestError(job.obstacle)
        return job

    def draft(self, request: Request) -> Job:
        """Return the job of a request; why its parts do not fit together is the job's ``obstacle``.

        Raises:
            RequestError: an unknown name or a bad parameter.
            DataError: the data or the model cannot be used.
        """
        plugins, settings = self.plugins, request.settings
        choices = settings.build(Choices)
        threat = preset(request.threat)
        if request.withhold:
            withheld = tuple(sorted({*threat.withhold, *request.withhold}))
            threat = threat.model_copy(update={"withhold": withheld})
        victim = plugins.resolve(
            plugins.victims, request.victim, **self._model_parameter(request.victim, choices.model)
        )
        attack = plugins.resolve(plugins.attacks, request.attack)
        budget = attack.cls.default_budget
        defenses = plugins.stack(request.defense)
        data, splits = self._records.load(self._records.spec(request))
        return self._assemble(
            _Parts(
                victim=victim,
                protocol=request.protocol,
                defenses=defenses,
                attack=attack,
                attack_spec=settings.build(
                    AttackSpec,
                    attack=attack.spec,
                    iterations=budget.iterations,
                    batch_size=budget.batch_size,
                ),
                threat=threat,
                data=data,
                splits=splits,
                training=settings.build(TrainSpec),
                utility=settings.build(UtilitySpec),
                backbones=self._backbones.load(choices.backbones, request.weights_dir),
                metrics=plugins.every_metric(),
                seed=request.seed,
                device=choices.device,
            )
        )

    def rebuild(self, cell: CellSpec, *, weights_dir: Path | None = None) -> Job:
        """Return the job of a stored cell, with the plugins, data and model as they are now.

        The cell of the job differs from ``cell`` where those have changed since.

        Args:
            weights_dir: where the user's backbone weights are, as in a request.

        Raises:
            RequestError: a plugin, a parameter or a backbone of the cell is not here.
            DataError: the data or the model cannot be used.
        """
        plugins, capture = self.plugins, cell.capture
        data, splits = self._records.load(capture.data)
        attack = plugins.from_spec(plugins.attacks, cell.attack.attack)
        return self._assemble(
            _Parts(
                victim=plugins.from_spec(plugins.victims, capture.victim),
                protocol=capture.protocol,
                defenses=tuple(plugins.from_spec(plugins.defenses, s) for s in capture.defense),
                attack=attack,
                attack_spec=cell.attack.model_copy(update={"attack": attack.spec}),
                threat=cell.threat,
                data=data,
                splits=splits,
                training=capture.training,
                utility=cell.utility,
                backbones=self._backbones.from_names(cell.backbones, weights_dir),
                metrics=tuple(plugins.from_spec(plugins.metrics, spec) for spec in cell.metrics),
                seed=capture.seed,
                device=capture.device,
            )
        )

    def check(self, axis: str, value: str) -> None:
        """Check one value of a grid by itself, before anything is loaded for it.

        Args:
            axis: ``victim``, ``defense``, ``attack`` or ``threat``; the values of other axes mean
                nothing by themselves.

        Raises:
            RequestError: an unknown name or a bad parameter.
        """
        if axis == "victim":
            self.plugins.resolve(self.plugins.victims, value)
        elif axis == "defense":
            self.plugins.stack(value)
        elif axis == "attack":
            self.plugins.resolve(self.plugins.attacks, value)
        elif axis == "threat":
            preset(value)

    def _assemble(self, parts: _Parts) -> Job:
        """Put a cell together; a combination that does not fit becomes its obstacle."""
        victim = parts.victim.build()
        protocol = parts.protocol or victim.protocols[0]
        obstacle = self._obstacle(parts, victim, protocol)
        victim.check(parts.data.image_size)
        self._records.check(victim, parts.victim.spec, parts.splits)
        cell = CellSpec(
            capture=CaptureSpec(
                victim=parts.victim.spec,
                protocol=protocol,
                model=str(parts.victim.spec.params.get("model", "")),
                model_hash=self._model_hash(parts.victim.spec, victim),
                defense=tuple(part.spec for part in parts.defenses),
                data=parts.data,
                data_hash=parts.splits.content_hash(),
                training=parts.training,
                seed=parts.seed,
                device=resolve_device(parts.device),
                code=self._capture_code(parts.defenses),
                versions=libraries(),
                adversary=parts.attack.spec if parts.attack.cls.malicious else None,
            ),
            code=code_hash(*cell_roots()),
            attack=parts.attack_spec,
            threat=parts.threat,
            utility=parts.utility,
            backbones=backbone_names(parts.backbones),
            metrics=tuple(part.spec for part in parts.metrics),
        )
        return Job(
            cell=cell,
            splits=parts.splits,
            attack=parts.attack.build(),
            metrics=tuple(part.build() for part in parts.metrics),
            backbones=parts.backbones,
            new_victim=parts.victim.build,
            new_defense=self.plugins.defense_maker(parts.defenses),
            new_gallery=partial(self._records.gallery, parts.data, parts.splits, parts.seed),
            control_cache=self._control_cache,
            obstacle=obstacle,
        )

    def _obstacle(self, parts: _Parts, victim: Victim, protocol: str) -> str:
        """Return why the parts cannot be put together; empty where they can."""
        if protocol not in victim.protocols:
            return (
                f"victim {victim.name!r} has no protocol {protocol!r}; "
                f"it has {', '.join(victim.protocols)}"
            )
        new_defense = self.plugins.defense_maker(parts.defenses)
        with guest_errors("defence", _guest_class(parts.defenses)):
            sent = with_hook_checks(new_defense()).wire(victim.channels(protocol))
            try:
                victim.check_defense(new_defense())
                parts.threat.granted(frozenset(Channel(c) for c in sent))
            except RequestError as error:
                return str(error)
        return _why_not_malicious(parts.attack.cls, victim, protocol, parts.threat)

    def _model_parameter(self, victim: str, model: str | None) -> dict[str, Any]:
        """Return the victim's parameter for a model that the user chose; empty without a choice."""
        if model is None:
            return {}
        if not self.plugins.takes_model(victim):
            raise RequestError(f"victim {parse_plugin(victim)[0]!r} takes no --model")
        return {"model": model}

    def _capture_code(self, defenses: tuple[ResolvedPlugin[Defense], ...]) -> str:
        """Return the identity of the code that makes a capture, besides its plugins."""
        stack = (self.plugins.defenses.load("compose"),) if len(defenses) > 1 else ()
        return code_hash(train_capture, load_splits, *stack)

    def _model_hash(self, spec: PluginSpec, victim: Victim) -> str:
        key = spec.content_hash()
        if key not in self._model_hashes:
            self._model_hashes[key] = victim.fingerprint()
        return self._model_hashes[key]


def _guest_class(parts: tuple[ResolvedPlugin[Defense], ...]) -> type[Defense]:
    """Return the first class of another package in a stack, or the first class of all."""
    return next((part.cls for part in parts if not is_ours(part.cls)), parts[0].cls)


def _why_not_malicious(
    attack: type[Attack], victim: Victim, protocol: str, threat: ThreatModel
) -> str:
    """Return why a malicious attack has no server to take over; empty where it has, or is none."""
    if not attack.malicious:
        return ""
    if threat.behaviour != "malicious":
        return (
            f"{attack.name} needs a malicious server; "
            f"threat model {threat.name!r} has an honest one"
        )
    if protocol not in victim.hijackable:
        return (
            f"{attack.name} needs a client that trains with what the server sends; "
            f"the client of {victim.name}, {protocol} does not"
        )
    return ""
