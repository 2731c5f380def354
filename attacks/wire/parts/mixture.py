"""Separates batches of weighted means of two records (idea: arXiv:2011.05315).

Row i of a step is w_i Z_i + (1 - w_i) Z_(i - s) with one shift s a step, so a step is Y = A Z with
a square A. One step alone shows A by its second moments, since different records have little in
common once what all pictures share is taken out; several epochs show it by being combinations of
the same records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_ROUNDS = 40  # of the alternation between records, pairs and shares
_SPREAD = 0.5  # deviation of the logarithm of a record's power around that of all
_TRIED = 2  # shifts, each with its opposite, that the second moments are fitted for
_SETTLED = 1e-5  # change of the largest share at which the alternation ends


@dataclass(frozen=True, eq=False)
class Mixture:
    """How the rows of one step were mixed.

    Attributes:
        shift: row i has row i - shift for a partner, cyclically.
        own: share of a row's own record, ``(B,)`` float64 in [0.5, 1].
    """

    shift: int
    own: Tensor

    def matrix(self) -> Tensor:
        """A, ``(B, B)``."""
        return _matrix(self.own, self.shift)


def _matrix(own: Tensor, shift: int) -> Tensor:
    partner = torch.eye(len(own), dtype=torch.float64).roll(shift, 0)
    return torch.diag(own) + (1 - own).unsqueeze(1) * partner


def from_moments(rows: Sequence[Tensor]) -> Mixture:
    """Return the likeliest mixture of one step of independent, white records.

    Each record has a power to be found.

    The covariance of the rows is A diag(n) A^T; shares and powers by quasi-Newton for the shifts
    whose neighbours have most in common. A shift and its opposite pair the same rows and differ
    only in whose share is which, which the powers tell less surely.

    Args:
        rows: of one or more kinds of latents, whitened, each ``(B, D)`` float64.
    """
    count = len(rows[0])
    if count < 2:
        return Mixture(0, torch.ones(count, dtype=torch.float64))
    grams = [part @ part.T / part.square().mean(1).mean() / part.shape[1] for part in rows]
    alike = sum((gram / gram.diagonal().outer(gram.diagonal()).sqrt()).abs() for gram in grams)
    assert isinstance(alike, Tensor)
    common = {
        s: float(alike.diagonal(s).sum() + alike.diagonal(s - count).sum())
        for s in range(1, count // 2 + 1)
    }
    likely = sorted(common, key=lambda s: -common[s] / count)[:_TRIED]
    fits = [
        _fit(grams, shift, rows[0].shape[1]) for s in likely for shift in sorted({s, count - s})
    ]
    return min(fits, key=lambda fit: fit[0])[1]


def _fit(grams: Sequence[Tensor], shift: int, size: int) -> tuple[float, Mixture]:
    """The negative logarithm of the posterior, and the mixture where it is least."""
    count = len(grams[0])
    raw = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    powers = torch.zeros(len(grams), count, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([raw, powers], max_iter=25, line_search_fn="strong_wolfe")
    weight = size / 8  # neighbouring numbers of a latent are not quite independent

    def loss() -> Tensor:
        mixing = _matrix(0.5 + 0.5 * torch.sigmoid(raw), shift)
        total = 0.5 * (powers / _SPREAD).square().sum() + 1e-3 * raw.square().sum()
        for gram, power in zip(grams, powers, strict=True):
            covariance = mixing @ torch.diag(power.exp()) @ mixing.T + 1e-6 * torch.eye(
                count, dtype=torch.float64
            )
            total = total + 0.5 * weight * (
                torch.logdet(covariance) + torch.linalg.solve(covariance, gram).trace()
            )
        return total

    def closure() -> Tensor:
        search.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return value

    search.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(loss()), Mixture(shift, 0.5 + 0.5 * torch.sigmoid(raw.detach()))


@dataclass(frozen=True, eq=False)
class Unmixed:
    """What every release was mixed of.

    Attributes:
        mixtures: of each step.
        labels: of each release's own record, ``(R,)`` int64; equal ones are one record.
        left: share of the rows' power that the records and shares do not explain; 0 where there is
            one epoch.
    """

    steps: tuple[tuple[int, ...], ...]
    mixtures: tuple[Mixture, ...]
    labels: Tensor
    left: float

    def records(self, rows: Tensor, ridge: float = 1e-3) -> Tensor:
        """Each release's own record by least squares from mixed ``rows``, ``(R, D)``.

        Args:
            ridge: that keeps a step of nearly equal shares from blowing up what was drawn anew in
                each epoch.
        """
        return _records(self._matrix(), rows.double(), ridge)[self.labels]

    def partner(self) -> Tensor:
        """The label of each release's partner, ``(R,)``."""
        found = self.labels.clone()
        for step, mixture in zip(self.steps, self.mixtures, strict=True):
            found[list(step)] = self.labels[list(step)].roll(mixture.shift)
        return found

    def _matrix(self) -> Tensor:
        return _whole(self.steps, self.mixtures, self.labels)


