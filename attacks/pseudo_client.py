"""Passive attacks on a client that trains: a pseudo client whose features look like the victim's (METHODS 3.8)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from attacks.pseudo_networks import PseudoHint
from attacks.pseudo_training import OTHERS, Lab, Objective, Seen, decode, match
from bench.channels import CONTROL_FEATURES, TIMESTEP, UNET_FEATURES
from bench.effort import Effort
from bench.errors import NotApplicableError
from bench.interfaces import Attack, Budget, Claim, Estimate
from bench.plugin import Card, Params
from bench.progress import Progress
from bench.threat import View


class PseudoClientParams(Params):
    """Attributes:
    objective: ``fora`` matches the features by a critic and by MMD, and decodes plainly; ``sdar`` by a critic alone,
        and a second critic holds what is decoded of the victim's features to look like latents.
    mix: share of the MMD in the pseudo client's loss, of ``fora``.
    adversarial: weight of the critic's verdict on decoded latents, of ``sdar``.
    width: channels of the networks.
    learning_rate: of all networks; the slower critics of the papers are for 10,000 iterations and more.
    """

    objective: Literal["fora", "sdar"] = "fora"
    mix: float = Field(default=0.5, ge=0, le=1)
    adversarial: float = Field(default=0.02, ge=0)
    width: int = Field(default=32, ge=8)
    learning_rate: float = Field(default=2e-3, gt=0)


class PseudoClient(Attack):
    """Half of the budget teaches a hint block of its own, half a decoder of its features, which the victim's then get.

    What is known of the victim is taken out of the features first: h_ctrl - h_sd is the hint block's share and what
    the copy of conv_in learned, since the copy starts as conv_in. That depends on t through the copy's drift alone, so
    features need not be matched for each t.
    """

    name = "pseudo-client"
    Params = PseudoClientParams
    requires = frozenset({CONTROL_FEATURES, UNET_FEATURES})
    uses_history = True
    default_budget = Budget(iterations=400, batch_size=16)
    effort = Effort("iterations", (25, 50, 100, 200, 400, 800))
    card = Card(
        summary="Teaches a client of its own whose features are distributed as the victim's, and a decoder on it.",
        source="FORA, arXiv:2405.04115; SDAR, arXiv:2310.10483; adapted to ControlNet's stem, this project",
        needs="control_features and unet_features of a client that trains; the public weights it started from; "
        "auxiliary records with conditions",
        cost="iterations x batch size releases of the simulated client",
        notes="For hint blocks whose trained weights are not seen: it does not read client_weights. Where they are in "
        "view, inversion with them is the stronger attack. The papers' task loss is left out: public knowledge has "
        "no server half. The image comes of unet_features and the noise target, whatever the pseudo client is worth.",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        public = view.public
        if public.protocol == "no-gradient":
            raise NotApplicableError("the client half is public and does not train: inversion is the stronger attack")
        if public.client is None:
            raise NotApplicableError("the frozen parts of the client cannot be simulated under this threat model")
        if len(public.auxiliary) < 2:
            raise NotApplicableError("needs at least 2 auxiliary records to learn from")
        p: PseudoClientParams = self.params
        fora = p.objective == "fora"
        objective = Objective(p.mix if fora else 0.0, 0.0 if fora else p.adversarial, p.learning_rate)
        recent = _recent(view)
        half, seen = max(1, budget.iterations // 2), _seen(view, recent)
        conditions = public.auxiliary.condition_batch().pixels
        with torch.random.fork_rng(devices=[]), progress.stage("training the attack", 2 * half) as advance:
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
            factor = conditions.shape[-1] // seen.hint.shape[-1]
            hint = PseudoHint(seen.hint.shape[1], factor, p.width).to(public.device)
            lab = Lab(public.client.simulator(public.auxiliary), conditions, hint, seen, budget.batch_size, rng)
            match(lab, objective, p.width, half, advance)
            network = decode(lab, objective, p.width, half, advance)
        with torch.no_grad():
            latents = network(seen.take([recent.index(target) for target in view.targets]))
        tenth, losses = max(1, half // 10), lab.losses
        return Claim(
            {
                name: Estimate(public.codec.decode(z), z.cpu())
                for name, z in zip(("image", "condition"), latents, strict=True)
            },
            {
                "attack_loss_first": sum(losses["decode"][:tenth]) / tenth,
                "attack_loss_last": sum(losses["decode"][-tenth:]) / tenth,
                "attack_match_first": sum(losses["match"][:tenth]) / tenth,
                "attack_match_last": sum(losses["match"][-tenth:]) / tenth,
            },
        )


def _recent(view: View) -> list[int]:
    """Places of the releases of the targets' epochs: earlier ones are of a hint block that had not learned as much."""
    epochs = {view.releases[i].epoch for i in view.targets}
    return [i for i, release in enumerate(view.releases) if release.epoch in epochs]


def _seen(view: View, places: list[int]) -> Seen:
    """The releases at ``places`` of the view, what is known taken out of their features.

    Raises:
        NotApplicableError: the two maps are not of one shape.
    """

    def read(channel: str) -> Tensor:
        return view.read(channel, every=True)[places].to(view.public.device)  # type: ignore[arg-type]

    features, base = read(CONTROL_FEATURES).float(), read(UNET_FEATURES).float()
    if features.shape != base.shape:
        raise NotApplicableError("control_features are not of the shape of unet_features, of which they are a copy")
    hint = features - base
    spread = hint.std((0, 2, 3), keepdim=True)
    # Channels that tell nothing stay small: noise of the last digit is not to be matched.
    hint = (hint - hint.mean((0, 2, 3), keepdim=True)) / spread.clamp_min(0.01 * float(spread.max()) + 1e-8)
    maps = {c: read(c).float() for c in OTHERS if view.has(c)}
    return Seen(hint, maps, read(TIMESTEP) if view.has(TIMESTEP) else None)
