"""Trains a client over again from the gradients that it was sent (what an honest server has kept in its log)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.least_squares import invert_convolution
from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    UNET_FEATURES,
    NotApplicableError,
    PublicClient,
    PublicForward,
    View,
)
from bench.interfaces.public_forward import CONDITION, NOISY

Weights = Mapping[str, Tensor]

FIRST_RATE = 1e-3
"""Where the search for the learning rate starts. Adam's steps are proportional to it, so any start will do."""
_FITS = 3


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """What crossed the wire, release by release, oldest first.

    Attributes:
        noisy: x_t, ``(R, 4, h, w)``.
        features: h_ctrl, ``(R, C, h, w)``.
        gradient: what came back for it, likewise.
        step: of each release, ``(R,)``; the releases of one step were made with one set of weights.
        epoch: of each release, ``(R,)``.
    """

    noisy: Tensor
    features: Tensor
    gradient: Tensor
    step: Tensor
    epoch: Tensor

    @classmethod
    def from_view(cls, view: View) -> TrainingLog:
        """Read from a view that holds every release.

        Raises:
            NotApplicableError: ``conv_in`` is not known, or no client was sent a gradient that
                moves anything.
        """
        if view.public.stem is None:
            raise NotApplicableError(
                "the public weights of conv_in are not known under this threat model"
            )
        gradient = view.read(GRADIENT_DOWN, every=True).float()
        if not bool(gradient.any()):
            raise NotApplicableError(
                "the gradients sent back are all zero: this client was never trained"
            )
        return cls(
            noisy=invert_convolution(view.public.stem, view.read(UNET_FEATURES, every=True)),
            features=view.read(CONTROL_FEATURES, every=True).float(),
            gradient=gradient,
            step=torch.tensor([release.step for release in view.releases]),
            epoch=torch.tensor([release.epoch for release in view.releases]),
        )

    def steps(self) -> list[int]:
        """Every step once, in order."""
        return sorted(set(self.step.tolist()))

    def centred(self, rows: Tensor) -> Tensor:
        """Without the mean over the releases of the same step: what differs between records, and no more."""
        centred = rows.clone()
        for step in self.steps():
            here = self.step == step
            centred[here] = centred[here] - centred[here].mean(0)
        return centred


@dataclass(frozen=True, eq=False)
class WeightPath:
    """The client's weights on their way.

    Attributes:
        at: by step, the weights that its releases were made with.
        gap: distance of the last weights to those that the client sent at the end, as a share of
            the way that they went; None where it sent none.
    """

    at: Mapping[int, Weights]
    gap: float | None


