"""The noisy latent itself in place of the stem's features."""

from __future__ import annotations

from bench.interfaces import Card, Defense


class SendLatent(Defense):
    """x_t crosses as ``unet_features``; the server applies the frozen, public ``conv_in`` itself."""

    name = "send-latent"
    sends_latent = True
    card = Card(
        summary="Sends x_t in place of conv_in(x_t): the same information in a fraction of the bytes.",
        source="this project; METHODS 1.1.5 and 7.16",
        cost="h_sd shrinks from C channels to 4: 80-fold in Stable Diffusion 1.x",
        notes="Hides nothing by itself, since conv_in is public and injective. Its use is with noise: what is added to "
        "x_t is not averaged away by least squares through conv_in. The attacker's public stem is then the identity.",
    )
