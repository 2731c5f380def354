"""The people of the procedural portraits, and what differs between photographs of one person.

Lengths are in head units: the skull's top lies at -1 and the chin at +1 on the vertical axis.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import sqrt

import numpy as np

Colour = tuple[float, float, float]

SKINS: dict[str, Colour] = {
    "pale": (0.93, 0.78, 0.70),
    "fair": (0.89, 0.69, 0.57),
    "olive": (0.80, 0.63, 0.47),
    "brown": (0.62, 0.43, 0.31),
    "dark": (0.40, 0.26, 0.19),
}
HAIRS: dict[str, Colour] = {
    "black": (0.08, 0.07, 0.08),
    "brown": (0.30, 0.18, 0.10),
    "blond": (0.80, 0.65, 0.42),
    "red": (0.66, 0.25, 0.10),
    "grey": (0.62, 0.62, 0.64),
    "pink": (0.90, 0.45, 0.62),
}
HAIR_ODDS = (0.24, 0.26, 0.20, 0.15, 0.11, 0.04)
STYLES = ("short", "long", "curly", "bob", "spiky", "bun", "bald")
STYLE_ODDS = {
    "woman": (0.12, 0.30, 0.20, 0.20, 0.03, 0.14, 0.01),
    "man": (0.40, 0.08, 0.17, 0.04, 0.17, 0.02, 0.12),
}
EYES: dict[str, Colour] = {
    "brown": (0.33, 0.19, 0.09),
    "blue": (0.22, 0.45, 0.75),
    "green": (0.27, 0.52, 0.30),
    "grey": (0.45, 0.50, 0.54),
}
COLOURS: dict[str, Colour] = {
    "red": (0.78, 0.14, 0.15),
    "blue": (0.15, 0.30, 0.72),
    "green": (0.18, 0.52, 0.26),
    "yellow": (0.92, 0.78, 0.22),
    "black": (0.11, 0.11, 0.13),
    "white": (0.92, 0.92, 0.90),
    "purple": (0.47, 0.22, 0.62),
    "orange": (0.92, 0.49, 0.14),
    "pink": (0.93, 0.57, 0.68),
    "grey": (0.50, 0.51, 0.53),
}
EXPRESSIONS = ("smiling", "serious", "laughing", "sad", "surprised")
CLOTHES = ("shirt", "sweater", "jacket", "hoodie", "striped shirt")
GLASSES = ("none", "round", "square", "sunglasses")
HATS = ("none", "cap", "beanie", "hat")
SCENES = ("wall", "brick wall", "sky", "trees", "bookshelf", "curtain", "sea", "studio")
COLOURED_SCENES = ("wall", "curtain")
"""Scenes whose prompt names their colour."""


@dataclass(frozen=True)
class Person:
    """What is equal in every photograph of one identity."""

    noun: str
    skin_name: str
    skin: Colour
    hair_name: str
    hair: Colour
    style: str
    beard: str
    eye_name: str
    eye: Colour
    freckles: bool
    age: float
    width: float
    jaw: float
    chin: float
    eye_gap: float
    eye_y: float
    eye_w: float
    eye_h: float
    eye_slant: float
    brow_y: float
    brow_w: float
    brow_tilt: float
    nose_len: float
    nose_w: float
    mouth_y: float
    mouth_w: float
    lip: float
    ear: float
    neck: float
    hairline: float
    parting: float
    volume: float
    lips_red: float
    texture_seed: int


@dataclass(frozen=True)
class Shot:
    """What changes from one photograph to the next."""

    dx: float
    dy: float
    scale: float
    tilt: float
    yaw: float
    expression: str
    gaze: float
    clothes: str
    clothes_name: str
    clothes_colour: Colour
    glasses: str
    hat: str
    hat_name: str
    hat_colour: Colour
    earrings: bool
    scene: str
    scene_name: str
    scene_colour: Colour
    light: tuple[float, float, float]
    ambient: float
    warmth: float
    exposure: float
    noise: float
    texture_seed: int


def stream(seed: int, *words: int | str) -> np.random.Generator:
    """Return a separate generator for each purpose, independent of the order of calls."""
    numbers = [w if isinstance(w, int) else zlib.crc32(w.encode()) for w in words]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *numbers])))


def _vary(rng: np.random.Generator, colour: Colour, spread: float, mute: float = 0.0) -> Colour:
    """Return the colour with other brightness and hue, up to ``mute`` of the way to grey.

    The result lies in [0.02, 0.98].
    """
    base = np.asarray(colour)
    value = (
        base * (1.0 + spread * rng.uniform(-1, 1)) * (1.0 + 0.35 * spread * rng.uniform(-1, 1, 3))
    )
    value = value + mute * rng.uniform(0.3, 1.0) * ((value[0] + value[1] + value[2]) / 3 - value)
    r, g, b = np.clip(value, 0.02, 0.98)
    return float(r), float(g), float(b)


def _pick(
    rng: np.random.Generator, names: tuple[str, ...], odds: tuple[float, ...] | None = None
) -> str:
    return names[int(rng.choice(len(names), p=odds))]


def person(identity: int, seed: int) -> Person:
    """Return the person of an identity; every identity is drawn independently."""
    rng = stream(seed, "person", identity)
    noun = _pick(rng, ("woman", "man"))
    woman = noun == "woman"
    skin_name = _pick(rng, tuple(SKINS))
    hair_odds = HAIR_ODDS if skin_name in ("pale", "fair") else (0.46, 0.26, 0.06, 0.06, 0.12, 0.04)
    hair_name = _pick(rng, tuple(HAIRS), hair_odds)
    eye_odds = (0.3, 0.3, 0.25, 0.15) if skin_name in ("pale", "fair") else (0.76, 0.06, 0.12, 0.06)
    eye_name = _pick(rng, tuple(EYES), eye_odds)
    style = _pick(rng, STYLES, STYLE_ODDS[noun])
    beard = "none" if woman else _pick(rng, ("none", "beard", "moustache"), (0.6, 0.26, 0.14))
    u = rng.uniform
    return Person(
        noun=noun,
        skin_name=skin_name,
        skin=_vary(rng, SKINS[skin_name], 0.06),
        hair_name=hair_name,
        hair=_vary(rng, HAIRS[hair_name], 0.18),
        style=style,
        beard=beard,
        eye_name=eye_name,
        eye=_vary(rng, EYES[eye_name], 0.12),
        freckles=bool(u() < 0.3) and skin_name in ("pale", "fair"),
        age=float(u(0.3, 1.0)) if hair_name == "grey" else float(u(0.0, 0.4)),
        width=float(u(0.69, 0.84)) - (0.03 if woman else 0.0),
        jaw=float(u(0.22, 0.42)) if woman else float(u(0.10, 0.32)),
        chin=float(u(0.94, 1.06)),
        eye_gap=float(u(0.30, 0.375)),
        eye_y=float(u(-0.10, 0.04)),
        eye_w=float(u(0.155, 0.195)),
        eye_h=float(u(0.085, 0.125)) * (1.08 if woman else 0.95),
        eye_slant=float(u(-0.16, 0.12)),
        brow_y=float(u(0.17, 0.25)),
        brow_w=float(u(0.022, 0.04)) if woman else float(u(0.035, 0.06)),
        brow_tilt=float(u(-0.18, 0.18)),
        nose_len=float(u(0.34, 0.46)),
        nose_w=float(u(0.10, 0.17)),
        mouth_y=float(u(0.55, 0.63)),
        mouth_w=float(u(0.23, 0.33)),
        lip=float(u(0.05, 0.085)) if woman else float(u(0.032, 0.06)),
        ear=float(u(0.15, 0.23)),
        neck=float(u(0.36, 0.44)) if woman else float(u(0.44, 0.54)),
        hairline=float(u(-0.66, -0.45)),
        parting=float(u(-0.5, 0.5)),
        volume=float(u(0.06, 0.2)),
        lips_red=float(u(0.35, 0.9)) if woman else float(u(0.1, 0.35)),
        texture_seed=int(rng.integers(2**31)),
    )


def shot(identity: int, photo: int, seed: int) -> Shot:
    """Return photograph ``photo`` of ``identity``."""
    rng = stream(seed, "shot", identity, photo)
    u = rng.uniform
    clothes_name, hat_name, scene_name = (_pick(rng, tuple(COLOURS)) for _ in range(3))
    side = float(u(-0.85, 0.85))
    up = -float(u(0.15, 0.6))
    length = sqrt(side * side + up * up + 0.75 * 0.75)
    return Shot(
        dx=float(u(-0.13, 0.13)),
        dy=float(u(-0.09, 0.07)),
        scale=float(u(0.47, 0.60)),
        # Cut before the tails of the generator, which it takes from the C library's logarithm.
        tilt=float(np.clip(rng.normal(0, 0.09), -0.22, 0.22)),
        yaw=float(np.clip(rng.normal(0, 0.22), -0.5, 0.5)),
        expression=_pick(rng, EXPRESSIONS, (0.34, 0.27, 0.16, 0.11, 0.12)),
        gaze=float(u(-0.4, 0.4)),
        clothes=_pick(rng, CLOTHES),
        clothes_name=clothes_name,
        clothes_colour=_vary(rng, COLOURS[clothes_name], 0.16, 0.25),
        glasses=_pick(rng, GLASSES, (0.66, 0.13, 0.12, 0.09)),
        hat=_pick(rng, HATS, (0.74, 0.09, 0.09, 0.08)),
        hat_name=hat_name,
        hat_colour=_vary(rng, COLOURS[hat_name], 0.16, 0.25),
        earrings=bool(u() < 0.25),
        scene=_pick(rng, SCENES, (0.34, 0.10, 0.11, 0.11, 0.09, 0.10, 0.07, 0.08)),
        scene_name=scene_name,
        scene_colour=_vary(rng, COLOURS[scene_name], 0.2, 0.45),
        light=(side / length, up / length, 0.75 / length),
        ambient=float(u(0.42, 0.68)),
        warmth=float(u(-0.07, 0.07)),
        exposure=float(u(0.88, 1.10)),
        noise=float(u(0.003, 0.012)),
        texture_seed=int(rng.integers(2**31)),
    )
