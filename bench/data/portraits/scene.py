"""Backgrounds and clothes of the procedural portraits."""

from __future__ import annotations

import numpy as np

from bench.data import exact_math
from bench.data.exact_arrays import Array, sin
from bench.data.portraits.canvas import Frame, rounded, smooth_noise, squared
from bench.data.portraits.maps import PortraitPart
from bench.data.portraits.people import Person, Shot

DEPTH = {"sky": 0.0, "sea": 0.03, "trees": 0.10, "studio": 0.15}
"""Nearness of scenes that are no wall close behind the person."""


def _rgb(*values: float) -> Array:
    return np.array(values, np.float32)[:, None, None]


def background(frame: Frame, s: Shot, rng: np.random.Generator) -> None:
    """Paint the scene behind the person; ``frame`` spans the canvas, [-1, 1] both ways."""
    patch = frame.whole()
    n, x, y = patch.x.shape[0], patch.x, patch.y
    patch.mark(np.ones_like(x), PortraitPart.BACKGROUND, DEPTH.get(s.scene, 0.22))
    base = _rgb(*s.scene_colour)
    cloud = smooth_noise(rng, n, 5, 5)
    if s.scene == "wall":
        spot = patch.glow(float(rng.uniform(-0.8, 0.8)), float(rng.uniform(-0.9, 0)), 1.2, 1.2)
        patch.pixels[:] = base * (
            0.72 + 0.3 * spot + 0.05 * cloud + 0.03 * smooth_noise(rng, n, 24, 24)
        )
    elif s.scene == "brick wall":
        _bricks(frame, rng)
    elif s.scene == "sky":
        height = np.clip((y + 1) / 2, 0, 1)
        blue, pale = _rgb(0.28, 0.50, 0.82), _rgb(0.72, 0.83, 0.93)
        cover = np.clip(
            0.35 + 0.9 * smooth_noise(rng, n, 4, 3) + 0.35 * smooth_noise(rng, n, 9, 6), 0, 1
        )
        patch.pixels[:] = blue + (pale - blue) * height
        patch.paint(cover, (0.95, 0.95, 0.96))
    elif s.scene == "trees":
        leaves = 0.5 + 0.35 * smooth_noise(rng, n, 6, 6) + 0.3 * smooth_noise(rng, n, 13, 13)
        patch.pixels[:] = _rgb(0.10, 0.22, 0.09) + _rgb(0.28, 0.40, 0.16) * np.clip(leaves, 0, 1)
        for _ in range(5):
            cx, cy, r = rng.uniform(-1, 1), rng.uniform(-1, 0.3), rng.uniform(0.06, 0.16)
            near = frame.window(
                float(cx) - 0.25, float(cx) + 0.25, float(cy) - 0.25, float(cy) + 0.25
            )
            near.paint(
                0.55 * near.ellipse(float(cx), float(cy), float(r), float(r), 0.05),
                (0.78, 0.84, 0.55),
            )
    elif s.scene == "bookshelf":
        _books(frame, rng)
    elif s.scene == "curtain":
        folds = sin(
            x * np.float32(rng.uniform(9, 15)) + 1.3 * cloud + np.float32(rng.uniform(0, 6))
        )
        patch.pixels[:] = base * (0.78 + 0.2 * folds)
    elif s.scene == "sea":
        line = float(rng.uniform(-0.25, 0.15))
        blue = _rgb(0.56, 0.76, 0.92)
        patch.pixels[:] = blue + _rgb(0.3, 0.18, 0.04) * np.clip((y + 1) / 2, 0, 1)
        waves = 0.5 + 0.5 * smooth_noise(rng, n, 26, 5)
        patch.paint(patch.fill(line - y), _rgb(0.08, 0.32, 0.48) + _rgb(0.14, 0.20, 0.18) * waves)
        patch.paint(patch.fill(line + 0.75 - y + 0.06 * cloud), (0.86, 0.77, 0.58))
    else:
        spot = patch.glow(float(rng.uniform(-0.5, 0.5)), -0.3, 1.1, 1.1)
        patch.pixels[:] = (base * 0.25 + 0.1) * (0.35 + 0.9 * spot)
    np.clip(patch.pixels, 0.02, 0.98, out=patch.pixels)


