"""Determine which Stable Diffusion a directory holds, and refuse other models by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.interfaces import DataError
from victims.stable_diffusion.file_checks import positive_int, read_object, required_entry
from victims.stable_diffusion.weight_files import NETWORKS

SD, SDXL = "sd", "sdxl"
INDEX = "model_index.json"

WEIGHTED: Mapping[str, tuple[str, ...]] = {
    SD: ("vae", "unet", "text_encoder"),
    SDXL: ("vae", "unet", "text_encoder", "text_encoder_2"),
}
"""The parts of each kind that hold weights."""

TOKENIZERS: Mapping[str, tuple[str, ...]] = {SD: ("tokenizer",), SDXL: ("tokenizer", "tokenizer_2")}
"""The parts of each kind that hold a vocabulary; ``tokenizer_2`` belongs to ``text_encoder_2``."""

PARTS: Mapping[str, tuple[str, ...]] = {
    kind: (*WEIGHTED[kind], *TOKENIZERS[kind], "scheduler") for kind in WEIGHTED
}
"""All directories of each kind that are read."""

TAKEN = (
    "only Stable Diffusion 1.x, 2.x and XL are taken (UNet2DConditionModel, AutoencoderKL, CLIP "
    "text encoders)"
)

_PLAIN = {
    "class_embed_type": "class labels or an image embedding (unCLIP, the upscalers)",
    "num_class_embeds": "class labels (the upscalers)",
    "encoder_hid_dim_type": "image embeddings (Kandinsky, IP-Adapter)",
    "encoder_hid_dim": "prompt states of another encoder (DeepFloyd IF, Kandinsky)",
    "time_cond_proj_dim": "a guidance scale (latent consistency models)",
}
"""Entries of a UNet's configuration that must be unset, each with the input that it stands for."""

_CHANNELS = {
    9: "an inpainting UNet",
    8: "an InstructPix2Pix UNet",
    7: "an upscaling UNet",
    5: "a depth-to-image UNet",
}


def components(path: Path) -> dict[str, Any]:
    """Return the class of each component in ``model_index.json``; empty without that file.

    The class of an unset component is None.

    Raises:
        DataError: the pipeline has no UNet of a Stable Diffusion.
    """
    if not (path / INDEX).exists():
        return {}
    index = read_object(path / INDEX)
    named = {
        name: value[1]
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2
    }
    if named and named.get("unet") != NETWORKS["unet"]:
        raise DataError(f"{path / INDEX}: names {index.get('_class_name', 'no pipeline')}; {TAKEN}")
    return named


def model_kind(path: Path) -> str:
    """Return ``sd`` (Stable Diffusion 1.x and 2.x) or ``sdxl``.

    The kind follows from the UNet's configuration and ``model_index.json``.

    Raises:
        DataError: names the pipeline or the component that fits neither kind.
    """
    named = components(path)
    file = path / "unet" / "config.json"
    config = read_object(file)
    _expect_class(file, config.get("_class_name"), NETWORKS["unet"])
    added = config.get("addition_embed_type")
    if added not in (None, "text_time"):
        raise DataError(
            f"{file}: the UNet takes conditions of the kind {added!r} (addition_embed_type); "
            f"{TAKEN}"
        )
    kind = SD if added is None else SDXL
    if kind == SDXL and named and named.get("text_encoder") is None:
        raise DataError(
            f"{path / INDEX}: text_encoder is unset, as in the refiner of XL; give the base model"
        )
    for part in WEIGHTED[kind]:
        _expect_class(path / INDEX, named.get(part), NETWORKS[part])
    for part in TOKENIZERS[kind]:
        _expect_class(path / INDEX, named.get(part), "CLIPTokenizer", "CLIPTokenizerFast")
    return kind


def zeros_for_no_prompt(path: Path) -> bool:
    """Return whether a Stable Diffusion XL takes zeros for no prompt instead of the empty prompt.

    The key and its default are those of diffusers.
    """
    index = read_object(path / INDEX) if (path / INDEX).exists() else {}
    return bool(index.get("force_zeros_for_empty_prompt", True))


def check_configurations(path: Path, kind: str) -> None:
    """Refuse networks that do not fit together or need other inputs than a Stable Diffusion.

    The inputs of a Stable Diffusion are a noisy latent, a timestep and prompts.

    Raises:
        DataError: names the file and the entry.
    """
    unet_file, vae_file = path / "unet" / "config.json", path / "vae" / "config.json"
    unet, vae = read_object(unet_file), read_object(vae_file)
    _expect_class(vae_file, vae.get("_class_name"), NETWORKS["vae"])
    for config, file in ((unet, unet_file), (vae, vae_file)):
        _refuse_quantised(config, file)
        if not isinstance(required_entry(config, file, "block_out_channels"), list):
            raise DataError(f"{file}: block_out_channels is not a list")
    _check_unet(unet, unet_file)
    _check_channels(unet, unet_file, vae, vae_file)
    _check_text(path, kind, unet, unet_file)


