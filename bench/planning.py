"""Turns what a user asked for into a cell: names found, parameters checked, everything resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.backbones.base import BackboneSet
from bench.channels import Channel
from bench.errors import RequestError
from bench.interfaces import Attack, CompositeDefense, Dataset, Defense, Metric, Victim
from bench.plugin import Plugin
from bench.progress import Progress
from bench.provenance import code_hash, versions
from bench.registry import Registry
from bench.spec import (
    AttackSpec,
    CaptureSpec,
    CellSpec,
    DataSpec,
    PluginSpec,
    SplitSizes,
    TrainSpec,
    UtilitySpec,
    parse_plugin,
    parse_stack,
)
from bench.splits import Splits, divide
from bench.threat import preset

P = TypeVar("P", bound=Plugin)


@dataclass(frozen=True)
class Request:
    """What a user may ask for; defaults are those of ``bench run``.

    Attributes:
        protocol: None is the victim's first.
        iterations: None is the attack's own default.
    """

    victim: str = "split-controlnet"
    protocol: str | None = None
    model: str | None = None
    defense: str = "none"
    attack: str = "inversion"
    threat: str = "server"
    withhold: tuple[str, ...] = ()
    data: str = "portraits"
    condition: str = "canny"
    image_size: int = 64
    splits: SplitSizes = field(default_factory=SplitSizes)
    training: TrainSpec = field(default_factory=TrainSpec)
    iterations: int | None = None
    attack_batch_size: int | None = None
    targets: int = 64
    epoch: int = -1
    utility: UtilitySpec = field(default_factory=UtilitySpec)
    seed: int = 0
    device: str = "auto"
    backbones: str = "auto"
    weights_dir: Path | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """A cell with the objects that it needs.

    Attributes:
        new_victim, new_defense: make objects that share no state, so that an attacker's copy of either
            holds nothing of the victim's own.
    """

    cell: CellSpec
    splits: Splits
    attack: Attack
    metrics: tuple[Metric, ...]
    backbones: BackboneSet
    new_victim: Callable[[], Victim]
    new_defense: Callable[[], Defense]


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
        self._backbones: dict[tuple[str, Path | None], BackboneSet] = {}
        self._model_hashes: dict[str, str] = {}

    def plan(self, request: Request) -> Job:
        """The job of a request.

        Raises:
            RequestError: an unknown name, a bad parameter or an impossible combination.
            DataError: the data or the model cannot be used.
        """
        victim_class, victim_spec = self._resolve(self.victims, request.victim, self._victim_extra(request))
        attack_class, attack_spec = self._resolve(self.attacks, request.attack)
        new_victim: Callable[[], Victim] = lambda: victim_class.build(dict(victim_spec.params))  # noqa: E731
        victim = new_victim()
        protocol = request.protocol or victim.protocols[0]
        if protocol not in victim.protocols:
            raise RequestError(
                f"victim {victim.name!r} has no protocol {protocol!r}; it has {', '.join(victim.protocols)}"
            )
        sent = victim.channels(protocol)
        new_defense, defense_specs = self._defense(request.defense)
        defense = new_defense()
        sent -= defense.withheld
        threat = preset(request.threat)
        if request.withhold:
            threat = threat.model_copy(update={"withhold": tuple(sorted({*threat.withhold, *request.withhold}))})
        threat.granted(frozenset(Channel(c) for c in sent))
        victim.check(request.image_size)
        data_spec, splits = self._data(request)
        backbones = self._load_backbones(request.backbones, request.weights_dir)
        metrics = [self._resolve(self.metrics, name) for name in self.metrics.names()]
        fallback = attack_class.default_budget
        cell = CellSpec(
            capture=CaptureSpec(
                victim=victim_spec,
                protocol=protocol,
                model=str(victim_spec.params.get("model", "")),
                model_hash=self._model_hash(victim_spec, victim),
                defense=defense_specs,
                data=data_spec,
                data_hash=splits.content_hash(),
                training=request.training,
                seed=request.seed,
                device=resolve_device(request.device),
                versions=versions(),
            ),
            attack=AttackSpec(
                attack=attack_spec,
                iterations=fallback.iterations if request.iterations is None else request.iterations,
                batch_size=request.attack_batch_size or fallback.batch_size,
                targets=request.targets,
                epoch=request.epoch,
            ),
            threat=threat,
            utility=request.utility,
            backbones=backbone_names(backbones),
            metrics=tuple(spec for _, spec in metrics),
        )
        return Job(
            cell=cell,
            splits=splits,
            attack=attack_class.build(dict(attack_spec.params)),
            metrics=tuple(cls.build(dict(spec.params)) for cls, spec in metrics),
            backbones=backbones,
            new_victim=new_victim,
            new_defense=new_defense,
        )

    def _resolve(
        self, registry: Registry[P], text: str, extra: dict[str, Any] | None = None
    ) -> tuple[type[P], PluginSpec]:
        name, values = parse_plugin(text)
        cls = registry.load(name)
        return cls, plugin_spec(cls, {**values, **(extra or {})})

    def _victim_extra(self, request: Request) -> dict[str, Any]:
        if request.model is None:
            return {}
        cls = self.victims.load(parse_plugin(request.victim)[0])
        if "model" not in cls.Params.model_fields:
            raise RequestError(f"victim {cls.name!r} takes no --model")
        return {"model": request.model}

    def _defense(self, text: str) -> tuple[Callable[[], Defense], tuple[PluginSpec, ...]]:
        """A maker of the whole stack, and its parts; names that stand for a stack are replaced by it."""
        pairs = []
        for name, values in parse_stack(text):
            cls = self.defenses.load(name)
            if cls.stands_for:
                if values:
                    raise RequestError(f"defence {name!r} takes no parameters; write out {cls.stands_for} with them")
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
            raise RequestError("'compose' is not used by itself; write the defences with + between them")
        specs = tuple(plugin_spec(cls, values) for cls, values in pairs)

        def make() -> Defense:
            parts = [cls.build(dict(spec.params)) for (cls, _), spec in zip(pairs, specs, strict=True)]
            if len(parts) == 1:
                return parts[0]  # type: ignore[no-any-return]
            composite = self.defenses.load("compose")
            if not issubclass(composite, CompositeDefense):
                raise RequestError("the defence registered as 'compose' cannot stack others")
            return composite.of(parts)

        return make, specs

    def _data(self, request: Request) -> tuple[DataSpec, Splits]:
        name, _, location = request.data.partition(":")
        if name == "folder" and location and "=" not in location:
            cls = self.datasets.load(name)
            spec = plugin_spec(cls, {"path": location})
        else:
            cls, spec = self._resolve(self.datasets, request.data)
        data = DataSpec(dataset=spec, condition=request.condition, image_size=request.image_size, splits=request.splits)
        key = data.content_hash()
        if key not in self._splits:
            records = cls.build(dict(spec.params)).load(
                request.splits.total(),
                image_size=request.image_size,
                condition=request.condition,
                progress=self._progress,
            )
            self._splits[key] = divide(records, request.splits)
        return data, self._splits[key]

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


def plugin_spec(cls: type[Plugin], values: dict[str, Any]) -> PluginSpec:
    """A plugin with its parameters resolved. A data set carries no code hash: its records' own hash says more.

    Raises:
        RequestError: a parameter is unknown or impossible.
    """
    params = cls.parse(values).model_dump(mode="json")
    defaults = {
        name: f.get_default(call_default_factory=True)
        for name, f in cls.Params.model_fields.items()
        if not f.is_required()
    }
    shown = [f"{k}={v}" for k, v in sorted(params.items()) if k not in defaults or defaults[k] != v]
    return PluginSpec(
        name=cls.name,
        params=params,
        label=cls.name + (":" + ",".join(shown) if shown else ""),
        code="" if issubclass(cls, Dataset) else code_hash(cls),
    )


def backbone_names(backbones: BackboneSet) -> tuple[str, ...]:
    """``role=name`` of each extractor."""
    roles: Sequence[str] = ("identity", "distribution", "perceptual", "prompt")
    return tuple(f"{role}={getattr(backbones, role).name}" for role in roles)


def resolve_device(name: str) -> str:
    """``auto`` is the GPU where there is one, else the CPU.

    Raises:
        RequestError: torch knows no such device, or it is not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(f"device {name!r} is not available here; use cpu, or leave it at auto") from error
    return name
