"""Send the noisy latent in place of the stem's features."""

from __future__ import annotations

from bench.interfaces import Card, Defense


class SendLatent(Defense):
    """Sends x_t as ``unet_features``; the server applies the frozen, public ``conv_in``."""

    name = "send-latent"
    sends_latent = True
    card = Card(
        summary="Sends x_t in place of conv_in(x_t): equal information in a fraction of the bytes.",
        source="this project",
        cost="h_sd shrinks from C channels to 4: 80-fold in Stable Diffusion 1.x",
        notes="Hides nothing by itself, since conv_in is public and injective. It serves in a "
        "stack with noise: least squares through conv_in cannot average away noise that is added "
        "to x_t. The attacker's public stem is then the identity.",
    )
