"""The server half, which trains from messages alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LOSS_GRADIENT,
    NOISE_TARGET,
    POOLED_PROMPT,
    PREDICTION_DOWN,
    PROMPT_EMBEDDING,
    TIMESTEP,
    UNET_FEATURES,
    DataError,
    ServerAdapter,
)
from victims.diffusion.parts.controlnet import predict
from victims.stable_diffusion.prompt_code import PromptCode


class ServerHalf:
    """Trains the ControlNet behind the cut with the frozen UNet behind its stem.

    Args:
        unet: the frozen UNet, whose ``conv_in`` is an identity or, where x_t crosses the wire, its
            own.
        controlnet: the trainable part behind the stem.
        adapter: a defence's counterpart on the server, which is trained too.
        factor: pixels per latent cell, which gives the size of the pictures.
        returns_gradient: whether the client trains and gets dL/dh_ctrl.
        keeps_loss: whether the server computes the loss; otherwise the prediction goes down and its
            gradient comes up.
        learning_rate: learning rate of AdamW.
        device: device of all networks.
        autocast: computing type of the forward pass, or None for float32.
    """

    def __init__(
        self,
        unet: Any,
        controlnet: Any,
        adapter: ServerAdapter | None,
        *,
        factor: int,
        returns_gradient: bool,
        keeps_loss: bool,
        learning_rate: float,
        device: str,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.unet = unet.to(device)
        self.controlnet = controlnet.to(device).train()
        self.adapter = (ServerAdapter() if adapter is None else adapter).to(device)
        self.factor = factor
        self.returns_gradient = returns_gradient
        self.keeps_loss = keeps_loss
        self._device = device
        self._autocast = autocast
        self.parameters = [
            p for m in (self.controlnet, self.adapter) for p in m.parameters() if p.requires_grad
        ]
        self._optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate)
        self._pending: tuple[Tensor, Tensor] | None = None
        self.losses: list[float] = []

    def receive(self, message: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Return the answer to one upward message, or None where the protocol sends nothing down.

        Raises:
            DataError: the message fits no step of the protocol.
        """
        message = {name: tensor.to(self._device) for name, tensor in message.items()}
        if LOSS_GRADIENT in message:
            return self._finish(message[LOSS_GRADIENT])
        if CONTROL_FEATURES not in message:
            raise DataError(f"the server cannot use a message with {', '.join(sorted(message))}")
        stem = message[CONTROL_FEATURES].float().requires_grad_(self.returns_gradient)
        output = self._predict(stem, message)
        if not self.keeps_loss:
            self._pending = (output, stem)
            return {PREDICTION_DOWN: output.detach()}
        loss = torch.nn.functional.mse_loss(output, message[NOISE_TARGET].float())
        self.losses.append(float(loss.detach()))
        self._step(loss, None)
        return (
            {GRADIENT_DOWN: stem.grad} if self.returns_gradient and stem.grad is not None else None
        )

    def _predict(self, stem: Tensor, message: Mapping[str, Tensor]) -> Tensor:
        pooled = message[POOLED_PROMPT].float() if POOLED_PROMPT in message else None
        if pooled is None and self.unet.config.addition_embed_type is not None:
            raise DataError(
                f"the server cannot use a message without {POOLED_PROMPT}, which this model takes"
            )
        code = PromptCode(message[PROMPT_EMBEDDING].float(), pooled).adapted(self.adapter)
        control = self.adapter(CONTROL_FEATURES, stem)
        unet_input = self.adapter(UNET_FEATURES, message[UNET_FEATURES].float())
        height, width = unet_input.shape[-2:]
        prompt = code.arguments(self.factor * height, self.factor * width)
        kind = torch.device(self._device).type
        with torch.autocast(
            kind, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None
        ):
            output = predict(
                self.unet, self.controlnet, unet_input, control, message[TIMESTEP], prompt, prompt
            )
        return output.float()

    def _finish(self, gradient: Tensor) -> dict[str, Tensor] | None:
        if self._pending is None:
            raise DataError("the server got a loss gradient before any features")
        output, stem = self._pending
        self._pending = None
        self._step(output, gradient)
        return (
            {GRADIENT_DOWN: stem.grad} if self.returns_gradient and stem.grad is not None else None
        )

    def _step(self, root: Tensor, gradient: Tensor | None) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        root.backward(gradient)  # type: ignore[no-untyped-call]
        self._optimizer.step()
