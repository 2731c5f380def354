"""Names of the quantities that cross the wire.

A channel is a plain name, so that a victim from another package may add channels. The constants are
those of the built-in victims, written as in arXiv:2409.08503 where that paper names them.
"""

from __future__ import annotations

from typing import NewType

Channel = NewType("Channel", str)
"""The name of a quantity that crosses the wire."""

CONTROL_FEATURES = Channel("control_features")
UNET_FEATURES = Channel("unet_features")
TIMESTEP = Channel("timestep")
NOISE_TARGET = Channel("noise_target")
PROMPT_EMBEDDING = Channel("prompt_embedding")
POOLED_PROMPT = Channel("pooled_prompt")
GRADIENT_DOWN = Channel("gradient_down")
PREDICTION_DOWN = Channel("prediction_down")
LOSS_GRADIENT = Channel("loss_gradient")
CLIENT_WEIGHTS = Channel("client_weights")
CLIENT_UPDATE = Channel("client_update")
GLOBAL_MODEL = Channel("global_model")
LABEL = Channel("label")

DESCRIPTIONS: dict[Channel, str] = {
    CONTROL_FEATURES: (
        "h_ctrl, what enters the control network, or a classifier's server half: (B, C, h, w)"
    ),
    UNET_FEATURES: "h_sd = conv_in(x_t) of the frozen UNet: (B, C, h, w)",
    TIMESTEP: "t of each sample: (B,) int64",
    NOISE_TARGET: "eps, the label of the denoising loss: (B, 4, h, w)",
    PROMPT_EMBEDDING: "cond_txt, text-encoder states: (B, L, D)",
    POOLED_PROMPT: "pooled embedding of the second text encoder of Stable Diffusion XL: (B, P)",
    GRADIENT_DOWN: "dL/dh_ctrl, sent back to a client that trains: (B, C, h, w)",
    PREDICTION_DOWN: (
        "eps_hat, sent to a client that keeps the loss: (B, 4, h, w); "
        "of a classifier, logits: (B, K)"
    ),
    LOSS_GRADIENT: "dL/deps_hat, returned by a client that keeps the loss: (B, 4, h, w)",
    CLIENT_WEIGHTS: "the client's trained weights, sent after the last step",
    CLIENT_UPDATE: "one client's weight delta of a federated round",
    GLOBAL_MODEL: "weights that a federated server sends to a client",
    LABEL: "class of each sample: (B,) int64",
}
