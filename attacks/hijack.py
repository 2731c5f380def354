"""Feature-space hijacking: a malicious server trains the client to send what its own decoder reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attacks.activations.knowledge import sent_shapes
from attacks.hijack_server import Autoencoder, HijackPlan, HijackServer, train_autoencoder
from attacks.hold_server import HoldServer
from bench.adversary import ServerAdversary
from bench.certificate import Certificate
from bench.channels import CONTROL_FEATURES
from bench.errors import NotApplicableError
from bench.interfaces import Attack, Budget, Claim
from bench.plugin import Card, Params
from bench.progress import Progress
from bench.public import Public
from bench.public_forward import CONDITION, NOISY, PIXELS, PublicForward
from bench.threat import View, preset


class HijackParams(Params):
    """Attributes:
    pilot: whose features the server's decoder reads: those of a network of the server's ``own``, to which a critic
        pulls the client, as in the paper; or those of the ``client`` at its public initial weights, where gradients of
        zero hold it. Where more than a picture goes into its features (x_t) it is the server's own in any case.
    width: channels of the server's networks.
    pilot_steps: of pilot and inverse on public pictures; batch_size: of a step.
    pilot_rate: their learning rate.
    critic_rate: the critic's; critic_steps: its steps for each exchange with the client.
    penalty: weight of the critic's gradient penalty.
    seed: of pilot and inverse, the server's own.
    """

    pilot: Literal["own", "client"] = "client"
    width: int = Field(default=64, ge=4)
    pilot_steps: int = Field(default=400, ge=1)
    batch_size: int = Field(default=16, ge=1)
    pilot_rate: float = Field(default=1e-3, gt=0)
    critic_rate: float = Field(default=1e-3, gt=0)
    critic_steps: int = Field(default=3, ge=1)
    penalty: float = Field(default=10.0, ge=0)
    seed: int = Field(default=0, ge=0)


class Hijack(Attack):
    """Reads pictures off the features of a client that was trained with the critic's gradient."""

    name = "hijack"
    Params = HijackParams
    requires = frozenset({CONTROL_FEATURES})
    malicious = True
    default_budget = Budget(iterations=0, batch_size=64)
    # With a quarter of the width and 150 steps it reached SSIM 0.93 there (width=4, size=16; blind 0.18, so 0.92
    # normalised), however far the client would have got; under an honest server the same decoder gave 0.12.
    certificates = (
        Certificate(
            "split-cnn", "gradient", "image", "ssim", 0.6, given=(("cut", "conv11"),), threat=preset("malicious_server")
        ),
    )
    card = Card(
        summary="A malicious server trains the client's half towards features that its own decoder inverts.",
        source="Pasquini, Ateniese, Bernaschi, arXiv:2012.02670, section 3",
        needs="threat model malicious_server; a protocol whose client trains with gradients from the server; "
        "auxiliary records",
        cost="the critic's steps in every exchange of the training; the victim's model is spoilt by it",
        notes="Where pictures alone enter the client (split-cnn) it holds the client at its public weights, which "
        "works from the first step on, and spoils the model; pilot=own is the paper's attack. There, and on "
        "split-controlnet, success grows with the length of the client's training (--epochs), not with a budget of its "
        "own: on split-cnn:cut=conv11, 30 steps at 1e-2 left its error twice that of the mean picture. "
        "Under no-gradient the client accepts nothing to train with, so there is nothing to hijack.",
    )

    def take_over(self, public: Public, *, rng: torch.Generator, progress: Progress) -> ServerAdversary:
        known = _Goal.of(public)
        if self._holds(known):
            return HoldServer()
        return HijackServer(self._networks(known, public, progress), known.pictures, self._plan(), rng)

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        features = view.read(CONTROL_FEATURES).float()
        known, device = _Goal.of(view.public), view.public.device
        networks = self._networks(known, view.public, progress)
        with torch.no_grad():
            found = torch.cat([networks.inverse(part.to(device)).cpu() for part in features.split(budget.batch_size)])
        return Claim(known.forward.estimates({known.name: found}))

    def _networks(self, known: _Goal, public: Public, progress: Progress) -> Autoencoder:
        rng = torch.Generator().manual_seed(self.params.seed)
        pilot = ClientPilot(known.forward, known.name) if self._holds(known) else None
        return train_autoencoder(known.pictures, known.shape, self._plan(), rng, public.device, progress, pilot)

    def _holds(self, known: _Goal) -> bool:
        """Whether the client's first features are what the decoder reads."""
        return bool(self.params.pilot == "client" and NOISY not in known.forward.inputs())

    def _plan(self) -> HijackPlan:
        return HijackPlan(**self.params.model_dump(exclude={"seed", "pilot"}))


class ClientPilot(nn.Module):
    """The client as it is before the first step, from pictures ``(B, 3, H, W)`` to features ``(B, C, h, w)``."""

    def __init__(self, forward: PublicForward, name: str) -> None:
        super().__init__()
        self.stem = forward.stem
        self._forward, self._name = forward, name

    def forward(self, pictures: Tensor) -> Tensor:
        sent = self._forward.send({self._name: pictures}, torch.Generator().manual_seed(0))
        return sent[CONTROL_FEATURES].float()


@dataclass(frozen=True, eq=False)
class _Goal:
    """What the client's features are to be turned into.

    Attributes:
        name: of the client's input; pictures: the attacker's own, ``(M, 3, H, W)`` in [0, 1].
        shape: of the client's features, ``(C, h, w)``.
    """

    forward: PublicForward
    name: str
    pictures: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of(cls, public: Public) -> _Goal:
        if public.client is None:
            raise NotApplicableError("the form of the client's features is not known under this threat model")
        records = public.auxiliary
        forward = public.client.forward(records.images.shape[-1])
        wanted = forward.inputs()
        name = next((name for name in (CONDITION, PIXELS) if name in wanted), None)
        if name is None:
            raise NotApplicableError("no picture enters the client's trained part")
        pictures = (records.condition_batch() if name == CONDITION else records.image_batch()).pixels
        pictures = functional.avg_pool2d(pictures, pictures.shape[-1] // wanted[name].shape[-1])
        return cls(forward, name, pictures, sent_shapes(forward)[CONTROL_FEATURES])
