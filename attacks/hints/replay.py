"""``replay``: trains the client's hint block again from the server's log, to read the condition."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from attacks.common.release_linking import link_view
from attacks.common.training import first_and_last
from attacks.hints.parts.client_replay import ClientReplay
from attacks.hints.parts.hint_decoder import HintDecoder, SimulatedHints
from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    UNET_FEATURES,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Claim,
    NotApplicableError,
    Params,
    Progress,
    View,
)


class ReplayParams(Params):
    """Parameters of ``replay``.

    Attributes:
        rounds: how often the client is trained again, each time on the conditions that the last
            round decoded.
        width: channels of the decoder.
        depth: residual blocks of the decoder.
        learning_rate: peak learning rate of the decoder.
    """

    rounds: int = Field(default=4, ge=1)
    width: int = Field(default=64, ge=8)
    depth: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)


class Replay(Attack):
    """Replays the training of the client, and decodes the conditions from the rest of h_ctrl.

    A hint block's last layer starts at zero. In the first epochs it adds little to h_ctrl for each
    record, and the change of the client's weights moves the features by much more
    (docs/studies/hint_drift.py). But the server has sent each gradient that changed the weights,
    and knows x_t:

    1. The learning rate follows from how far the features of a step move apart.
    2. The client is trained again on guessed conditions. Its map of x_t is exact then, and the hint
       block is nearly so.
    3. A decoder is trained on auxiliary conditions under the weights of the steps of the target
       epoch.
    4. The rest of h_ctrl is compared within its step and decoded. The decoded conditions are the
       next guess for all releases of their record.
    """

    name = "replay"
    Params = ReplayParams
    requires = frozenset({CONTROL_FEATURES, UNET_FEATURES, GRADIENT_DOWN})
    uses_history = True
    claimed_targets = ("condition",)
    default_budget = Budget(iterations=800, batch_size=16)
    budget_axis = BudgetAxis("iterations", (100, 200, 400, 800, 1600))
    card = Card(
        summary=(
            "Trains the client again from the gradients it was sent, and decodes what its hint "
            "block added."
        ),
        source="this project",
        needs=(
            "control_features, unet_features and gradient_down of all epochs; public initial "
            "client weights; auxiliary records; better with client_weights"
        ),
        cost=(
            "iterations x batch size releases of the hint block and steps of the decoder; each "
            "round, and three times for the learning rate, the client's training itself; all "
            "features of the training are held in memory"
        ),
        notes=(
            "Assumes AdamW on the client, and several records per step, which are compared. Noise "
            "on the features hides the signal, which is two to four orders of magnitude smaller "
            "than they are. Where a few directions carry almost all of what the hint block adds, "
            "the error of the replay in these directions hides the rest. So the attack works on "
            "some trainings and not on others, and has no certificate."
        ),
    )

    def compares(self, view: View) -> bool:
        """Return whether the rest of h_ctrl is compared within its step.

        It is where the replay is inexact.
        """
        return True

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        p: ReplayParams = self.params
        public = view.public
        if len(public.auxiliary) < 2:
            raise NotApplicableError("needs at least 2 auxiliary records to learn from")
        replay = ClientReplay.from_view(view)
        epochs = {view.releases[i].epoch for i in view.targets}
        attacked = [i for i, release in enumerate(view.releases) if release.epoch in epochs]
        steps = replay.log.step[attacked]
        typical = public.auxiliary.condition_batch().pixels.mean(0)
        guess = typical.expand(len(view.releases), -1, -1, -1)
        labels, compared = record_labels(view), self.compares(view)
        with progress.stage("finding the learning rate", 1) as advance:
            rate = replay.rate(typical)
            advance(1)
        latents, decoder = torch.empty(0), None
        for number in range(p.rounds):
            with progress.stage("replaying the client", 2) as advance:
                path = replay.path(guess, rate, set(steps.tolist()))
                advance(1)
                hints = SimulatedHints(
                    *(replay.forward, path, public.auxiliary, public.codec, public.device),
                    compared=compared,
                )
                advance(1)
            decoder = decoder or HintDecoder(hints, p.width, p.depth, rng, public.device)
            share = budget.iterations * (number + 1) // p.rounds - len(decoder.losses)
            with progress.stage("training the decoder", share) as advance:
                decoder.train(hints, share, budget.batch_size, p.learning_rate, rng, advance)
            deviations = replay.deviations(path, guess, hints.means, compared=compared)[attacked]
            latents = decoder.read(hints, deviations, steps)
            guess = pictures_by_record(
                public.codec.decode(latents).pixels, attacked, labels, typical
            )
        assert decoder is not None
        diagnostics = {"attack_rate": rate, **first_and_last("attack_loss", decoder.losses)}
        if path.gap is not None:
            diagnostics["attack_gap"] = path.gap
        place = {release: i for i, release in enumerate(attacked)}
        own = latents[[place[i] for i in view.targets]]
        return Claim({"condition": public.codec.estimate(own)}, diagnostics)


def record_labels(view: View) -> list[int]:
    """Return a label for each release, equal for releases of one record.

    Releases are linked by z0 where it is exact, otherwise by everything that the view offers.
    """
    labels, _ = link_view(view, ("image",))
    if labels is None:
        labels, _ = link_view(view)
    return list(range(len(view.releases))) if labels is None else labels


def pictures_by_record(
    pictures: Tensor, attacked: list[int], labels: list[int], typical: Tensor
) -> Tensor:
    """Return pictures ``(R, 3, H, W)`` for all releases of the records that were attacked.

    Args:
        pictures: of the attacked releases, ``(N, 3, H, W)``.
        attacked: positions of these releases.
        labels: a label for each release, equal for releases of one record.
        typical: the picture of all other records, ``(3, H, W)``.
    """
    of_record = {
        labels[release]: picture for release, picture in zip(attacked, pictures, strict=True)
    }
    return torch.stack([of_record.get(label, typical) for label in labels])
