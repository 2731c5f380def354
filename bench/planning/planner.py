"""Turns what a user asked for into a cell: names found, parameters checked, everything resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.backbones.select import backbone_names
from bench.cell.code_roots import cell_roots
from bench.cell.job import Job
from bench.cell.training import client_seed, train_capture
from bench.data.splits import PARTS, Splits, load_splits
from bench.interfaces.attack import Attack
from bench.interfaces.backbone import BackboneSet
from bench.interfaces.checked_defense import checked
from bench.interfaces.dataset import Dataset
from bench.interfaces.defense import CompositeDefense, Defense
from bench.interfaces.metric import Metric
from bench.interfaces.registry import Registry
from bench.interfaces.threat import ThreatModel, preset
from bench.interfaces.victim import Victim
from bench.planning.guest_errors import guest_errors
from bench.planning.parts import P, Part, plugin_spec
from bench.planning.request import Request
from bench.scoring.control_cache import ControlCache
from bench.scoring.rows import check_metric_name
from bench.spec.cell import (
    AttackSpec,
    CaptureSpec,
    CellSpec,
    DataSpec,
    PluginSpec,
    TrainSpec,
    UtilitySpec,
)
from bench.spec.names import parse_dataset, parse_plugin, parse_stack
from bench.types.channels import Channel
from bench.types.gallery import Gallery
from bench.util.code_identity import code_hash, is_ours
from bench.util.device import resolve_device
from bench.util.errors import RequestError
from bench.util.global_random import GlobalRandom
from bench.util.progress import Progress
from bench.util.provenance import libraries


@dataclass(frozen=True)
class _Parts:
    """A cell's parts, found and checked one by one but not yet put together."""

    victim: Part[Victim]
    protocol: str | None
    defenses: tuple[Part[Defense], ...]
    attack: Part[Attack]
    iterations: int | None
    attack_batch_size: int | None
    targets: int
    epoch: int
    threat: ThreatModel
    data: DataSpec
    splits: Splits
    training: TrainSpec
    utility: UtilitySpec
    backbones: BackboneSet
    metrics: tuple[Part[Metric], ...]
    seed: int
    device: str