def _check_unet(unet: dict[str, Any], file: Path) -> None:
    for name, what in _PLAIN.items():
        if unet.get(name) is not None:
            raise DataError(
                f"{file}: {name} is {unet[name]!r}; such a UNet takes {what} besides a prompt; "
                f"{TAKEN}"
            )
    if unet.get("attention_type", "default") != "default":
        raise DataError(f"{file}: attention_type is {unet['attention_type']!r} (GLIGEN); {TAKEN}")


def _check_channels(
    unet: dict[str, Any], unet_file: Path, vae: dict[str, Any], vae_file: Path
) -> None:
    latent, taken = (
        positive_int(vae, vae_file, "latent_channels"),
        positive_int(unet, unet_file, "in_channels"),
    )
    if taken != latent:
        what = f" ({_CHANNELS[taken]})" if taken in _CHANNELS else ""
        raise DataError(
            f"{unet_file.parent.parent}: the autoencoder has {latent} latent channels, the UNet "
            f"takes {taken}{what}; give a text-to-image model whose parts belong together"
        )
    given = positive_int(unet, unet_file, "out_channels")
    if given != latent:
        raise DataError(
            f"{unet_file}: out_channels is {given}, not the {latent} of the latent; {TAKEN}"
        )
    if (
        positive_int(vae, vae_file, "in_channels") != 3
        or positive_int(vae, vae_file, "out_channels") != 3
    ):
        raise DataError(
            f"{vae_file}: the autoencoder does not take and give pictures of 3 channels"
        )
    if not 2 <= len(vae["block_out_channels"]) <= 4:
        raise DataError(
            f"{vae_file}: {len(vae['block_out_channels'])} blocks; a ControlNet's hint block fits "
            "an autoencoder of 2 to 4, Stable Diffusion has 4"
        )
    scale, shift = vae.get("scaling_factor", 1.0), vae.get("shift_factor") or 0.0
    if not all(isinstance(number, int | float) for number in (scale, shift)) or scale <= 0:
        raise DataError(
            f"{vae_file}: scaling_factor {scale!r} or shift_factor {shift!r} scales no latent"
        )
    if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
        raise DataError(
            f"{vae_file}: latents_mean and latents_std are set, as in Playground 2.5; {TAKEN}"
        )


def _check_text(path: Path, kind: str, unet: dict[str, Any], unet_file: Path) -> None:
    width, pooled = 0, 0
    for file in _text_files(path, kind):
        part, config = file.parent.name, read_object(file)
        _refuse_quantised(config, file)
        architectures = config.get("architectures") or [NETWORKS[part]]
        _expect_class(
            file,
            architectures[0] if isinstance(architectures, list) else architectures,
            NETWORKS[part],
        )
        width += positive_int(config, file, "hidden_size")
        pooled = config.get("projection_dim") or 0
    crossed = required_entry(unet, unet_file, "cross_attention_dim")
    if any(taken != width for taken in (crossed if isinstance(crossed, list) else [crossed])):
        raise DataError(
            f"{path}: the UNet takes prompt states of {crossed} numbers (cross_attention_dim), the "
            f"text encoder gives {width} (hidden_size); UNet and text encoder are not of one model"
        )
    if kind == SDXL:
        lengths = [
            positive_int(read_object(file), file, "max_position_embeddings")
            for file in _text_files(path, kind)
        ]
        if len(set(lengths)) > 1:
            raise DataError(
                f"{path}: the text encoders read {lengths[0]} and {lengths[1]} tokens "
                "(max_position_embeddings); they are not of one model"
            )
        taken = positive_int(unet, unet_file, "projection_class_embeddings_input_dim")
        ids = taken - 6 * positive_int(unet, unet_file, "addition_time_embed_dim")
        if ids != pooled:
            raise DataError(
                f"{path}: the UNet takes a pooled prompt of {ids} numbers, text_encoder_2 gives "
                f"{pooled} (projection_dim); UNet and text encoder are not of one model"
            )


def _text_files(path: Path, kind: str) -> list[Path]:
    """Return the configuration files of the text encoders."""
    return [
        path / part / "config.json" for part in WEIGHTED[kind] if part.startswith("text_encoder")
    ]


def _refuse_quantised(config: dict[str, Any], file: Path) -> None:
    if config.get("quantization_config") is not None:
        raise DataError(
            f"{file}: quantised weights (quantization_config) cannot be trained from; give the "
            "full ones"
        )


def _expect_class(file: Path, name: object, *wanted: str) -> None:
    """Refuse another class than those wanted; None passes, since older directories lack names."""
    if name is not None and name not in wanted:
        raise DataError(f"{file}: names {name} instead of {wanted[0]}; {TAKEN}")
