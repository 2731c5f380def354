"""The data set: a source of private records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.interfaces.plugin import Plugin
from bench.types.records import Records
from bench.util.progress import Progress

if TYPE_CHECKING:
    from bench.types.gallery import Gallery


class Dataset(Plugin, ABC):
    """A source of records, deterministic in its parameters."""

    @abstractmethod
    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        """Up to ``limit`` records as ``image_size`` x ``image_size`` pixels.

        A record depends on its number and the parameters, not on ``limit``.

        Args:
            condition: what hint images to give: an extractor (``bench.data.conditions``), or a name
                of hints that the data set has itself.

        Raises:
            DataError: the source is missing or malformed; the message names the file and line.
            RequestError: the data set cannot give such hints, or pictures of this size.
        """

    def resolve(self, condition: str) -> str:
        """What ``load`` is to be given for ``condition``; a data set with hints of its own says
        which is ``auto``.

        Raises:
            DataError: as ``load``.
        """
        return DEFAULT if condition == AUTO else condition

    def gallery(
        self, identities: Sequence[str], outsiders: int, *, image_size: int
    ) -> Gallery | None:
        """Another photograph of each identity, then of so many people that no record shows; none of
        them is a record.

        None where the data set has no such photographs.
        """
        return None


AUTO = "auto"
"""What a request says for: the data set's own hints where it has them, else :data:`DEFAULT`."""


DEFAULT = "canny"
