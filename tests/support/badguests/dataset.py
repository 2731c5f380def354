"""A data set that raises."""

from bench.interfaces import Card, Dataset


class BadData(Dataset):
    name = "bad-data"
    card = Card(summary="Raises.", source="this project")

    def load(self, limit, *, image_size, condition, progress):
        raise ZeroDivisionError("no records")
