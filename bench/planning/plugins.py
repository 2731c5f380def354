"""Find the plugins that a request or a cell names, and resolve their parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.interfaces.attack import Attack
from bench.interfaces.dataset import Dataset
from bench.interfaces.defense import CompositeDefense, Defense
from bench.interfaces.metric import Metric
from bench.interfaces.registry import Registry
from bench.interfaces.victim import Victim
from bench.planning.resolved_plugin import P, ResolvedPlugin
from bench.scoring.metric_names import check_metric_name
from bench.settings.cell import PluginSpec
from bench.settings.names import parse_plugin, parse_stack
from bench.util.errors import RequestError
from bench.util.progress import Progress


class Plugins:
    """The installed plugins of every kind.

    Args:
        progress: receives sentences about faulty packages, each once.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._noted: set[str] = set()
        # The registries' type argument is the abstract base, which mypy calls not concrete.
        self.attacks: Registry[Attack] = Registry("attacks", Attack)  # type: ignore[type-abstract]
        self.defenses: Registry[Defense] = Registry("defenses", Defense)
        self.victims: Registry[Victim] = Registry("victims", Victim)  # type: ignore[type-abstract]
        self.metrics: Registry[Metric] = Registry("metrics", Metric)  # type: ignore[type-abstract]
        self.datasets: Registry[Dataset] = Registry("datasets", Dataset)  # type: ignore[type-abstract]

    def note(self, text: str) -> None:
        """Pass a sentence on to the progress, once."""
        if text not in self._noted:
            self._noted.add(text)
            self._progress.note(text)

    def load(self, registry: Registry[P], name: str) -> type[P]:
        """Return a plugin class; note the faults of the packages that provide its name.

        Raises:
            RequestError: there is no such plugin, or it cannot be loaded.
        """
        cls = registry.load(name)
        for fault in registry.faults().get(name, ()):
            self.note(fault)
        return cls

    def resolve(self, registry: Registry[P], text: str, **extra: Any) -> ResolvedPlugin[P]:
        """Return the plugin that ``name[:key=value,…]`` names, with parameters ``extra`` besides.

        Raises:
            RequestError: an unknown name, or an impossible parameter.
        """
        name, values = parse_plugin(text)
        return ResolvedPlugin.from_values(self.load(registry, name), {**values, **extra})

    def from_spec(self, registry: Registry[P], spec: PluginSpec) -> ResolvedPlugin[P]:
        """Return the plugin of a stored specification, as it is installed now.

        Raises:
            RequestError: it is not installed, or takes other parameters now.
        """
        return ResolvedPlugin.from_values(registry.load(spec.name), dict(spec.params))

    def stack(self, text: str) -> tuple[ResolvedPlugin[Defense], ...]:
        """Return the defences of a stack; a name that stands for a stack is replaced by it.

        Raises:
            RequestError: an unknown name, an impossible parameter, or defences that do not stack.
        """
        pairs: list[tuple[type[Defense], dict[str, Any]]] = []
        for name, values in parse_stack(text):
            cls = self.load(self.defenses, name)
            if cls.stands_for:
                if values:
                    raise RequestError(
                        f"defence {name!r} takes no parameters; "
                        f"write out {cls.stands_for} with them"
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
        return tuple(ResolvedPlugin.from_values(cls, values) for cls, values in pairs)

    def defense_maker(self, stack: Sequence[ResolvedPlugin[Defense]]) -> Callable[[], Defense]:
        """Return a function that makes new defences of ``stack``."""

        def make() -> Defense:
            single = [part.build() for part in stack]
            if len(single) == 1:
                return single[0]
            composite = self.defenses.load("compose")
            if not issubclass(composite, CompositeDefense):
                raise RequestError("the defence registered as 'compose' cannot stack others")
            return composite.from_parts(single)

        return make

    def every_metric(self) -> tuple[ResolvedPlugin[Metric], ...]:
        """Return every metric; one of another package that cannot be used is noted and left out.

        Raises:
            RequestError: a metric of this project cannot be loaded.
        """
        metrics = []
        for name in self.metrics.names():
            try:
                metric = self.resolve(self.metrics, name)
                if not self.metrics.built_in(name):
                    check_metric_name(name)
                metrics.append(metric)
            except RequestError as error:
                if self.metrics.built_in(name):
                    raise
                self.note(f"{error}; runs go on without it")
        return tuple(metrics)

    def takes_model(self, victim: str) -> bool:
        """Return whether a victim is built on a model that the user may choose.

        Raises:
            RequestError: an unknown name.
        """
        return "model" in self.victims.load(parse_plugin(victim)[0]).Params.model_fields
