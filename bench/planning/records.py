"""Load the records of cells: each data set once for all cells that share it."""

from __future__ import annotations

from functools import partial

from bench.cell.training import client_seed
from bench.data.split_sizes import SplitSizes
from bench.data.splits import PARTS, Splits, load_splits
from bench.interfaces.victim import Victim
from bench.planning.guest_errors import guest_errors
from bench.planning.plugins import Plugins
from bench.planning.request import Request
from bench.planning.resolved_plugin import ResolvedPlugin
from bench.settings.cell import DataSpec, PluginSpec
from bench.settings.names import parse_dataset
from bench.settings.table import Choices
from bench.types.gallery import Gallery
from bench.util.global_random import GlobalRandom
from bench.util.progress import Progress


class RecordSource:
    """Records by specification, loaded once and divided into their parts."""

    def __init__(self, plugins: Plugins, progress: Progress) -> None:
        self._plugins, self._progress = plugins, progress
        self._splits: dict[str, Splits] = {}
        self._checked: set[tuple[str, str]] = set()

    def spec(self, request: Request) -> DataSpec:
        """Return the specification of the records that ``request`` asks for.

        Raises:
            RequestError: an unknown data set, or an impossible parameter or condition.
        """
        choices = request.settings.build(Choices)
        name, values = parse_dataset(choices.data)
        cls = self._plugins.load(self._plugins.datasets, name)
        dataset = ResolvedPlugin.from_values(cls, values)
        return request.settings.build(
            DataSpec,
            dataset=dataset.spec,
            condition=dataset.build().resolve(choices.condition),
            splits=request.settings.build(SplitSizes),
        )

    def load(self, spec: DataSpec) -> tuple[DataSpec, Splits]:
        """Return the divided records of ``spec``, and ``spec`` with the data set as installed now.

        Raises:
            RequestError: the data set is not installed, or raises.
            DataError: the data cannot be used.
        """
        dataset = self._plugins.from_spec(self._plugins.datasets, spec.dataset)
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
                self._plugins.note(
                    f"dataset {data.dataset.name!r} draws from a global generator; "
                    "it was given a fixed seed"
                )
        return data, self._splits[key]

    def gallery(self, data: DataSpec, splits: Splits, seed: int, size: int) -> Gallery | None:
        """Return photographs of the private people and of others, in an order drawn from ``seed``.

        Args:
            size: how many people there are at least.

        Returns:
            None where the data set has no gallery, or a private record names no person.
        """
        people = sorted({name for name in splits.victim.identities if name is not None})
        if not people or None in splits.victim.identities:
            return None
        dataset = self._plugins.from_spec(self._plugins.datasets, data.dataset).build()
        gallery = dataset.gallery(people, max(0, size - len(people)), image_size=data.image_size)
        return None if gallery is None else gallery.shuffled(client_seed(splits.victim, seed))

    def check(self, victim: Victim, spec: PluginSpec, splits: Splits) -> None:
        """Let ``victim`` say, once, which records it cannot take in whole."""
        key = (spec.content_hash(), splits.content_hash())
        if key not in self._checked:
            self._checked.add(key)
            for part in PARTS:
                victim.check_records(getattr(splits, part), self._progress)
