"""Draws one procedural portrait: neck, head, features, light and camera.

Everything is computed on a canvas larger than the picture and averaged down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.data import exact_math
from bench.data.exact_arrays import Array, block_mean, power, sin
from bench.data.portraits import hair as portrait_hair
from bench.data.portraits import scene as portrait_scene
from bench.data.portraits.canvas import Frame, Patch, rounded, smooth_noise, squared
from bench.data.portraits.face import features
from bench.data.portraits.maps import Maps, PortraitPart
from bench.data.portraits.people import Person, Shot, person, shot, stream
from bench.data.portraits.prompt import labels, prompt

SUPERSAMPLE = 2
MOST_GRAIN = np.float32(3.65)
"""Limit of the sensor noise in standard deviations; one value in four thousand is clipped."""


def render(
    identity: int, photo: int, size: int, seed: int
) -> tuple[NDArray[np.uint8], str, dict[str, str]]:
    """Return photograph ``photo`` of ``identity`` with its texts.

    Returns:
        The picture, ``(size, size, 3)`` uint8; its prompt; its attribute labels.
    """
    p, s = person(identity, seed), shot(identity, photo, seed)
    pixels = draw(p, s, size)
    return pixels, prompt(p, s, stream(seed, "prompt", identity, photo)), labels(p, s)


def draw(p: Person, s: Shot, size: int) -> NDArray[np.uint8]:
    """Return the picture of person ``p`` in shot ``s``, ``(size, size, 3)`` uint8."""
    rng = stream(s.texture_seed, "scene")
    return _develop(paint(p, s, size, rng, None), s, size, rng)


def draw_maps(p: Person, s: Shot, size: int) -> Maps:
    """Return parts and depth of the picture, ``(size, size)``."""
    maps = Maps.blank(size * SUPERSAMPLE)
    paint(p, s, size, stream(s.texture_seed, "scene"), maps)
    return maps.reduced(SUPERSAMPLE)


def paint(p: Person, s: Shot, size: int, rng: np.random.Generator, maps: Maps | None) -> Array:
    """Return the enlarged canvas, ``(3, n, n)`` float32, and record parts and depth in ``maps``."""
    n = size * SUPERSAMPLE
    canvas = np.zeros((3, n, n), np.float32)
    room = Frame(canvas, (0.0, 0.0), 1.0, 0.0, maps)
    portrait_scene.background(room, s, rng)
    centre = (s.dx, s.dy - 0.10)
    head = Frame(canvas, centre, s.scale, s.tilt, maps)
    upright = Frame(canvas, centre, s.scale, 0.35 * s.tilt, maps)
    turn = exact_math.sin(s.yaw) * p.width * 0.6
    portrait_hair.behind(head, p, s, -0.15 * turn)
    _neck(upright, p, s)
    portrait_scene.clothes(upright, p, s, rng)
    if p.style == "long":
        _locks(head, p, s)
    _head(head, p, s)
    features(head, p, s)
    portrait_hair.front(head, p, s, turn)
    portrait_hair.hat(head, p, s, turn)
    return canvas


def _neck(frame: Frame, p: Person, s: Shot) -> None:
    patch = frame.window(-1.0, 1.0, 0.4, 1.9)
    x = patch.x - np.float32(0.06 * s.yaw)
    width = np.float32(p.neck) + np.float32(0.35) * squared(np.clip(patch.y - 1.15, 0, 1))
    tone = (
        0.80 + 0.16 * s.light[0] * x / np.float32(p.neck) - 0.30 * patch.glow(0.0, 0.95, 0.9, 0.34)
    )
    skin = np.array(p.skin, np.float32)[:, None, None]
    patch.paint(patch.fill(np.abs(x) - width), np.clip(skin * tone, 0, 1))
    patch.mark(patch.fill(np.abs(x) - width), PortraitPart.NECK, 0.42 + 0.16 * rounded(x / width))


def _locks(frame: Frame, p: Person, s: Shot) -> None:
    """Paint strands of long hair that fall over the shoulders."""
    base = np.array(p.hair, np.float32)
    for sign in (-1, 1):
        patch = frame.window(sign * 0.85 - 0.4, sign * 0.85 + 0.4, 0.2, 2.0)
        if not patch.x.size:
            continue
        along = np.clip((patch.y - 0.2) / 1.4, 0, 1)
        middle = sign * (p.width + 0.04 + 0.10 * along)
        edge = np.maximum(np.abs(patch.x - middle) - (0.17 - 0.155 * squared(along)), patch.y - 1.6)
        tone = 0.88 - 0.16 * along + 0.12 * sin((patch.x - middle) * np.float32(26))
        patch.paint(patch.fill(edge, 0.06), np.clip(base[:, None, None] * tone, 0.01, 0.98))
        patch.mark(patch.fill(edge, 0.06), PortraitPart.HAIR, 0.62)


def _outline(patch: Patch, p: Person) -> tuple[Array, Array, Array]:
    """Return the signed distance to the head's outline, and the position in units of its radii.

    The position is (right, down).
    """
    b = np.float32(p.chin)
    v = patch.y / b
    below = np.clip(v, 0, 1.2)
    half = np.float32(p.width) * (1 - np.float32(p.jaw) * below * below)
    u = patch.x / half
    k = np.sqrt(u * u + power(np.abs(v), 2.2) + np.float32(1e-8))
    return (k - 1) * np.float32(p.width), u, v


def _head(frame: Frame, p: Person, s: Shot) -> None:
    skin = np.array(p.skin, np.float32)[:, None, None]
    turn = exact_math.sin(s.yaw)
    for sign in (-1, 1):
        cx = sign * (p.width + 0.02) - 0.16 * turn
        patch = frame.window(cx - 0.3, cx + 0.3, -0.4, 0.5)
        ear_tone = 0.86 + 0.12 * s.light[0] * sign
        patch.paint(
            patch.ellipse(cx, 0.06, 0.12, p.ear), np.clip(skin * np.float32(ear_tone), 0, 1)
        )
        patch.mark(patch.ellipse(cx, 0.06, 0.12, p.ear), PortraitPart.SKIN, 0.60)
        patch.shade(0.5 * patch.ellipse(cx, 0.05, 0.06, p.ear * 0.6, 0.03), 0.7)
        if s.earrings:
            patch.paint(patch.ellipse(cx, 0.09 + p.ear, 0.055, 0.075), (0.93, 0.80, 0.36))
            patch.mark(patch.ellipse(cx, 0.09 + p.ear, 0.055, 0.075), PortraitPart.EARRING, 0.62)
    patch = frame.window(-1.0, 1.0, -1.2, 1.2)
    distance, u, v = _outline(patch, p)
    nz = np.sqrt(np.clip(1 - 0.9 * (u * u + v * v * 0.8), 0.02, 1))
    lit = np.clip(u * s.light[0] + v * s.light[1] + nz * s.light[2], 0, 1)
    tone = s.ambient + (1.12 - s.ambient) * lit
    warm = np.array([1.0, 0.96, 0.92], np.float32)[:, None, None]
    # Skin in shadow is redder, because light that scatters inside it comes back red.
    colour = skin * tone * (1 + (warm - 1) * (1.3 - tone))
    gloss = 0.10 * patch.glow(0.35 * s.light[0], -0.5, 0.28, 0.2)
    patch.paint(patch.fill(distance), np.clip(colour + gloss, 0, 1))
    patch.mark(
        patch.fill(distance), PortraitPart.SKIN, 0.60 + 0.28 * rounded(np.sqrt(u * u + v * v))
    )
    if p.style == "bald" or p.beard != "none":
        _stubble(patch, p, s, distance)


def _stubble(patch: Patch, p: Person, s: Shot, distance: Array) -> None:
    inside = patch.fill(distance)
    hair = np.array(p.hair, np.float32)
    if p.style == "bald":
        patch.paint(
            0.16 * inside * patch.fill(np.maximum(patch.y + 0.25, 0.2 - np.abs(patch.x)), 0.1),
            tuple(hair),
        )
    shift = 0.55 * exact_math.sin(s.yaw)
    x = patch.x - np.float32(shift * 0.6)
    if p.beard == "beard":
        jaw = np.maximum(
            np.float32(0.40) - patch.y - np.float32(0.45) * np.clip(np.abs(x) - 0.35, 0, 1),
            distance - 0.05,
        )
        grain = 1 + 0.1 * sin(patch.x * np.float32(40)) * sin(patch.y * np.float32(31))
        patch.paint(0.88 * patch.fill(jaw, 0.07), np.clip(hair[:, None, None] * grain, 0.01, 1))
        patch.mark(
            patch.fill(jaw, 0.07),
            PortraitPart.BEARD,
            0.60 + 0.30 * rounded(distance / np.float32(p.width) + 1),
        )
    elif p.beard == "moustache":
        arc = np.abs(patch.y - np.float32(p.mouth_y - 0.10) - np.float32(0.5) * x * x) - np.float32(
            0.065
        )
        patch.paint(0.92 * patch.fill(np.maximum(arc, np.abs(x) - p.mouth_w), 0.02), tuple(hair))
        patch.mark(patch.fill(np.maximum(arc, np.abs(x) - p.mouth_w), 0.02), PortraitPart.BEARD)


def _develop(canvas: Array, s: Shot, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply light across the scene, exposure, area averaging and sensor noise."""
    small = block_mean(canvas, SUPERSAMPLE)
    line = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size) - 1
    fall = 1 + 0.13 * (s.light[0] * line[None, :] + s.light[1] * line[:, None])
    fall = fall - 0.07 * (squared(line[None, :]) + squared(line[:, None]))
    tint = np.array([1 + s.warmth, 1.0, 1 - s.warmth], np.float32)[:, None, None]
    small = small * (fall * np.float32(s.exposure)) * tint
    small += np.float32(0.012) * smooth_noise(rng, size, 12, 12)
    # Beyond the limit the generator takes its values from the C library's logarithm, within it from
    # whole numbers.
    grain = np.clip(rng.standard_normal(small.shape, dtype=np.float32), -MOST_GRAIN, MOST_GRAIN)
    small += grain * np.float32(s.noise)
    return np.ascontiguousarray(
        (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    )