class ClientReplay:
    """A client of the attacker's own that goes the victim's way.

    The gradient of a loss with respect to the client's weights is that with respect to its
    features, which the server computed and sent, carried on through the client; so only the
    client's input is missing. What is linear in x_t, and every bias behind the last layer, can be
    replayed exactly; the hint block needs conditions, for which a guess stands in. AdamW with the
    library's defaults is assumed, as the published clients use it.

    Args:
        client: with the public initial weights.
        image_size: height and width of the pictures.
        final: the weights that the client sent at the end, where in view.

    Raises:
        NotApplicableError: h_ctrl is not a sum of a part of x_t and a part of the condition.
    """

    def __init__(
        self,
        client: PublicClient,
        image_size: int,
        log: TrainingLog,
        final: Weights | None,
        device: str,
    ) -> None:
        self.log, self._device = log, device
        self._client, self._size, self._final = client, image_size, final
        self.forward = self._fresh()
        if CONDITION not in self.forward.inputs() or not _is_sum(self._fresh()):
            raise NotApplicableError(
                "the condition does not enter as a summand of its own, so it cannot be split off"
            )

    @classmethod
    def from_view(cls, view: View) -> ClientReplay:
        """From a view that holds every release.

        Raises:
            NotApplicableError: likewise, or the client half cannot be rebuilt.
        """
        if view.public.client is None:
            raise NotApplicableError("the client half cannot be rebuilt under this threat model")
        final = view.parts(CLIENT_WEIGHTS)[-1].tensors if view.has(CLIENT_WEIGHTS) else None
        size = view.public.auxiliary.images.shape[-1]
        return cls(view.public.client, size, TrainingLog.from_view(view), final, view.public.device)

    def rate(self, typical: Tensor) -> float:
        """The client's learning rate, by how far the features of a step moved apart: nobody tells
        the server.

        Under one condition for all records, what moves them apart is x_t, and what the client makes
        of x_t is replayed exactly up to the rate, to which Adam's steps are proportional. The first
        epoch alone is looked at: later on the hint block, which starts silent, moves them apart
        too.

        Args:
            typical: a condition, ``(3, H, W)``.

        Raises:
            NotApplicableError: they move another way.
        """
        guess = typical.expand(len(self.log.step), -1, -1, -1)
        early = self.log.epoch == self.log.epoch.min()
        still = self.sent(self._fresh(), range(len(guess)), guess)
        moved = self.log.centred(self.log.features - still)[early]
        rate = FIRST_RATE
        for _ in range(_FITS):
            replayed = still.clone()
            for _, rows, features in self._walk(self._fresh(), guess, rate):
                if not early[rows[0]]:
                    break
                replayed[rows] = features
            own = self.log.centred(replayed - still)[early]
            rate *= float((moved * own).sum() / own.square().sum())
            if not rate > 0:
                raise NotApplicableError(
                    "the features do not move as the gradients sent back would move them"
                )
        return rate

    def path(self, guess: Tensor, rate: float, keep: Collection[int]) -> WeightPath:
        """The way under guessed conditions ``(R, 3, H, W)``.

        Where the final weights are in view, what a replay misses them by is spread over its steps
        in proportion to how far each moved the weights; so where a server let them stand still at
        the end, they are the final ones.

        Args:
            keep: steps whose weights are wanted.
        """
        forward = self._fresh()
        start = before = _copied(forward)
        at: dict[int, Weights] = {}
        far: dict[int, float] = {}
        went = 0.0
        for step, _, _ in self._walk(forward, guess, rate):
            weights = _copied(forward)
            went += _distance(weights, before)
            far[step], before = went, weights
            if step in keep:
                at[step] = weights
        last = _copied(forward)
        if self._final is None:
            return WeightPath(at, None)
        went += _distance(last, before)
        final = {name: self._final[name].to(self._device) for name in last}
        missed = {name: final[name] - tensor for name, tensor in last.items()}
        shares = {step: far[step] / went if went else 0.0 for step in at}
        mended = {
            step: {n: t + shares[step] * missed[n] for n, t in weights.items()}
            for step, weights in at.items()
        }
        whole = _distance(final, start)
        return WeightPath(mended, _distance(final, last) / whole if whole else 0.0)

    def deviations(
        self, path: WeightPath, guess: Tensor, means: Mapping[int, Tensor], *, compared: bool
    ) -> Tensor:
        """What the condition adds to h_ctrl beyond the mean, of the releases of the steps in
        ``path``; zeros elsewhere.

        Args:
            guess: conditions, ``(R, 3, H, W)``.
            means: by step, what conditions add to h_ctrl in the mean, ``(1, C, h, w)``.
            compared: within the step, with the step's mean put back as the guess has it: for a
                replay that is not exact, since what it gets wrong is much alike for the records of
                a step.
        """
        log, deviations = self.log, torch.zeros_like(self.log.features)
        for step, weights in path.at.items():
            rows = (log.step == step).nonzero().flatten().tolist()
            self.forward.stem.load_state_dict(dict(weights))
            rest = log.features[rows] - self.sent(self.forward, rows, guess)
            if compared:
                rest = rest - rest.mean(0)
            assumed = hint_part(self.forward, guess[rows], self._device)
            deviations[rows] = rest + assumed - means[step]
        return deviations

    @torch.no_grad()
    def sent(self, forward: PublicForward, rows: Collection[int], guess: Tensor) -> Tensor:
        """h_ctrl of the releases ``rows`` as a client would send it of guessed conditions, ``(len(rows), C, h, w)``."""
        parts = torch.split(torch.tensor(list(rows)), 64)
        return torch.cat([self._features(forward, part.tolist(), guess).cpu() for part in parts])

    def _fresh(self) -> PublicForward:
        return self._client.forward(self._size)

    def _walk(
        self, forward: PublicForward, guess: Tensor, rate: float
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        """Step by step: its number, its releases and what ``forward`` sends of them, before it is trained on them."""
        optimizer = torch.optim.AdamW(
            [p for p in forward.stem.parameters() if p.requires_grad], lr=rate
        )
        for step in self.log.steps():
            rows = (self.log.step == step).nonzero().flatten().tolist()
            optimizer.zero_grad(set_to_none=True)
            features = self._features(forward, rows, guess)
            yield step, rows, features.detach().cpu()
            features.backward(self.log.gradient[rows].to(features))  # type: ignore[no-untyped-call]
            optimizer.step()

    def _features(self, forward: PublicForward, rows: list[int], guess: Tensor) -> Tensor:
        inputs = {
            NOISY: self.log.noisy[rows].to(self._device),
            CONDITION: guess[rows].to(self._device),
        }
        return forward.send(inputs, torch.Generator().manual_seed(0))[CONTROL_FEATURES].float()


def _copied(forward: PublicForward) -> Weights:
    return {name: tensor.clone() for name, tensor in forward.stem.state_dict().items()}


def _distance(one: Weights, other: Weights) -> float:
    """Euclidean distance."""
    return float(sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5)


@torch.no_grad()
def hint_part(forward: PublicForward, conditions: Tensor, device: str) -> Tensor:
    """What conditions ``(N, 3, H, W)`` add to h_ctrl, up to a constant, ``(N, C, h, w)``: its value at x_t = 0."""
    shape = forward.inputs()[NOISY].shape
    made = []
    for part in torch.split(conditions, 64):
        inputs = {NOISY: torch.zeros(len(part), *shape, device=device), CONDITION: part.to(device)}
        made.append(
            forward.send(inputs, torch.Generator().manual_seed(0))[CONTROL_FEATURES].float().cpu()
        )
    return torch.cat(made)


@torch.no_grad()
def _is_sum(forward: PublicForward, tolerance: float = 1e-4) -> bool:
    """Whether x_t and the condition enter h_ctrl as two summands, the defence's draws held.

    Weights that start at zero are drawn for it, else a hint block that is silent yet would pass for
    a summand.

    Args:
        forward: of nobody else.
    """
    wanted, rng = forward.inputs(), torch.Generator().manual_seed(0)
    device = next(forward.stem.parameters()).device
    for weight in forward.stem.parameters():
        if not bool(weight.any()):
            weight.copy_(0.1 * torch.randn(weight.shape, generator=rng))
    noisy, condition = (
        torch.rand(2, *wanted[name].shape, generator=rng).to(device) for name in (NOISY, CONDITION)
    )

    def sent(x: Tensor, c: Tensor) -> Tensor:
        inputs = {NOISY: x.unsqueeze(0), CONDITION: c.unsqueeze(0)}
        return forward.send(inputs, torch.Generator().manual_seed(0))[CONTROL_FEATURES].float()

    whole = sent(noisy[0], condition[0])
    deviation = (
        whole
        - sent(noisy[1], condition[0])
        - sent(noisy[0], condition[1])
        + sent(noisy[1], condition[1])
    )
    return bool(deviation.abs().max() <= tolerance * whole.abs().max())
