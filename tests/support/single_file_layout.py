"""A Stable Diffusion in one file, with the tensor names of the original checkpoints."""

from __future__ import annotations

import re
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from victims.stable_diffusion.networks import read_network

_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def save_single_file(model: Path, file: Path) -> None:
    """Write UNet, autoencoder and text encoder of a directory in diffusers layout to ``file``."""
    unet, vae = read_network(model / "unet"), read_network(model / "vae")
    layers, blocks = unet.config.layers_per_block, len(vae.config.block_out_channels)
    text = read_network(model / "text_encoder").state_dict()
    tensors: dict[str, Tensor] = {}
    for name, tensor in unet.state_dict().items():
        tensors[f"model.diffusion_model.{_unet_name(name, layers + 1)}"] = tensor
    for name, tensor in vae.state_dict().items():
        tensors[f"first_stage_model.{_vae_name(name, blocks)}"] = tensor
    for name, tensor in text.items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = (
            tensor
        )
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)


def _unet_name(name: str, per_block: int) -> str:
    for ours, theirs in _UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            name = name.replace(ours, theirs, 1)
    match = re.match(
        r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.", name
    )
    if match:
        way, block, what, layer = match[1], int(match[2]), match[3], int(match[4])
        rest = name[match.end() :]
        if what == "downsamplers":
            start, rest = f"input_blocks.{(block + 1) * per_block}.0.op", rest.removeprefix("conv.")
        elif what == "upsamplers":
            start = f"output_blocks.{block * per_block + per_block - 1}.1"
        else:
            index = block * per_block + layer + (way == "down")
            side = "input" if way == "down" else "output"
            start = f"{side}_blocks.{index}.{int(what == 'attentions')}"
        name = f"{start}.{rest}"
    for ours, theirs in _RESNET.items():
        name = re.sub(
            rf"^((?:in|out)put_blocks\.\d+\.0|middle_block\.\d)\.{ours}\.", rf"\1.{theirs}.", name
        )
    return name


def _vae_name(name: str, blocks: int) -> str:
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    name = re.sub(
        r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{blocks - 1 - int(m[1])}.block.", name
    )
    name = re.sub(
        r"up_blocks\.(\d+)\.upsamplers\.0\.",
        lambda m: f"up.{blocks - 1 - int(m[1])}.upsample.",
        name,
    )
    name = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", name)
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