def _whole(steps: Sequence[Sequence[int]], mixtures: Sequence[Mixture], labels: Tensor) -> Tensor:
    """Shares of every record in every release, ``(R, L)``."""
    found = torch.zeros(len(labels), int(labels.max()) + 1, dtype=torch.float64)
    for step, mixture in zip(steps, mixtures, strict=True):
        rows, mine = torch.tensor(list(step)), labels[list(step)]
        found[rows, mine] += mixture.own
        found[rows, mine.roll(mixture.shift)] += 1 - mixture.own
    return found


def _records(shares: Tensor, rows: Tensor, ridge: float) -> Tensor:
    normal = shares.T @ shares + ridge * torch.eye(shares.shape[1], dtype=torch.float64)
    records: Tensor = torch.linalg.solve(normal, shares.T @ rows)
    return records


def unmix(rows: Sequence[Tensor], steps: Sequence[Sequence[int]], epochs: Sequence[int]) -> Unmixed:
    """Pairs, shares and records of all releases.

    Starts from the second moments of each step. Then, while there are two epochs or more, in turn:
    which records an epoch's rows are, by assignment to the records that the other epochs tell; the
    records by least squares; each step's shift and shares by how well the records explain its rows.

    Args:
        rows: of one or more kinds of latents, whitened, each ``(R, D)``.
        steps: positions of the releases of each step, in the order of its rows; whole steps.
        epochs: of each release.
    """
    parts = [part.double() for part in rows]
    mixtures = [from_moments([part[list(step)] for part in parts]) for step in steps]
    joint = torch.cat([part / part.square().mean().sqrt() for part in parts], 1)
    of_epoch = {
        e: [i for i, step in enumerate(steps) if epochs[step[0]] == e] for e in sorted(set(epochs))
    }
    labels = torch.full((len(epochs),), -1, dtype=torch.long)
    for e, members in of_epoch.items():
        mine = torch.tensor([r for i in members for r in steps[i]])
        if e == min(of_epoch):
            labels[mine] = torch.arange(len(mine))
        else:
            _assign(joint, steps, mixtures, labels, of_epoch, e)
    if len(of_epoch) < 2:
        return Unmixed(tuple(map(tuple, steps)), tuple(mixtures), labels, 0.0)
    left = 1.0
    for _ in range(_ROUNDS):
        for e in of_epoch:
            _assign(joint, steps, mixtures, labels, of_epoch, e)
        records = _records(_whole(steps, mixtures, labels), joint, 1e-6)
        fresh = [_explained(joint[list(step)], records[labels[list(step)]]) for step in steps]
        left = float(sum(error for _, error in fresh) / joint.square().sum())
        pairs = zip(fresh, mixtures, strict=True)
        moved = max(
            1.0 if m.shift != old.shift else float((m.own - old.own).abs().max())
            for (m, _), old in pairs
        )
        mixtures = [m for m, _ in fresh]
        if moved < _SETTLED:
            break
    exact = _at_once(joint, steps, mixtures, labels)
    if (better := _left(joint, steps, exact, labels)) < left:
        mixtures, left = exact, better
    return Unmixed(tuple(map(tuple, steps)), tuple(mixtures), labels, left)


