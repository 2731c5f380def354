"""Knowledge for a search: the client as a function, its features, and known inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.common.disco_mask import kept_channels
from attacks.common.least_squares import invert_convolution, least_squares
from attacks.common.shredder_noise import estimate_collection
from attacks.common.undo.inverse import read_inverted, simulated_before
from attacks.common.wire_algebra import carrier_of
from attacks.features.search.match import Distance, Match
from attacks.features.search.nuisance import affine_in_noisy, conv_span
from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
    NotApplicableError,
    Public,
    PublicClient,
    PublicForward,
    Records,
    Unknown,
    View,
)
from bench.interfaces.public_forward import CONDITION, CONDITION_LATENTS, NOISY, PIXELS, TIMESTEPS


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Knowledge of the attacker about the targets' features and inputs.

    Attributes:
        forward: the client, with its trained weights where they are in view.
        observed: by channel, features of the targets, ``(T, ...)`` float32.
        known: by name, inputs that need no search, ``(T, *shape)``.
        free: by name, inputs that are searched for.
        warm: by name, first guesses from where the client is nearly linear, ``(T, *shape)``.
        nuisance: by channel, bases of what is left out of a comparison
            (``attacks.features.search.nuisance``).
        counted: by channel, which of its feature channels are compared
            (``attacks.common.disco_mask``).
        learned: whether something that the defence has learned was estimated from the wire; a fresh
            copy of the defence would not have it.
    """

    forward: PublicForward
    observed: Mapping[Channel, Tensor]
    known: Mapping[str, Tensor]
    free: Mapping[str, Unknown]
    warm: Mapping[str, Tensor]
    nuisance: Mapping[Channel, Tensor]
    counted: Mapping[Channel, Tensor] = field(default_factory=dict)
    learned: bool = False

    def match(self, distance: Distance, rows: Tensor) -> Match:
        """Return what the features of the targets ``rows`` are compared by."""
        by_name = (self.observed, self.nuisance, self.counted)
        observed, nuisance, counted = (
            {c: t[rows] for c, t in by_channel.items()} for by_channel in by_name
        )
        return Match(observed, distance, nuisance=nuisance, counted=counted)


def knowledge_of(
    view: View, client: PublicClient, *, adapt: bool = True, solve: bool = True
) -> Knowledge:
    """Read the view.

    x_t is solved for where h_sd and ``conv_in`` allow it, which leaves the condition.

    Args:
        view: what the attacker sees.
        client: the public client half.
        adapt: estimate what the known defence has learned, and take it into account.
        solve: False leaves x_t free with its least-squares solution as a first guess, and matches
            h_sd like other features, whether or not h_ctrl is in view. It is for a wire whose h_sd
            is not the output of ``conv_in`` (``noisy_is_solvable``).

    Raises:
        NotApplicableError: there is nothing to match, or nothing to search for.
    """
    if view.has(CLIENT_WEIGHTS):
        client = client.with_weights(view.parts(CLIENT_WEIGHTS)[-1].tensors)
    forward = client.forward(view.public.auxiliary.images.shape[-1])
    inputs = forward.inputs()
    known: dict[str, Tensor] = {}
    warm: dict[str, Tensor] = {}
    if TIMESTEPS in inputs and view.has(TIMESTEP):
        known[TIMESTEPS] = view.read(TIMESTEP)
    if NOISY in inputs and view.has(UNET_FEATURES) and view.public.stem is not None:
        solution = invert_convolution(view.public.stem, read_inverted(view, UNET_FEATURES))
        (known if solve else warm)[NOISY] = solution
    shapes = sent_shapes(forward)
    wanted = [c for c in shapes if view.has(c) and not (c == UNET_FEATURES and NOISY in known)]
    if CONTROL_FEATURES not in wanted and (solve or not wanted):
        raise NotApplicableError(
            "needs control_features in view; the rest of the wire is linear, use closed-form"
        )
    observed = {channel: view.read(channel).float() for channel in wanted}
    noise, kept = (
        (estimate_collection(view, client), kept_channels(view)) if adapt else (None, None)
    )
    if noise is not None:
        observed[CONTROL_FEATURES] = observed[CONTROL_FEATURES] - noise.targets
    for channel, tensor in observed.items():
        if tuple(tensor.shape[1:]) != shapes[channel]:
            raise NotApplicableError(
                f"{channel} has shape {tuple(tensor.shape[1:])} per record on the wire, but "
                f"{shapes[channel]} according to the public client"
            )
    free = {
        name: unknown
        for name, unknown in inputs.items()
        if name not in known and not unknown.integer
    }
    if not free:
        raise NotApplicableError(
            "every input of the client is known exactly; nothing is left to search for"
        )
    noisy, control = known.get(NOISY, warm.get(NOISY)), observed.get(CONTROL_FEATURES)
    if (
        noisy is not None
        and control is not None
        and CONDITION_LATENTS in free
        and control.shape == noisy.shape
    ):
        # Exact where the known defence is inverted and adds no noise.
        before = read_inverted(view, CONTROL_FEATURES) if noise is None else control
        warm[CONDITION_LATENTS] = before - carrier_of(view, noisy)[0]
    counted = {} if kept is None else {CONTROL_FEATURES: kept}
    nuisance = _nuisance(view.public.stem, forward, known)
    learned = noise is not None or kept is not None
    return Knowledge(forward, observed, known, free, warm, nuisance, counted, learned)


