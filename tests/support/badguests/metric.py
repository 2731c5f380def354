"""Metrics that raise, and that take the name of a column."""

from bench.interfaces import Card, Metric


class BadMetric(Metric):
    name = "bad-metric"
    card = Card(summary="Raises.", source="this project")
    higher_is_closer = True

    def score(self, claim, truth, context):
        raise RuntimeError("no score")


class Columns(Metric):
    name = "utility_fid"
    card = Card(summary="Has the name of a column.", source="this project")
    higher_is_closer = True

    def score(self, claim, truth, context):
        return (claim.images.pixels - truth.images.pixels).flatten(1).mean(1).double()
