"""Records read off the rows of a linear layer's gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.interfaces import NotApplicableError

NEGLIGIBLE = 1e-4  # rows whose bias gradient is below this share of the largest are rounding noise
SAME = 1e-3  # two ratios are of one record below this root mean square of their difference
SLACK = 1e-3  # rounding may take a record this far out of its range


def ratios(
    gradient: Mapping[str, Tensor], *, width: int, classes: int | None
) -> tuple[Tensor, Tensor]:
    """Divide the weight gradient of a layer with ``width`` inputs by its bias gradient, row by row.

    Args:
        gradient: by name, the gradient of every tensor.
        width: inputs of the layer.
        classes: a layer with this many rows is the classifier's head. Then only rows of labels that
            are in the batch are returned, whose bias gradient is negative, because all other rows
            hold nearly equal means of the records.

    Returns:
        Rows ``(m, width)`` float64 that are not noise, largest bias gradient first, and that
        gradient ``(m,)``.

    Raises:
        NotApplicableError: there is no such layer with a bias, or its gradient is zero.
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
    """Separate the rows into pictures, and count the pictures that some row saw alone.

    A single record is the mean of all rows, weighted by their precision. For several records, a
    picture on which two or more rows agree is taken to be a record, those with most rows first,
    because mixtures seldom agree. Missing pictures are filled with single rows within the range,
    the most distant ones first, and then with the mean.

    Args:
        rows: ``(m, width)``.
        sizes: bias gradient of each row, ``(m,)``.
        records: pictures that are wanted.
        low: least value of a picture, or None.
        high: largest value of a picture, or None.

    Returns:
        Pictures ``(records, width)`` float32, and how many of them are isolated.
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
