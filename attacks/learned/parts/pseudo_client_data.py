"""Training data of a pseudo-client: the victim's releases, and simulated ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.least_squares import invert_convolution
from attacks.features.search.knowledge import example_inputs, own_pictures
from attacks.features.search.nuisance import affine_in_noisy
from bench.interfaces import (
    CONTROL_FEATURES,
    LABEL,
    TIMESTEP,
    UNET_FEATURES,
    NotApplicableError,
    PublicForward,
    View,
)
from bench.interfaces.public_forward import NOISY, TIMESTEPS

FITTED = 16
"""Releases that the client's part in x_t is fitted on; each has many cells, so few suffice."""


@dataclass(frozen=True, eq=False)
class PseudoClientData:
    """The victim's releases, and a pseudo-client that sends features of auxiliary pictures.

    Attributes:
        forward: the pseudo-client; its ``stem`` is trained.
        observed: the victim's features, ``(R, C, h, w)``.
        known: by name, inputs of those releases that the wire reveals, ``(R, ...)``.
        name: of the client's input that the wire does not reveal, which is a picture.
        pictures: auxiliary pictures for that input, ``(M, 3, H, W)`` in [0, 1].
        labels: classes of the releases, ``(R,)``, or None.
        picture_labels: classes of the auxiliary pictures, ``(M,)``, or None.
    """

    forward: PublicForward
    observed: Tensor
    known: Mapping[str, Tensor]
    name: str
    pictures: Tensor
    labels: Tensor | None = None
    picture_labels: Tensor | None = None

    def send(self, chosen: Tensor, rng: torch.Generator) -> Tensor:
        """Return features of auxiliary pictures when x_t is zero, ``(B, C, h, w)``."""
        still = {
            name: torch.zeros_like(tensor[:1]).expand(len(chosen), *tensor.shape[1:])
            for name, tensor in self.known.items()
        }
        picture = self.pictures[chosen].to(self.observed.device)
        return self.forward.send({**still, self.name: picture}, rng)[CONTROL_FEATURES].float()

    def noisy_part(self, releases: Tensor) -> Tensor:
        """Return what the known x_t adds to these releases, ``(B, C, h, w)``.

        It is a difference of two sends, in which the contribution of the unknown picture cancels.
        """
        inputs = {name: tensor[releases] for name, tensor in self.known.items()}
        blank = torch.zeros(len(releases), *self.pictures.shape[1:], device=self.observed.device)
        still = {**inputs, NOISY: torch.zeros_like(inputs[NOISY])}
        with_noise, without = (
            self.forward.send({**given, self.name: blank}, torch.Generator().manual_seed(0))[
                CONTROL_FEATURES
            ].float()
            for given in (inputs, still)
        )
        return with_noise - without

    def picture_part(self, rounds: int) -> Tensor:
        """Return what the unknown pictures add to the releases, ``(R, C, h, w)``.

        The client's map of x_t is fitted by least squares first, because the noise in x_t does not
        depend on the picture.

        Args:
            rounds: iterations of the solver.
        """
        if NOISY not in self.known:
            return self.observed
        weights = [weight for weight in self.forward.stem.parameters() if weight.requires_grad]
        solver = torch.optim.LBFGS(weights, max_iter=rounds, line_search_fn="strong_wolfe")
        few = torch.arange(min(FITTED, len(self.observed)))

        def loss() -> Tensor:
            solver.zero_grad()
            rest = self.observed[few] - self.noisy_part(few)
            value = (rest - rest.mean((0, 2, 3), keepdim=True)).square().mean()
            torch.autograd.backward(value)
            return value

        solver.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            parts = torch.split(torch.arange(len(self.observed)), FITTED)
            return torch.cat([self.observed[rows] - self.noisy_part(rows) for rows in parts])


def pseudo_client_data(view: View) -> PseudoClientData:
    """Return the releases of the targets' epochs, with the client at its public initial weights.

    Earlier releases are of a client that had learned less.

    Raises:
        NotApplicableError: there is no client to start from, none of its weights train, or there
            are fewer than 2 auxiliary records.
    """
    public = view.public
    if public.client is None:
        raise NotApplicableError("the form of the client is not known under this threat model")
    if len(public.auxiliary) < 2:
        raise NotApplicableError("needs at least 2 auxiliary records to learn from")
    forward = public.client.forward(public.auxiliary.images.shape[-1])
    if not any(weight.requires_grad for weight in forward.stem.parameters()):
        raise NotApplicableError(
            "no weight of this client trains, so its weights are public; use inversion"
        )
    wanted = forward.inputs()
    name, pictures = own_pictures(forward, public.auxiliary)
    epochs = {view.releases[i].epoch for i in view.targets}
    places = [i for i, release in enumerate(view.releases) if release.epoch in epochs]
    known: dict[str, Tensor] = {}
    if NOISY in wanted:
        if not view.has(UNET_FEATURES) or public.stem is None:
            raise NotApplicableError(
                "x_t hides the condition's part of the features, and unet_features is not in view"
            )
        features = view.read(UNET_FEATURES, every=True)[places]
        known[NOISY] = invert_convolution(public.stem, features).to(public.device)
        if TIMESTEPS in wanted and view.has(TIMESTEP):
            known[TIMESTEPS] = view.read(TIMESTEP, every=True)[places].to(public.device)
        if not affine_in_noisy(forward, example_inputs(forward)):
            raise NotApplicableError(
                "a defence makes the features non-linear in x_t, so x_t's part cannot be subtracted"
            )
    labels = view.read(LABEL, every=True)[places] if view.has(LABEL) else None
    return PseudoClientData(
        forward=forward,
        observed=view.read(CONTROL_FEATURES, every=True)[places].float().to(public.device),
        known=known,
        name=name,
        pictures=pictures,
        labels=labels,
        picture_labels=public.labels,
    )
