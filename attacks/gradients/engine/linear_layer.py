"""Records read off the rows of a linear layer's gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.interfaces import NotApplicableError

NEGLIGIBLE = 1e-4  # rows whose bias gradient is below this share of the largest are rounding noise
SAME = 1e-3  # root mean square below which two ratios are of one record
SLACK = 1e-3  # how far a record may leave its range by rounding


def ratios(
    gradient: Mapping[str, Tensor], *, width: int, classes: int | None
) -> tuple[Tensor, Tensor]:
    """Weight gradient over bias gradient, row by row, of a layer with ``width`` inputs.

    Args:
        classes: where the layer has so many rows it is the classifier's head; then only rows of
            labels that are in the batch are given, whose bias gradient is negative, since all
            others hold much the same mean of the records.

    Returns:
        ``(m, width)`` float64, rows that are not noise, largest bias gradient first; and that
        gradient ``(m,)``.

    Raises:
        NotApplicableError: no such layer with a bias, or its gradient is zero.
    """
    for name, weight in gradient.items():
        bias = gradient.get(name.removesuffix("weight") + "bias")
        if (
            weight.ndim == 2
            and weight.shape[1] == width
            and bias is not None
            and len(bias) == len(weight)
        ):
            order = bias.abs().argsort(descending=True)
            order = order[bias[order].abs() > NEGLIGIBLE * bias.abs().max()]
            order = order[bias[order] < 0] if len(bias) == classes else order
            if not len(order):
                raise NotApplicableError("the linear layer's gradient is zero")
            return (weight[order].double() / bias[order].double().unsqueeze(1)), bias[
                order
            ].double()
    raise NotApplicableError(f"no linear layer with {width} inputs and a bias")


def separate(
    rows: Tensor, sizes: Tensor, records: int, *, low: float | None, high: float | None
) -> tuple[Tensor, int]:
    """``records`` pictures ``(records, width)`` out of the rows, and how many of them some row saw
    alone.

    A single record is the mean of all rows, weighted by how well each is known. Of several, a
    picture that two or more rows agree on is taken to be a record, those with most rows first;
    mixtures seldom agree. Single rows within the range fill up what is missing, far ones first,
    then the mean.
    """
    weight = sizes.square() / sizes.square().sum()
    mean = (weight.unsqueeze(1) * rows).sum(0, keepdim=True)
    if records == 1:
        return mean.float(), 1
    inside = torch.ones(len(rows), dtype=torch.bool)
    if low is not None:
        inside &= rows.min(1).values > low - SLACK
    if high is not None:
        inside &= rows.max(1).values < high + SLACK
    rows = rows[inside]
    near = torch.cdist(rows, rows) < SAME * rows.shape[1] ** 0.5
    unused = torch.ones(len(rows), dtype=torch.bool)
    chosen: list[Tensor] = []
    for i in near.sum(1).argsort(descending=True, stable=True).tolist():
        if unused[i] and int(near[i].sum()) > 1 and len(chosen) < records:
            chosen.append(rows[i])
            unused &= ~near[i]
    isolated = len(chosen)
    rest = rows[unused]
    while len(chosen) < records and len(rest):
        distance = torch.cdist(rest, torch.stack([*chosen, mean[0]])).min(1).values
        chosen.append(rest[int(distance.argmax())])
        rest = rest[
            torch.cdist(rest, chosen[-1].unsqueeze(0)).squeeze(1) >= SAME * rest.shape[1] ** 0.5
        ]
    chosen += [mean[0]] * (records - len(chosen))
    return torch.stack(chosen).float(), isolated
