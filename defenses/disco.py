"""DISCO: prune the channels that serve an adversary more than the task."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from bench.interfaces import (
    CONTROL_FEATURES,
    Card,
    Channel,
    Defense,
    NoiseSchedule,
    Params,
    ProtectContext,
    TrainedPart,
)
from defenses.common.feature_params import straight_through
from defenses.common.requires_training_client import refuse_untrained

DECODER_WIDTH = 32


class DiscoParams(Params):
    """Sets how many channels are pruned and how the filter is trained.

    Attributes:
        ratio: share of the channels that is pruned; 0.1 to 0.5 in the paper's code. At least one
            channel is kept.
        rho: weight of the adversary against the task, as rho / (1 - rho); 0.75 to 0.95 in the
            paper's code.
        temperature: temperature of the sigmoid that gives the mask a slope in its scores.
        rate: step size of Adam on filter and adversary.
    """

    ratio: float = Field(default=0.5, ge=0, lt=1)
    rho: float = Field(default=0.75, ge=0, lt=1)
    temperature: float = Field(default=0.03, gt=0)
    rate: float = Field(default=1e-3, gt=0)


class Filter(TrainedPart):
    """Scores the channels by a linear layer, which is trained against an adversary.

    The layer takes the mean and the mean absolute value of each channel. Layer and adversary are
    created with the first features, whose number of channels they need.
    """

    def __init__(self, params: DiscoParams) -> None:
        self.scores: nn.Linear | None = None
        self.decoder: nn.Module | None = None
        self._params = params
        self._optimizer: torch.optim.Adam | None = None

    def mask(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """Return 1 for kept channels and 0 for the others, ``(B, C, 1, 1)``.

        The mask has a gradient with respect to the scores.
        """
        count = features.shape[1]
        if self.scores is None:
            self.scores, self.decoder = _networks(count, rng, features.device)
        seen = features.detach().float()
        score = self.scores(torch.cat([seen.mean((2, 3)), seen.abs().mean((2, 3))], 1)).sigmoid()
        ranked, order = score.sort(dim=1, descending=True, stable=True)
        kept = max(1, count - round(self._params.ratio * count))
        # Between the score of the last kept channel and that of the first pruned one.
        threshold = ranked[:, kept - 1 : kept + 1].mean(1, keepdim=True)
        hard = torch.zeros_like(score).scatter(1, order[:, :kept], 1.0)
        soft = ((score - threshold.detach()) / self._params.temperature).sigmoid()
        return straight_through(soft, hard)[:, :, None, None]

    def adversary_loss(self, features: Tensor, pictures: Tensor) -> Tensor:
        """Return the mean squared error of the decoded pictures at the features' size.

        The decoder descends this loss; the features get its reversed gradient, times
        rho / (1 - rho) (Ganin and Lempitsky, arXiv:1409.7495).

        Args:
            features: features ``(B, C, h, w)``, with the client's graph.
            pictures: private pictures ``(B, 3, H, W)``.
        """
        assert self.decoder is not None
        weight = self._params.rho / (1 - self._params.rho)
        features = features.float()
        turned = (1 + weight) * features.detach() - weight * features
        height, width = features.shape[2:]
        small = functional.adaptive_avg_pool2d(pictures.float(), (height, width))
        return functional.mse_loss(self.decoder(turned), small.to(features.device))

    def step(self) -> None:
        if self.scores is None:
            return
        if self._optimizer is None:
            weights = [
                *self.scores.parameters(),
                *(self.decoder.parameters() if self.decoder is not None else ()),
            ]
            self._optimizer = torch.optim.Adam(weights, lr=self._params.rate)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        return (
            {} if self.scores is None else {"weight": self.scores.weight, "bias": self.scores.bias}
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        leaving, entering = state["weight"].shape
        # Without skip_init, weights would be drawn from the global generator and then replaced.
        self.scores = nn.utils.skip_init(nn.Linear, entering, leaving)  # type: ignore[no-untyped-call]
        self.decoder, self._optimizer = None, None
        self.scores.to(state["bias"])
        self.scores.load_state_dict(dict(state))


def _networks(
    channels: int, rng: torch.Generator, device: torch.device
) -> tuple[nn.Linear, nn.Module]:
    """Return filter and adversary, with initial weights from the client's randomness."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
        scores = nn.Linear(2 * channels, channels)
        decoder = nn.Sequential(
            nn.Conv2d(channels, DECODER_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(DECODER_WIDTH, DECODER_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(DECODER_WIDTH, 3, 3, padding=1),
        )
    return scores.to(device), decoder.to(device)


class Disco(Defense):
    """Sends mask(h_ctrl) * h_ctrl.

    In every release round(ratio C) of the C channels are zero; which ones depends on the release.
    """

    name = "disco"
    Params = DiscoParams
    params: DiscoParams
    card = Card(
        summary="Prunes channels of h_ctrl by a filter trained with the task against a decoder of "
        "the private picture.",
        source="Singh et al., arXiv:2012.11025; gradient reversal, arXiv:1409.7495",
        needs="a client whose own layers train (split-controlnet gradient or u-shaped, split-cnn)",
        cost="the filter's and the adversary's forward and backward pass on the client; pruned "
        "channels cross as zeros",
        notes="No guarantee: kept channels are sent unchanged. The adversary decodes the condition "
        "(in split-cnn, the picture), and its reversed gradient also reaches the client's layers. "
        "The attacker knows the ratio and the filter's architecture; the filter's weights are "
        "private to the client and never cross the wire, but every release shows its mask. "
        "Adaptive attack: a distance over the kept channels, and an inverse network trained on "
        "releases that are pruned like the observed ones. h_sd is not changed.",
    )

    trained_part: Filter

    def __init__(self, params: DiscoParams | None = None) -> None:
        super().__init__(params)
        self.trained_part = Filter(self.params)

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        refuse_untrained(self.name, channels)

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel == CONTROL_FEATURES else tensor

    def prunes_channels(self, channel: Channel) -> bool:
        return channel == CONTROL_FEATURES

    def assume_kept(self, channel: Channel, share: Tensor) -> None:
        """Give the filter constant scores: the share of releases that keep each channel."""
        if channel == CONTROL_FEATURES:
            weight = torch.zeros(len(share), 2 * len(share), device=share.device)
            self.trained_part.restore({"weight": weight, "bias": share})

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != CONTROL_FEATURES:
            return tensor
        return tensor * self.trained_part.mask(tensor, context.rng).to(tensor)

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """Return the unpruned features: the attack reads the kept channels off the release."""
        return tensor

    def client_loss(
        self, private: Mapping[str, Tensor], sent: Mapping[Channel, Tensor]
    ) -> Tensor | None:
        features = sent[CONTROL_FEATURES]
        if not features.requires_grad or self.trained_part.decoder is None:
            return None
        return self.trained_part.adversary_loss(features, private["condition"])