def _bricks(frame: Frame, rng: np.random.Generator) -> None:
    patch = frame.whole()
    n = patch.x.shape[0]
    height, width = float(rng.uniform(0.17, 0.23)), float(rng.uniform(0.42, 0.55))
    v = (patch.y + 1) / np.float32(height)
    row = np.floor(v).astype(np.int64)
    u = (patch.x + 1) / np.float32(width) + np.float32(0.5) * (row % 2).astype(np.float32)
    column = np.floor(u).astype(np.int64)
    tone = rng.uniform(0.8, 1.15, (64, 64)).astype(np.float32)[row % 64, column % 64]
    base = _rgb(0.60, 0.30, 0.22) if rng.uniform() < 0.7 else _rgb(0.66, 0.60, 0.52)
    patch.pixels[:] = base * tone * (1 + 0.08 * smooth_noise(rng, n, 20, 20))
    du, dv = (
        np.abs(u - column - 0.5) * np.float32(width),
        np.abs(v - row - 0.5) * np.float32(height),
    )
    joint = np.maximum(du - np.float32(width / 2 - 0.015), dv - np.float32(height / 2 - 0.015))
    patch.paint(patch.fill(-joint, 0.01), (0.74, 0.71, 0.66))


def _books(frame: Frame, rng: np.random.Generator) -> None:
    patch = frame.whole()
    n = patch.x.shape[0]
    step = float(rng.uniform(0.55, 0.7))
    v = (patch.y + 1.15) / np.float32(step)
    row = np.floor(v).astype(np.int64)
    edges = np.cumsum(rng.uniform(0.07, 0.15, (5, 40)), axis=1).astype(np.float32) - 1.05
    tones = rng.uniform(0.15, 0.75, (5, 41, 3)).astype(np.float32)
    tops = rng.uniform(0.1, 0.32, (5, 41)).astype(np.float32)
    line = patch.x[0]
    pixels = patch.pixels
    for r in range(int(row.max()) + 1):
        rows = np.flatnonzero(row[:, 0] == r)
        if not len(rows):
            continue
        book = np.searchsorted(edges[r % 5], line)
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        inside = (v[span] - r) > tops[r % 5, book][None, :]
        colour = tones[r % 5, book].T[:, None, :]
        pixels[:, span] = np.where(inside, colour, _rgb(0.12, 0.09, 0.07))
        near = np.abs(line - edges[r % 5][np.minimum(book, 39)])
        pixels[:, span] *= np.where(near < 0.02, np.float32(0.6), np.float32(1.0))[None, None, :]
    shelf = np.abs(v - np.round(v)) * np.float32(step)
    patch.paint(patch.fill(shelf - 0.035), (0.45, 0.30, 0.18))
    pixels *= 0.85 + 0.08 * smooth_noise(rng, n, 4, 4)


