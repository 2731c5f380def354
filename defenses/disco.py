"""DISCO: channels are pruned by a filter that learns which of them serve an adversary more than the task."""

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
    """Attributes:
    ratio: share of the channels that is pruned; 0.1 to 0.5 in the paper's code, at least one
    channel is kept. rho: weight of the adversary against the task, as rho / (1 - rho); 0.75 to 0.95
    in the paper's code. temperature: of the slope of the mask in its scores. rate: step size of
    Adam on filter and adversary.
    """

    ratio: float = Field(default=0.5, ge=0, lt=1)
    rho: float = Field(default=0.75, ge=0, lt=1)
    temperature: float = Field(default=0.03, gt=0)
    rate: float = Field(default=1e-3, gt=0)


class Filter(TrainedPart):
    """A linear layer from each channel's mean and mean size to its score, and the adversary it
    learns against.

    Both are made when the first features tell how many channels there are.
    """

    def __init__(self, params: DiscoParams) -> None:
        self.scores: nn.Linear | None = None
        self.decoder: nn.Module | None = None
        self._params = params
        self._optimizer: torch.optim.Adam | None = None

    def mask(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """1 for channels that are kept and 0 for the others, ``(B, C, 1, 1)``, with a slope in the scores."""
        count = features.shape[1]
        if self.scores is None:
            self.scores, self.decoder = _networks(count, rng, features.device)
        seen = features.detach().float()
        score = self.scores(torch.cat([seen.mean((2, 3)), seen.abs().mean((2, 3))], 1)).sigmoid()
        ranked, order = score.sort(dim=1, descending=True, stable=True)
        kept = max(1, count - round(self._params.ratio * count))
        threshold = ranked[:, kept - 1 : kept + 1].mean(
            1, keepdim=True
        )  # between the last kept and the first pruned
        hard = torch.zeros_like(score).scatter(1, order[:, :kept], 1.0)
        soft = ((score - threshold.detach()) / self._params.temperature).sigmoid()
        return straight_through(soft, hard)[:, :, None, None]

    def adversary_loss(self, features: Tensor, pictures: Tensor) -> Tensor:
        """Mean squared error of the decoded pictures ``(B, 3, H, W)``, at the features' size.

        Its decoder descends; the features get the opposite slope, times rho / (1 - rho) (Ganin and
        Lempitsky, arXiv:1409.7495).
        """
        assert self.decoder is not None
        weight = self._params.rho / (1 - self._params.rho)
        features = features.float()
        turned = (1 + weight) * features.detach() - weight * features
        small = functional.adaptive_avg_pool2d(pictures.float(), features.shape[2:])
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
        # First weights would be drawn from the global generator, only to be replaced.
        self.scores, self.decoder, self._optimizer = (
            nn.utils.skip_init(nn.Linear, entering, leaving),
            None,
            None,
        )
        self.scores.to(state["bias"])
        self.scores.load_state_dict(dict(state))


def _networks(
    channels: int, rng: torch.Generator, device: torch.device
) -> tuple[nn.Linear, nn.Module]:
    """Filter and adversary, with first weights from the client's randomness."""
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
    """mask(h_ctrl) * h_ctrl: of C channels, round(ratio C) are zero in every release, which ones depends on it."""

    name = "disco"
    Params = DiscoParams
    card = Card(
        summary="Prunes channels of h_ctrl by a filter trained with the task against a decoder of the private picture.",
        source="Singh et al., arXiv:2012.11025; gradient reversal, arXiv:1409.7495; METHODS 7.8",
        needs="a client whose own layers train (split-controlnet gradient or u-shaped, split-cnn)",
        cost="the filter's and the adversary's forward and backward pass on the client; pruned channels cross as zeros",
        notes="No guarantee: what is kept is sent as it is. The adversary decodes the condition (of split-cnn, the "
        "picture), and its reversed slope reaches the client's layers too. The attacker knows the ratio and the "
        "filter's form; the filter's weights are the client's own and never cross the wire, but every release shows "
        "its mask. Adaptive attack: a distance over the channels that were kept, and an inverse network taught on "
        "releases pruned as those in view. h_sd is left as it is.",
    )

    trained_part: Filter

    def __init__(self, params: Params | None = None) -> None:
        super().__init__(params)
        self.trained_part = Filter(self.params)

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        refuse_untrained(self.name, channels)

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != CONTROL_FEATURES:
            return tensor
        return tensor * self.trained_part.mask(tensor, context.rng).to(tensor)

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """The features unpruned: which channels count is read off the release, not guessed."""
        return tensor

    def client_loss(
        self, private: Mapping[str, Tensor], sent: Mapping[Channel, Tensor]
    ) -> Tensor | None:
        features = sent[CONTROL_FEATURES]
        if not features.requires_grad or self.trained_part.decoder is None:
            return None
        return self.trained_part.adversary_loss(features, private["condition"])
