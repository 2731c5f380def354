"""Inverts a known defence that states no inverse, by trials of ``protect`` on made-up features.

An attacker who knows a defence can run it. Three families of maps are tried, the cheapest first: an
affine map of the channels at each position, an increasing or decreasing function of each number,
and any differentiable map by a search. A family counts if it gives made-up features back, so a map
that loses something, draws noise or depends on the client's secret has no inverse here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from bench.interfaces import Channel, Defense, NoiseSchedule, ProtectContext, generator
from bench.interfaces.consulted_defense import unrecorded

EXACT = 3e-3
"""Largest relative error of made-up features that an inverse in closed form may leave."""
SEARCHED = 2e-2
"""Largest relative error that the search may leave."""
_SCALES = tuple(2.0**k for k in range(-4, 5))
_BISECTIONS = 48  # halvings of an interval; a float32 has 24 bits of mantissa and 8 of exponent
_WIDEST = 1e4  # numbers of features are sought between plus and minus this many scales
_STEPS = 200  # of the search
_PROBES = 4  # made-up records
_SEARCHABLE = 1 << 20  # numbers a record up to which the search is tried
_CHUNK = 1 << 24  # numbers that protect is run on at a time


def made_context(
    timesteps: Tensor, schedule: NoiseSchedule, *, secret: int = 0, seed: int = 0
) -> ProtectContext:
    """Return what an attacker hands to a copy of the defence, with draws of the attacker."""
    return ProtectContext(
        phase="training",
        timesteps=timesteps,
        schedule=schedule,
        empty_prompt=torch.zeros(1, 1, 1),
        record_ids=[""] * len(timesteps),
        rng=generator(seed, "numerical inverse"),
        secret=secret,
    )


@dataclass(frozen=True, eq=False)
class Trials:
    """A single defence as a function of one channel's features.

    Attributes:
        part: the attacker's copy of the defence.
        shape: of one record's features.
        scale: standard deviation of made-up features whose protected form is as large as in view.
        dtype: type of the features before ``protect``.
    """

    part: Defense
    channel: Channel
    schedule: NoiseSchedule
    shape: tuple[int, ...]
    scale: float = 1.0

    def protect(self, tensor: Tensor, timesteps: Tensor, *, secret: int = 0) -> Tensor:
        """Return the protected form in float32, with a gradient where the defence has one."""
        context = made_context(timesteps, self.schedule, secret=secret, seed=secret)
        return self.part.protect(self.channel, tensor, context).float()

    def probes(self, seed: int, count: int = _PROBES) -> tuple[Tensor, Tensor]:
        """Return made-up features ``(count, *shape)`` and timesteps from the whole range."""
        rng = generator(seed, "probes")
        features = self.scale * torch.randn(count, *self.shape, generator=rng)
        return features, torch.randint(0, self.schedule.steps, (count,), generator=rng)

    def gives_back(self, inverse: Inverse, tolerance: float) -> bool:
        """Return whether ``inverse`` finds made-up features from their protected form."""
        features, timesteps = self.probes(1)
        with torch.no_grad():
            protected = self.protect(features, timesteps)
        error = (inverse(protected, timesteps) - features).square().mean().sqrt()
        return bool(error <= tolerance * features.square().mean().sqrt())


Inverse = Callable[[Tensor, Tensor], Tensor]
"""From protected features ``(R, ...)`` and timesteps ``(R,)`` to features ``(R, ...)`` float32."""

_known: WeakKeyDictionary[Defense, dict[tuple[object, ...], Inverse | None]] = WeakKeyDictionary()


def numerical_inverse(
    part: Defense, channel: Channel, tensor: Tensor, schedule: NoiseSchedule
) -> Inverse | None:
    """Return an inverse of ``part.protect`` on a channel, or None where none gives features back.

    Args:
        part: a single defence.
        tensor: protected features in view, ``(R, ...)``; their size sets the scale of the trials.
    """
    shape = tuple(tensor.shape[1:])
    by_shape = _known.setdefault(part, {})
    if (channel, shape) not in by_shape:
        with unrecorded():
            try:
                by_shape[channel, shape] = _fitted(part, channel, tensor.float(), schedule, shape)
            except Exception:  # a defence of any package may raise anything
                by_shape[channel, shape] = None
    return by_shape[channel, shape]


def _fitted(
    part: Defense,
    channel: Channel,
    tensor: Tensor,
    schedule: NoiseSchedule,
    shape: tuple[int, ...],
) -> Inverse | None:
    trials = _scaled(Trials(part, channel, schedule, shape), tensor)
    features, timesteps = trials.probes(0)
    with torch.no_grad():
        first, second = (trials.protect(features, timesteps, secret=s) for s in (1, 2))
    if first.shape != features.shape or not torch.equal(first, second):
        return None
    affine = _affine(trials)
    if affine is not None and trials.gives_back(affine, EXACT):
        return affine
    if _is_elementwise(trials):
        elementwise = _by_chunks(lambda y, t: _bisected(trials, y, t))
        return elementwise if trials.gives_back(elementwise, EXACT) else None
    if math.prod(shape) > _SEARCHABLE:
        return None
    searched = _by_chunks(lambda y, t: _searched(trials, y, t, affine))
    return searched if trials.gives_back(searched, SEARCHED) else None


@torch.no_grad()
def _scaled(trials: Trials, tensor: Tensor) -> Trials:
    """Return the trials at the scale whose protected form is spread as the features in view are."""
    spread = float(tensor.std())
    if not spread > 0:
        return trials

    def misfit(scale: float) -> float:
        scaled = Trials(trials.part, trials.channel, trials.schedule, trials.shape, scale)
        features, timesteps = scaled.probes(0)
        found = float(scaled.protect(features, timesteps).std())
        return abs(math.log(found / spread)) if found > 0 else math.inf

    best = min(_SCALES, key=misfit)
    return Trials(trials.part, trials.channel, trials.schedule, trials.shape, best)


@torch.no_grad()
def _affine(trials: Trials) -> Inverse | None:
    """Return the inverse of the best affine map of the channels at each position, or None.

    The map is ``y = A x + c`` with one matrix A and a constant map c.
    """
    channels = trials.shape[0]
    places = math.prod(trials.shape[1:])
    count = max(_PROBES, math.ceil(4 * channels / max(places, 1)))
    features, timesteps = trials.probes(2, count)
    constant = trials.protect(torch.zeros_like(features), timesteps)
    given, sent = (_columns(t) for t in (features, trials.protect(features, timesteps) - constant))
    matrix = torch.linalg.lstsq(given, sent).solution
    sizes = torch.linalg.svdvals(matrix)
    if float(sizes[-1]) <= 1e-4 * float(sizes[0]):
        return None
    back = torch.linalg.inv(matrix)

    def inverse(tensor: Tensor, timesteps: Tensor) -> Tensor:
        offset = trials.protect(torch.zeros(tensor.shape), timesteps)
        rows = _columns(tensor.float().cpu() - offset) @ back
        moved: Tensor = rows.view(len(tensor), *trials.shape[1:], channels)
        return moved.movedim(-1, 1).float().contiguous()

    return inverse


def _columns(maps: Tensor) -> Tensor:
    """``(N, C, ...)`` as ``(N x places, C)`` float64."""
    return maps.double().movedim(1, -1).flatten(0, -2)


@torch.no_grad()
def _is_elementwise(trials: Trials) -> bool:
    """Whether each number that is sent depends on one number alone, at its own place."""
    features, timesteps = trials.probes(3)
    moved = torch.rand(features.shape, generator=generator(3, "moved")) < 0.5
    before = trials.protect(features, timesteps)
    after = trials.protect(features + moved * trials.scale, timesteps)
    return torch.equal(before[~moved], after[~moved])


@torch.no_grad()
def _bisected(trials: Trials, tensor: Tensor, timesteps: Tensor) -> Tensor:
    """Return the middle of the numbers whose protected form is ``tensor``, each by bisection."""
    low = torch.full(tensor.shape, -_WIDEST * trials.scale)
    high = -low
    rising = trials.protect(low, timesteps) <= trials.protect(high, timesteps)
    sign = torch.where(rising, 1.0, -1.0)
    wanted = sign * tensor.float().cpu()

    def edge(*, upper: bool) -> Tensor:
        below, above = low.clone(), high.clone()
        for _ in range(_BISECTIONS):
            middle = (below + above) / 2
            value = sign * trials.protect(middle, timesteps)
            left = value <= wanted if upper else value < wanted
            below, above = torch.where(left, middle, below), torch.where(left, above, middle)
        return (below + above) / 2

    return (edge(upper=False) + edge(upper=True)) / 2


def _searched(trials: Trials, tensor: Tensor, timesteps: Tensor, start: Inverse | None) -> Tensor:
    """Return features whose protected form is ``tensor``, by L-BFGS from the affine inverse.

    Rows that the search does not explain stay at the affine inverse, or as they were sent.
    """
    wanted = tensor.float().cpu()
    first = wanted if start is None else start(wanted, timesteps)
    features = first.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [features],
        max_iter=_STEPS,
        history_size=20,
        tolerance_grad=0,
        line_search_fn="strong_wolfe",
    )

    def distance() -> Tensor:
        optimiser.zero_grad()
        loss = (trials.protect(features, timesteps) - wanted).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(distance)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        off = (trials.protect(features, timesteps) - wanted).square().flatten(1).mean(1)
    explained = off <= SEARCHED**2 * wanted.square().flatten(1).mean(1)
    shape = (-1, *[1] * (wanted.ndim - 1))
    return torch.where(explained.view(shape), features.detach(), first)


def _by_chunks(inverse: Inverse) -> Inverse:
    """Return the inverse, applied to so many records at a time as memory allows."""

    def chunked(tensor: Tensor, timesteps: Tensor) -> Tensor:
        size = max(1, _CHUNK // max(1, tensor[0].numel()))
        pairs = zip(torch.split(tensor, size), torch.split(timesteps, size), strict=True)
        return torch.cat([inverse(rows, times) for rows, times in pairs])

    return chunked