def _nuisance(
    conv: nn.Module | None, forward: PublicForward, known: Mapping[str, Tensor]
) -> dict[Channel, Tensor]:
    """Return bases of what an unknown copy of ``conv_in`` can add to the features.

    Features of a client that trains were sent under weights between those that are known.
    """
    trains = any(weight.requires_grad for weight in forward.stem.parameters())
    if NOISY not in known or not trains or not isinstance(conv, nn.Conv2d):
        return {}
    if not affine_in_noisy(forward, example_inputs(forward)):
        return {}
    basis = conv_span(conv, known[NOISY])
    return {} if basis is None else {CONTROL_FEATURES: basis}


@torch.no_grad()
def noisy_is_solvable(forward: PublicForward, public: Public) -> bool:
    """Return whether least squares recover x_t from what the client sends.

    They do not where the defence cuts, rounds or filters h_sd. Random draws of the defence are not
    counted against it.
    """
    inputs = example_inputs(forward)
    first, second = (
        forward.send(inputs, torch.Generator().manual_seed(seed)).get(UNET_FEATURES)
        for seed in (0, 1)
    )
    if first is None or second is None:
        return False
    if not torch.equal(first, second):
        return True
    noisy = inputs[NOISY].cpu()
    assert public.stem is not None
    before = simulated_before(public, UNET_FEATURES, first.cpu())
    error = least_squares(public.stem, before).inputs - noisy
    return float(error.square().mean()) < 1e-4 * float(noisy.square().mean())


def own_pictures(forward: PublicForward, records: Records) -> tuple[str, Tensor]:
    """Return the client's input that is a picture, and the records' pictures for it.

    Returns:
        The name of the input, and ``(M, 3, H, W)`` in [0, 1].

    Raises:
        NotApplicableError: no input is a picture.
    """
    wanted = forward.inputs()
    name = next((name for name in (CONDITION, PIXELS) if name in wanted), None)
    if name is None:
        raise NotApplicableError("no picture enters the client's trained part")
    pictures = (records.condition_batch() if name == CONDITION else records.image_batch()).pixels
    return name, functional.avg_pool2d(pictures, pictures.shape[-1] // wanted[name].shape[-1])


def example_inputs(forward: PublicForward) -> dict[str, Tensor]:
    """Return inputs of one artificial record: draws from a fixed generator, and 0 for integers."""
    device = next(iter(forward.stem.parameters()), torch.empty(0)).device
    rng = torch.Generator().manual_seed(0)
    return {
        name: torch.zeros(1, *unknown.shape, dtype=torch.long, device=device)
        if unknown.integer
        else torch.rand(1, *unknown.shape, generator=rng).to(device)
        for name, unknown in forward.inputs().items()
    }


@torch.no_grad()
def sent_shapes(forward: PublicForward) -> dict[Channel, tuple[int, ...]]:
    """Return, by channel, the shape ``(...)`` of what the client sends for one record."""
    sent = forward.send(example_inputs(forward), torch.Generator().manual_seed(0))
    return {channel: tuple(tensor.shape[1:]) for channel, tensor in sent.items()}