def _at_once(
    joint: Tensor, steps: Sequence[Sequence[int]], mixtures: Sequence[Mixture], labels: Tensor
) -> list[Mixture]:
    """All shares from known pairs, to which the alternation comes only slowly.

    What no combination of records puts out, the rows' left null space N, annihilates the shares:
    N^T A = 0. With pairs known A = P + diag(w) D is linear in w, and the normal equations are (N
    N^T * D D^T) w = -rowsum(D * N N^T P).
    """
    own = [replace(mixture, own=torch.ones_like(mixture.own)) for mixture in mixtures]
    partner = [replace(mixture, own=torch.zeros_like(mixture.own)) for mixture in mixtures]
    ones, others = _whole(steps, own, labels), _whole(steps, partner, labels)
    null = torch.linalg.eigh(joint @ joint.T).eigenvectors[:, : max(0, len(joint) - ones.shape[1])]
    outside, gap = null @ null.T, ones - others
    right = -(gap * (outside @ others)).sum(1)
    normal = outside * (gap @ gap.T) + 1e-12 * torch.eye(len(joint), dtype=torch.float64)
    shares = torch.linalg.solve(normal, right).clamp(0.5, 1)
    return [
        mixture if len(step) < 2 else replace(mixture, own=shares[list(step)])
        for step, mixture in zip(steps, mixtures, strict=True)
    ]


def _left(
    joint: Tensor, steps: Sequence[Sequence[int]], mixtures: Sequence[Mixture], labels: Tensor
) -> float:
    """Share of the rows' power that no records explain by these shares."""
    shares = _whole(steps, mixtures, labels)
    return float(
        (joint - shares @ _records(shares, joint, 1e-9)).square().sum() / joint.square().sum()
    )


def _assign(
    joint: Tensor,
    steps: Sequence[Sequence[int]],
    mixtures: Sequence[Mixture],
    labels: Tensor,
    of_epoch: dict[int, list[int]],
    epoch: int,
) -> None:
    """Sets the labels of one epoch's releases by those of the others that have some."""
    others = [
        i
        for e, members in of_epoch.items()
        if e != epoch
        for i in members
        if labels[steps[i][0]] >= 0
    ]
    known = torch.tensor([r for i in others for r in steps[i]])
    if len(known) == 0:
        return
    place = {int(r): k for k, r in enumerate(known)}
    shares = _whole(
        [[place[r] for r in steps[i]] for i in others], [mixtures[i] for i in others], labels[known]
    )
    records = _records(shares, joint[known], 1e-3)
    mine = [r for i in of_epoch[epoch] for r in steps[i]]
    separated = torch.cat(
        [
            torch.linalg.lstsq(mixtures[i].matrix(), joint[steps[i]]).solution
            for i in of_epoch[epoch]
        ]
    )
    chosen, label = linear_sum_assignment(torch.cdist(separated, records).square().numpy())
    found = torch.full((len(mine),), -1, dtype=torch.long)
    found[torch.from_numpy(chosen)] = torch.from_numpy(label)
    spare = iter(range(len(records), len(records) + len(mine)))
    labels[mine] = torch.tensor([int(k) if k >= 0 else next(spare) for k in found])


def _explained(rows: Tensor, own: Tensor) -> tuple[Mixture, float]:
    """The shift and shares by which known records explain a step best, and the error."""
    best: tuple[Mixture, float] | None = None
    for shift in range(1, len(rows)) if len(rows) > 1 else (0,):
        other = own.roll(shift, 0)
        gap = own - other
        share = ((rows - other) * gap).sum(1) / gap.square().sum(1).clamp_min(1e-30)
        share = share.clamp(0.5, 1.0) if shift else torch.ones_like(share)
        error = float((rows - other - share.unsqueeze(1) * gap).square().sum())
        if best is None or error < best[1]:
            best = Mixture(shift, share), error
    assert best is not None
    return best