def clothes(frame: Frame, p: Person, s: Shot, rng: np.random.Generator) -> None:
    """Paint shoulders and clothes; ``frame`` is upright, in head units around the face's centre."""
    patch = frame.window(-5, 5, 1.0, 5)
    if not patch.x.size:
        return
    lean = 0.15 * s.yaw
    x, y = patch.x - np.float32(lean), patch.y
    broad = 1.55 if p.noun == "woman" else 1.8
    slope = np.float32(0.30) * squared(x / np.float32(broad)) + np.float32(2.2) * np.clip(
        np.abs(x) / np.float32(broad) - 1, 0, None
    )
    body = patch.fill(np.float32(1.30) + slope - y)
    colour = _rgb(*s.clothes_colour)
    n = frame.pixels.shape[1]
    folds = smooth_noise(rng, n, 7, 9)[-y.shape[0] :, : y.shape[1]]
    tone = 1.0 + 0.16 * folds + 0.25 * s.light[0] * np.clip(x / np.float32(broad), -1, 1)
    tone *= 1.04 - 0.12 * np.clip(np.abs(x) / np.float32(broad), 0, 1.4)
    cloth = colour * tone
    if s.clothes == "striped shirt":
        other = (
            _rgb(0.93, 0.92, 0.88)
            if max(s.clothes_colour) < 0.85 or min(s.clothes_colour) < 0.5
            else _rgb(0.2, 0.25, 0.45)
        )
        band = np.clip(
            0.5 + 2.5 * sin((y + np.float32(0.12) * x * x) * np.float32(2 * exact_math.PI / 0.27)),
            0,
            1,
        )
        cloth = cloth + band * (other * tone - cloth)
    elif s.clothes == "sweater":
        cloth = cloth * (1 + 0.07 * sin(x * np.float32(34)))
    patch.paint(body, np.clip(cloth, 0.02, 0.98))
    depth = 0.42 + 0.16 * rounded(x / np.float32(1.6 * broad)) + 0.03 * np.clip(y - 1.3, 0, 2)
    patch.mark(body, PortraitPart.CLOTHES, depth)
    dark, light = colour * np.float32(0.62), np.clip(colour * np.float32(1.18) + 0.05, 0, 1)
    skin = np.array(p.skin, np.float32)[:, None, None]
    if s.clothes in ("shirt", "striped shirt"):
        collar = np.abs(x) * np.float32(1.5) - (np.float32(1.78) - y)
        patch.paint(patch.fill(collar) * body, skin * np.float32(0.86))
        patch.mark(patch.fill(collar) * body, PortraitPart.NECK)
        flaps = patch.fill(np.abs(collar - 0.14) - 0.13) * patch.fill(np.abs(x) - 0.62) * body
        patch.paint(flaps, light * tone)
        patch.mark(flaps, PortraitPart.CLOTHES)
        patch.shade(
            patch.fill(np.abs(collar - 0.28) - 0.02) * patch.fill(np.abs(x) - 0.64) * body, 0.72
        )
        patch.shade(patch.fill(np.abs(x) - 0.012) * patch.fill(1.8 - y) * body, 0.7)
    elif s.clothes == "sweater":
        ring = (
            np.sqrt(
                squared(x / np.float32(0.60)) + squared((y - np.float32(1.2)) / np.float32(0.40))
            )
            - 1
        )
        patch.paint(patch.fill(ring * 0.4) * body, skin * np.float32(0.84))
        patch.mark(patch.fill(ring * 0.4) * body, PortraitPart.NECK)
        patch.paint(patch.fill(np.abs(ring * 0.4 - 0.05) - 0.05) * body, dark)
        patch.mark(patch.fill(np.abs(ring * 0.4 - 0.05) - 0.05) * body, PortraitPart.CLOTHES)
    elif s.clothes == "jacket":
        opening = np.abs(x) * np.float32(1.15) - (np.float32(2.25) - y) * np.float32(0.62)
        inner = _rgb(0.90, 0.90, 0.88) if max(s.clothes_colour) < 0.8 else _rgb(0.25, 0.27, 0.33)
        patch.paint(patch.fill(opening) * body, inner * tone)
        patch.paint(patch.fill(np.abs(x) * 1.4 - (1.62 - y)) * body, skin * np.float32(0.84))
        patch.mark(patch.fill(np.abs(x) * 1.4 - (1.62 - y)) * body, PortraitPart.NECK)
        lapel = patch.fill(np.abs(opening - 0.10) - 0.10) * patch.fill(np.abs(x) - 0.85) * body
        patch.paint(lapel, np.clip(dark * tone * np.float32(1.15), 0, 1))
        patch.mark(lapel, PortraitPart.CLOTHES)
    else:
        hood = (
            np.sqrt(
                squared(x / np.float32(0.88)) + squared((y - np.float32(1.28)) / np.float32(0.36))
            )
            - 1
        )
        patch.paint(
            patch.fill(np.abs(hood * 0.4 - 0.0) - 0.12),
            np.clip(dark * tone * np.float32(1.2), 0, 1),
        )
        patch.mark(patch.fill(np.abs(hood * 0.4 - 0.0) - 0.12), PortraitPart.CLOTHES, depth)
        for sign in (-1, 1):
            cord = np.abs(x - np.float32(sign * 0.2)) - 0.018
            patch.paint(patch.fill(cord) * patch.fill(np.abs(y - 1.9) - 0.28) * body, light)
