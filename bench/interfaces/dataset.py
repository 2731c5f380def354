"""The contract of a data set: it gives private records."""

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
    """Base class of data sets, which give records that depend on their parameters alone."""

    @abstractmethod
    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        """Return up to ``limit`` records with pictures of ``image_size`` x ``image_size`` pixels.

        A record depends on its number and the parameters, not on ``limit``.

        Args:
            limit: the largest number of records; fewer are returned where the source ends.
            image_size: height and width of images and hints in pixels.
            condition: the kind of hint: an extractor (``bench.data.conditions``), or the name of
                hints that the data set itself has.
            progress: where long work reports how far it is.

        Raises:
            DataError: the source is missing or malformed; the message names the file and line.
            RequestError: the data set cannot give such hints, or pictures of this size.
        """

    def resolve(self, condition: str) -> str:
        """Return the kind of hint that ``load`` takes for ``condition``.

        A data set that has its own hints overrides this method and resolves ``auto`` to them.

        Raises:
            DataError: see :meth:`load`.
        """
        return DEFAULT if condition == AUTO else condition

    def gallery(
        self, identities: Sequence[str], outsiders: int, *, image_size: int
    ) -> Gallery | None:
        """Return photographs of people that are no records, or None where there are none.

        Args:
            identities: people of whom the gallery has another photograph each.
            outsiders: number of further photographs, each of a person whom no record shows.
            image_size: height and width in pixels.
        """
        return None


AUTO = "auto"
"""Name in a request for the hints of the data set itself; without such hints, :data:`DEFAULT`."""


DEFAULT = "canny"
"""The extractor of hints for data sets without hints."""
