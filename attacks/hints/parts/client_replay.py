"""Replay of a client's training from the gradients that an honest server has sent and logged."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.hints.parts.training_log import TrainingLog
from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    NotApplicableError,
    PublicClient,
    PublicForward,
    View,
)
from bench.interfaces.public_forward import CONDITION, NOISY

Weights = Mapping[str, Tensor]

FIRST_RATE = 1e-3
"""First learning rate of the search; Adam's steps are proportional to it, so any value serves."""
_FITS = 3


@dataclass(frozen=True, eq=False)
class WeightPath:
    """The client's weights during the replayed training.

    Attributes:
        at: by step, the weights that its releases were made with.
        gap: distance of the last weights from those that the client sent at the end, as a share of
            the distance that they moved; None where the client sent none.
    """

    at: Mapping[int, Weights]
    gap: float | None


class ClientReplay:
    """A copy of the client that repeats the victim's training.

    The gradient of a loss with respect to the client's weights is the gradient with respect to its
    features, which the server computed and sent, propagated back through the client. So only the
    client's input is missing. The part that is linear in x_t, and every bias behind the last layer,
    can be replayed exactly. The hint block needs conditions, for which a guess is used. AdamW with
    the library's defaults is assumed, as in the published clients.

    Args:
        client: the client with the public initial weights.
        image_size: height and width of the pictures.
        log: releases and gradients.
        final: the weights that the client sent at the end, where in view.
        device: where to compute.

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
                "h_ctrl is not a sum of a part of x_t and a part of the condition"
            )

    @classmethod
    def from_view(cls, view: View) -> ClientReplay:
        """Return the replay for a view that holds every release.

        Raises:
            NotApplicableError: the client half cannot be rebuilt, h_ctrl is not such a sum, or the
                log is not usable (``TrainingLog.from_view``).
        """
        if view.public.client is None:
            raise NotApplicableError("the client half cannot be rebuilt under this threat model")
        final = view.parts(CLIENT_WEIGHTS)[-1].tensors if view.has(CLIENT_WEIGHTS) else None
        size = view.public.auxiliary.images.shape[-1]
        return cls(view.public.client, size, TrainingLog.from_view(view), final, view.public.device)

    def rate(self, typical: Tensor) -> float:
        """Estimate the client's learning rate from how far the features of a step move apart.

        The server is not sent the rate. Under one condition for all records, the features move
        apart because of x_t, and the client's map of x_t is replayed exactly up to the rate, to
        which Adam's steps are proportional. Only the first epoch is used: later the hint block,
        which starts at zero, moves the features apart too.

        Args:
            typical: a condition, ``(3, H, W)``.

        Raises:
            NotApplicableError: the features move in another direction.
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
                    "the features do not move as the gradients that were sent back would move them"
                )
        return rate

    def path(self, guess: Tensor, rate: float, keep: Collection[int]) -> WeightPath:
        """Replay the training under guessed conditions ``(R, 3, H, W)``.

        Where the final weights are in view, the error of the replay is distributed over its steps
        in proportion to how far each step moved the weights. So if a server lets them stand still
        at the end, they equal the final weights.

        Args:
            guess: conditions, ``(R, 3, H, W)``.
            rate: learning rate of the client.
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
        """Return what the condition adds to h_ctrl beyond the mean, ``(R, C, h, w)``.

        Releases of steps that are not in ``path`` are zero.

        Args:
            path: the client's weights by step.
            guess: conditions, ``(R, 3, H, W)``.
            means: by step, the mean of what conditions add to h_ctrl, ``(1, C, h, w)``.
            compared: compare within the step, and add the step's mean under the guess. It is for an
                inexact replay, whose error is similar for the records of a step.
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
        """Return h_ctrl of releases under guessed conditions, ``(len(rows), C, h, w)``."""
        parts = torch.split(torch.tensor(list(rows)), 64)
        return torch.cat([self._features(forward, part.tolist(), guess).cpu() for part in parts])

    def _fresh(self) -> PublicForward:
        return self._client.forward(self._size)

    def _walk(
        self, forward: PublicForward, guess: Tensor, rate: float
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        """Yield each step's number, its releases and their features, and then train on the step."""
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
    """Return the Euclidean distance between two sets of weights."""
    return float(sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5)


@torch.no_grad()
def hint_part(forward: PublicForward, conditions: Tensor, device: str) -> Tensor:
    """Return what conditions ``(N, 3, H, W)`` add to h_ctrl, up to a constant, ``(N, C, h, w)``.

    It is the value of h_ctrl at x_t = 0.
    """
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
    """Return whether h_ctrl is a sum of a part of x_t and a part of the condition.

    Random draws of the defence are held fixed. Weights that start at zero are drawn for the test,
    because a hint block whose output is still zero would pass as a summand.

    Args:
        forward: a client that is not used again.
        tolerance: largest deviation, as a share of the largest feature.
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