class Planner:
    """Resolves requests against the installed plugins; data are loaded once for all requests that share them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        # The registries' type argument is the abstract base, which mypy calls not concrete.
        self.attacks: Registry[Attack] = Registry("attacks", Attack)  # type: ignore[type-abstract]
        self.defenses: Registry[Defense] = Registry("defenses", Defense)
        self.victims: Registry[Victim] = Registry("victims", Victim)  # type: ignore[type-abstract]
        self.metrics: Registry[Metric] = Registry("metrics", Metric)  # type: ignore[type-abstract]
        self.datasets: Registry[Dataset] = Registry("datasets", Dataset)  # type: ignore[type-abstract]
        self._splits: dict[str, Splits] = {}
        self._checked: set[tuple[str, str]] = set()
        self._backbones: dict[tuple[str, Path | None], BackboneSet] = {}
        self._model_hashes: dict[str, str] = {}
        self._control_cache = ControlCache()
        self._noted: set[str] = set()

    def plan(self, request: Request) -> Job:
        """The job of a request.

        Raises:
            RequestError: an unknown name, a bad parameter or an impossible combination.
            DataError: the data or the model cannot be used.
        """
        job = self.draft(request)
        if job.obstacle:
            raise RequestError(job.obstacle)
        return job

    def draft(self, request: Request) -> Job:
        """Likewise; an impossible combination of possible parts is no error but the job's ``obstacle``."""
        threat = preset(request.threat)
        if request.withhold:
            threat = threat.model_copy(
                update={"withhold": tuple(sorted({*threat.withhold, *request.withhold}))}
            )
        victim = self._resolve(self.victims, request.victim, self._victim_extra(request))
        attack = self._resolve(self.attacks, request.attack)
        defenses = self._stack(request.defense)
        data, splits = self._data(self._data_spec(request))
        return self._assemble(
            _Parts(
                victim=victim,
                protocol=request.protocol,
                defenses=defenses,
                attack=attack,
                iterations=request.iterations,
                attack_batch_size=request.attack_batch_size,
                targets=request.targets,
                epoch=request.epoch,
                threat=threat,
                data=data,
                splits=splits,
                training=request.training,
                utility=request.utility,
                backbones=self._load_backbones(request.backbones, request.weights_dir),
                metrics=self._metrics(),
                seed=request.seed,
                device=request.device,
            )
        )

    def rebuild(self, cell: CellSpec, *, weights_dir: Path | None = None) -> Job:
        """The job of a cell as it was written down, with the plugins, data and model that are here
        now.

        Its cell differs from ``cell`` where those have changed since.

        Args:
            weights_dir: where the user's backbone weights are, as in a request.

        Raises:
            RequestError: a plugin, a parameter or a backbone of the cell is not here.
            DataError: the data or the model cannot be used.
        """
        capture, attack = cell.capture, cell.attack
        data, splits = self._data(capture.data)
        return self._assemble(
            _Parts(
                victim=self._again(self.victims, capture.victim),
                protocol=capture.protocol,
                defenses=tuple(self._again(self.defenses, spec) for spec in capture.defense),
                attack=self._again(self.attacks, attack.attack),
                iterations=attack.iterations,
                attack_batch_size=attack.batch_size,
                targets=attack.targets,
                epoch=attack.epoch,
                threat=cell.threat,
                data=data,
                splits=splits,
                training=capture.training,
                utility=cell.utility,
                backbones=self._named_backbones(cell.backbones, weights_dir),
                metrics=tuple(self._again(self.metrics, spec) for spec in cell.metrics),
                seed=capture.seed,
                device=capture.device,
            )
        )

    def check(self, axis: str, value: str) -> None:
        """Check one value of a grid by itself, before anything is loaded for it.

        Args:
            axis: ``victim``, ``defense``, ``attack`` or ``threat``; others cannot be told by
                themselves.

        Raises:
            RequestError: an unknown name or a bad parameter.
        """
        if axis == "victim":
            self._resolve(self.victims, value)
        elif axis == "defense":
            self._stack(value)
        elif axis == "attack":
            self._resolve(self.attacks, value)
        elif axis == "threat":
            preset(value)

    def takes_model(self, victim: str) -> bool:
        """Whether a victim is built on a model that the user may choose.

        Raises:
            RequestError: an unknown name.
        """
        return "model" in self.victims.load(parse_plugin(victim)[0]).Params.model_fields

    def _assemble(self, parts: _Parts) -> Job:
        """Put a cell together; what does not fit becomes its obstacle."""
        victim = parts.victim.build()
        protocol = parts.protocol or victim.protocols[0]
        new_defense = self._defense_maker(parts.defenses)
        obstacle = ""
        if protocol not in victim.protocols:
            obstacle = f"victim {victim.name!r} has no protocol {protocol!r}; it has {', '.join(victim.protocols)}"
        else:
            with guest_errors("defence", _guest_of(parts.defenses)):
                sent = checked(new_defense()).wire(victim.channels(protocol))
                try:
                    victim.check_defense(new_defense())
                    parts.threat.granted(frozenset(Channel(c) for c in sent))
                except RequestError as error:
                    obstacle = str(error)
            obstacle = obstacle or _passive(parts.attack.cls, victim, protocol, parts.threat)
        victim.check(parts.data.image_size)
        self._check_records(victim, parts.victim.spec, parts.splits)
        fallback = parts.attack.cls.default_budget
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
            attack=AttackSpec(
                attack=parts.attack.spec,
                iterations=fallback.iterations if parts.iterations is None else parts.iterations,
                batch_size=parts.attack_batch_size or fallback.batch_size,
                targets=parts.targets,
                epoch=parts.epoch,
            ),
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
            new_defense=new_defense,
            new_gallery=partial(self._gallery, parts.data, parts.splits, parts.seed),
            control_cache=self._control_cache,
            obstacle=obstacle,
        )

    def _resolve(
        self, registry: Registry[P], text: str, extra: dict[str, Any] | None = None
    ) -> Part[P]:
        name, values = parse_plugin(text)
        cls = self._load(registry, name)
        return Part(cls, plugin_spec(cls, {**values, **(extra or {})}))

    def _load(self, registry: Registry[P], name: str) -> type[P]:
        """A plugin class; what is to be said of the packages that provide its name is noted."""
        cls = registry.load(name)
        for fault in registry.faults().get(name, ()):
            self._note(fault)
        return cls

    def _metrics(self) -> tuple[Part[Metric], ...]:
        """Every metric that can be used; one of another package that cannot be is noted and left out."""
        found = []
        for name in self.metrics.names():
            try:
                part = self._resolve(self.metrics, name)
                if not self.metrics.built_in(name):
                    check_metric_name(name)
                found.append(part)
            except RequestError as error:
                if self.metrics.built_in(name):
                    raise
                self._note(f"{error}; runs go on without it")
        return tuple(found)

    def _note(self, text: str) -> None:
        """Say something once."""
        if text not in self._noted:
            self._noted.add(text)
            self._progress.note(text)

    def _again(self, registry: Registry[P], spec: PluginSpec) -> Part[P]:
        cls = registry.load(spec.name)
        return Part(cls, plugin_spec(cls, dict(spec.params)))

    def _victim_extra(self, request: Request) -> dict[str, Any]:
        if request.model is None:
            return {}
        if not self.takes_model(request.victim):
            raise RequestError(f"victim {parse_plugin(request.victim)[0]!r} takes no --model")
        return {"model": request.model}

    def _stack(self, text: str) -> tuple[Part[Defense], ...]:
        """The parts of a stack; names that stand for a stack are replaced by it."""
        pairs = []
        for name, values in parse_stack(text):
            cls = self._load(self.defenses, name)
            if cls.stands_for:
                if values:
                    raise RequestError(
                        f"defence {name!r} takes no parameters; write out {cls.stands_for} with them"
                    )
                pairs += [(self.defenses.load(n), v) for n, v in parse_stack(cls.stands_for)]
            else:
                pairs.append((cls, values))
        names = [cls.name for cls, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise RequestError(f"defence {name!r} is given twice in {text!r}")
        if "none" in names and len(names) > 1:
            raise RequestError(f"{text!r}: 'none' does not stack with a defence")
        if "compose" in names:
            raise RequestError(
                "'compose' is not used by itself; write the defences with + between them"
            )
        return tuple(Part(cls, plugin_spec(cls, values)) for cls, values in pairs)

    def _defense_maker(self, parts: Sequence[Part[Defense]]) -> Callable[[], Defense]:
        def make() -> Defense:
            single = [part.build() for part in parts]
            if len(single) == 1:
                return single[0]
            composite = self.defenses.load("compose")
            if not issubclass(composite, CompositeDefense):
                raise RequestError("the defence registered as 'compose' cannot stack others")
            return composite.of(single)

        return make

    def _capture_code(self, defenses: Sequence[Part[Defense]]) -> str:
        """Identity of the code that makes a capture, apart from that of its plugins."""
        stack = (self.defenses.load("compose"),) if len(defenses) > 1 else ()
        return code_hash(train_capture, load_splits, *stack)

    def _data_spec(self, request: Request) -> DataSpec:
        name, values = parse_dataset(request.data)
        cls = self._load(self.datasets, name)
        dataset = Part(cls, plugin_spec(cls, values))
        return DataSpec(
            dataset=dataset.spec,
            condition=dataset.build().resolve(request.condition),
            image_size=request.image_size,
            splits=request.splits,
        )

    def _data(self, spec: DataSpec) -> tuple[DataSpec, Splits]:
        """The records of a data spec, loaded once and divided."""
        dataset = self._again(self.datasets, spec.dataset)
        data = spec.model_copy(update={"dataset": dataset.spec})
        key = data.content_hash()
        if key not in self._splits:
            load = partial(
                dataset.build().load,
                image_size=data.image_size,
                condition=data.condition,
                progress=self._progress,
            )
            stream = GlobalRandom(0, "data", key)
            with stream.active(), guest_errors("dataset", dataset.cls):
                self._splits[key] = load_splits(load, data.splits)
            if stream.drawn:
                self._note(
                    f"dataset {data.dataset.name!r} draws from a global generator; it was given a fixed seed"
                )
        return data, self._splits[key]

    def _gallery(self, data: DataSpec, splits: Splits, seed: int, size: int) -> Gallery | None:
        """The private people and as many strangers as make ``size``, in an order of the seed."""
        people = sorted({name for name in splits.victim.identities if name is not None})
        if not people or None in splits.victim.identities:
            return None
        dataset = self._again(self.datasets, data.dataset).build()
        gallery = dataset.gallery(people, max(0, size - len(people)), image_size=data.image_size)
        return None if gallery is None else gallery.shuffled(client_seed(splits.victim, seed))

    def _check_records(self, victim: Victim, spec: PluginSpec, splits: Splits) -> None:
        key = (spec.content_hash(), splits.content_hash())
        if key not in self._checked:
            self._checked.add(key)
            for part in PARTS:
                victim.check_records(getattr(splits, part), self._progress)

    def _named_backbones(self, names: Sequence[str], weights_dir: Path | None) -> BackboneSet:
        """The extractors of a cell's ``role=name`` list.

        Raises:
            RequestError: they are not here.
        """
        from bench.backbones.select import FITS

        asked = []
        for role, _, name in (entry.partition("=") for entry in names):
            known = next((file for file in FITS if file in name), "embedded")
            asked.append(f"{role}={known}")
        found = self._load_backbones(",".join(asked), weights_dir)
        if backbone_names(found) != tuple(names):
            raise RequestError(
                f"the cell was scored with {', '.join(names)}; here is {', '.join(backbone_names(found))}"
            )
        return found

    def _load_backbones(self, choice: str, weights_dir: Path | None) -> BackboneSet:
        from bench.backbones.select import load_backbones

        key = (choice, weights_dir)
        if key not in self._backbones:
            self._backbones[key] = load_backbones(choice, weights_dir)
        return self._backbones[key]

    def _model_hash(self, spec: PluginSpec, victim: Victim) -> str:
        key = spec.content_hash()
        if key not in self._model_hashes:
            self._model_hashes[key] = victim.fingerprint()
        return self._model_hashes[key]


def _guest_of(parts: Sequence[Part[Defense]]) -> type[Defense]:
    """The first class of another package in a stack, else its first."""
    return next((part.cls for part in parts if not is_ours(part.cls)), parts[0].cls)


def _passive(attack: type[Attack], victim: Victim, protocol: str, threat: ThreatModel) -> str:
    """Why a malicious attack finds no server to take over; empty where it does, or is none."""
    if not attack.malicious:
        return ""
    if threat.behaviour != "malicious":
        return f"{attack.name} needs a malicious server; threat model {threat.name!r} has an honest one"
    if protocol not in victim.hijackable:
        return f"the client of {victim.name}, {protocol} trains nothing with what a server sends back: no hold for it"
    return ""
