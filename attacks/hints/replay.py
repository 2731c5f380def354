"""The condition behind a hint block that trains, by training that block over again."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from attacks.common.release_linking import link_view
from attacks.hints.parts.client_replay import ClientReplay
from attacks.hints.parts.hint_decoder import HintDecoder, HintLessons
from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    UNET_FEATURES,
    Attack,
    Budget,
    Card,
    Claim,
    Effort,
    Estimate,
    NotApplicableError,
    Params,
    Progress,
    View,
)


class ReplayParams(Params):
    """Attributes:
    rounds: how often the client is trained over again, each time on what the round before took the
    conditions for. width, depth, learning_rate: of the decoder, as of ``inversion``.
    """

    rounds: int = Field(default=4, ge=1)
    width: int = Field(default=64, ge=8)
    depth: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)


class Replay(Attack):
    """Goes the way of the client's weights again, and reads the conditions off what is left of
    h_ctrl.

    In the first epochs a hint block, whose last layer starts at zero, says little of a record, and
    the client's weights move features by much more (docs/studies/hint_drift.py). But the server has sent
    each gradient that moved them, and knows x_t:

    1. the learning rate, from how far the features of a step moved apart;
    2. the client trained over again on guessed conditions: its share of x_t is exact then, the hint
    block nearly so; 3. a decoder, taught on the attacker's own conditions under the weights of the
    steps of the target epoch; 4. what h_ctrl holds besides, compared within its step, decoded. The
    decoded conditions are the next guess for all
       releases of their record.
    """

    name = "replay"
    Params = ReplayParams
    requires = frozenset({CONTROL_FEATURES, UNET_FEATURES, GRADIENT_DOWN})
    uses_history = True
    adapts_to = ("prompt",)
    speaks_of = ("condition",)
    default_budget = Budget(iterations=800, batch_size=16)
    effort = Effort("iterations", (100, 200, 400, 800, 1600))
    card = Card(
        summary="Trains the client over again from the gradients it was sent, and decodes what its hint block added.",
        source="this project",
        needs="control_features, unet_features and gradient_down of all epochs; public initial client weights; "
        "auxiliary records; better with client_weights",
        cost="iterations x batch size releases of the hint block and steps of the decoder; each round, and thrice "
        "for the learning rate, the client's training itself; holds all features of the training at once",
        notes="Assumes AdamW on the client, and several records a step, which it compares. Noise on the features "
        "drowns it: what is to be read is two to four orders of magnitude below them. Where a few directions carry "
        "nearly all that the hint block says, what the replay misses of them drowns the rest; so it works on some "
        "trainings and not on others, and has no certificate.",
    )

    def compares(self, view: View) -> bool:
        """Whether what is left of h_ctrl is compared within its step, because the replay is known to be off."""
        return True

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        p: ReplayParams = self.params
        public = view.public
        if len(public.auxiliary) < 2:
            raise NotApplicableError("needs at least 2 auxiliary records to learn from")
        replay = ClientReplay.of(view)
        epoch = {view.releases[i].epoch for i in view.targets}
        attacked = [i for i, release in enumerate(view.releases) if release.epoch in epoch]
        steps = replay.exchange.step[attacked]
        typical = public.auxiliary.condition_batch().pixels.mean(0)
        guess = typical.expand(len(view.releases), -1, -1, -1)
        labels, compared = labels_of(view), self.compares(view)
        with progress.stage("finding the learning rate", 1) as advance:
            rate = replay.rate(typical)
            advance(1)
        latents, decoder = torch.empty(0), None
        for number in range(p.rounds):
            with progress.stage("replaying the client", 2) as advance:
                path = replay.path(guess, rate, set(steps.tolist()))
                advance(1)
                lessons = HintLessons(
                    *(replay.forward, path, public.auxiliary, public.codec, public.device),
                    compared=compared,
                )
                advance(1)
            decoder = decoder or HintDecoder(lessons, p.width, p.depth, rng, public.device)
            share = budget.iterations * (number + 1) // p.rounds - len(decoder.losses)
            with progress.stage("training the decoder", share) as advance:
                decoder.learn(lessons, share, budget.batch_size, p.learning_rate, rng, advance)
            found = replay.deviations(path, guess, lessons.means, compared=compared)[attacked]
            latents = decoder.read(lessons, found, steps)
            guess = spread(public.codec.decode(latents).pixels, attacked, labels, typical)
        assert decoder is not None
        tenth = max(1, len(decoder.losses) // 10)
        diagnostics = {
            "attack_rate": rate,
            "attack_loss_first": sum(decoder.losses[:tenth]) / tenth,
            "attack_loss_last": sum(decoder.losses[-tenth:]) / tenth,
        }
        if path.gap is not None:
            diagnostics["attack_gap"] = path.gap
        place = {release: i for i, release in enumerate(attacked)}
        own = latents[[place[i] for i in view.targets]]
        return Claim({"condition": Estimate(public.codec.decode(own), own)}, diagnostics)


def labels_of(view: View) -> list[int]:
    """Which releases are of one record: by z0 where that is exact, else by all that the view offers."""
    labels, _ = link_view(view, ("image",))
    if labels is None:
        labels, _ = link_view(view)
    return list(range(len(view.releases))) if labels is None else labels


def spread(pictures: Tensor, attacked: list[int], labels: list[int], typical: Tensor) -> Tensor:
    """Pictures ``(N, 3, H, W)`` of some releases for all of their records ``(R, 3, H, W)``; else the typical one."""
    of_record = {
        labels[release]: picture for release, picture in zip(attacked, pictures, strict=True)
    }
    return torch.stack([of_record.get(label, typical) for label in labels])
