"""Hair and hats of the procedural portraits, in two layers: behind the head and over it."""

from __future__ import annotations

import numpy as np

from bench.data import exact_math
from bench.data.exact_arrays import Array, arctan2, cos, decay, sin
from bench.data.portraits.canvas import Frame, Patch, ripple, rounded, squared
from bench.data.portraits.maps import PortraitPart
from bench.data.portraits.people import Person, Shot, stream


def _strands(patch: Patch, p: Person, cx: float, light: float) -> Array:
    """Return the colour of hair with strands from the parting and a soft sheen, ``(3, h, w)``."""
    rng = stream(p.texture_seed, "strands")
    x, y = patch.x - np.float32(cx), patch.y + np.float32(1.15)
    angle = arctan2(x, y + np.float32(0.3))
    radius = np.sqrt(x * x + y * y)
    if p.style == "curly":
        u, v = patch.x * np.float32(13), patch.y * np.float32(13)
        wave = sin(u + 1.6 * sin(v * np.float32(0.7))) * cos(v + 1.4 * sin(u * np.float32(0.6)))
        tone = 1 + (0.34 - 0.18 * p.hair[1]) * wave
    else:
        fine = ripple(angle, rng.uniform(-1, 1, 96).astype(np.float32))
        coarse = ripple(angle, rng.uniform(-1, 1, 26).astype(np.float32))
        tone = 1 + 0.13 * fine + 0.16 * coarse
    sheen = decay(squared((radius - np.float32(0.42)) / np.float32(0.2)))
    tone += (0.24 + 0.22 * light * x) * sheen - 0.14 * np.clip(patch.y, 0, 1.5)
    base: Array = np.array(p.hair, np.float32)[:, None, None]
    colour: Array = np.clip(base * tone + np.float32(0.045) * sheen, 0.01, 0.98)
    return colour


def _skull(patch: Patch, p: Person, cx: float, grow: float) -> Array:
    """Return the signed distance to the head's upper outline widened by ``grow``."""
    a, b = p.width + grow, 1.02 + grow
    u, v = (patch.x - np.float32(cx)) / np.float32(a), (patch.y + np.float32(0.05)) / np.float32(b)
    k = np.sqrt(u * u + v * v + np.float32(1e-8))
    return (k - 1) * np.float32(a)


def _zigzag(x: Array) -> Array:
    """Return a line that falls and rises between 1 at even numbers and 0 at odd ones."""
    height: Array = np.abs(x - 2 * np.floor(x * np.float32(0.5)) - 1)
    return height


def _height(distance: Array, radius: float) -> Array:
    """Return the nearness of a round surface over the head whose outline lies at ``distance``."""
    return 0.58 + 0.32 * rounded(np.clip(distance / np.float32(radius) + 1, 0, 1))


def behind(frame: Frame, p: Person, s: Shot, shift: float) -> None:
    """Paint hair that falls behind face and neck."""
    if p.style in ("short", "bald"):
        return
    patch = frame.window(-1.8, 1.8, -1.7, 2.6)
    grow, rng = p.volume, stream(p.texture_seed, "outline")
    skull = _skull(patch, p, shift, grow)
    if p.style == "curly":
        knots = rng.uniform(-1, 1, 22).astype(np.float32)
        angle = arctan2(patch.x - np.float32(shift), patch.y)
        edge = _skull(patch, p, shift, 0.2 + 1.2 * grow) + np.float32(0.07) * ripple(angle, knots)
        mask = patch.fill(np.maximum(edge, patch.y - np.float32(0.9)), 0.03)
    elif p.style in ("long", "bob"):
        end = 1.75 if p.style == "long" else 0.78
        drop = np.abs(patch.x - np.float32(shift)) - np.float32(p.width + grow + 0.02)
        drop = drop - np.float32(0.10) * np.clip(patch.y, 0, 2) * (1 if p.style == "long" else 0.6)
        wave = np.float32(0.05) * ripple(
            patch.x * np.float32(2), rng.uniform(-1, 1, 24).astype(np.float32)
        )
        lower = np.maximum(np.maximum(drop, -patch.y), patch.y - np.float32(end) + wave)
        mask = patch.fill(np.minimum(skull, lower), 0.02)
    elif p.style == "bun":
        mask = np.maximum(
            patch.ellipse(shift - 0.1 * p.parting, -1.26, 0.36, 0.32), patch.fill(skull)
        )
        mask *= patch.fill(patch.y - 0.2)
    else:
        angle = arctan2(patch.x - np.float32(shift), -patch.y)
        teeth = _zigzag(angle * np.float32(11 / exact_math.PI)) * np.float32(0.24)
        mask = patch.fill(_skull(patch, p, shift, grow + 0.12) + teeth - 0.1) * patch.fill(
            patch.y + 0.25
        )
    patch.paint(mask, _strands(patch, p, shift + 0.3 * p.parting, s.light[0]) * np.float32(0.8))
    patch.mark(mask, PortraitPart.HAIR, 0.50)


def front(frame: Frame, p: Person, s: Shot, shift: float) -> None:
    """Paint hair over skull and forehead; ``shift`` is the centre of the turned head's hairline."""
    if p.style == "bald":
        return
    patch = frame.window(-1.4, 1.4, -1.5, 1.1)
    grow = {"short": 0.5 * p.volume + 0.02, "curly": 0.12 + p.volume, "bun": 0.05}.get(
        p.style, p.volume
    )
    x = (patch.x - np.float32(0.5 * shift)) / np.float32(p.width)
    u = np.abs(x - np.float32(1.2 * shift))
    low = {"short": -0.12, "spiky": -0.2, "bun": 0.05, "curly": 0.25, "bob": 0.72, "long": 1.0}[
        p.style
    ]
    side = np.clip((u - 0.62) / 0.34, 0, 1)
    line = np.float32(p.hairline) + np.float32(0.13) * squared(x - np.float32(p.parting))
    if p.style in ("bob", "long", "short"):
        line = (
            line
            + np.float32(0.16)
            * np.clip(1 - np.abs(x - np.float32(p.parting)) * np.float32(2.2), 0, 1)
            * -1
        )
    if p.style == "bob" and p.hairline > -0.56:
        line = np.full_like(line, np.float32(-0.30))
    if p.style in ("curly", "spiky"):
        knots = stream(p.texture_seed, "fringe").uniform(-1, 1, 18).astype(np.float32)
        line = line + np.float32(0.07) * ripple(x * np.float32(2.2), knots)
    line = line + side * side * (3 - 2 * side) * np.float32(low - p.hairline)
    cap = np.maximum(_skull(patch, p, 0.3 * shift, grow), patch.y - line)
    mask = patch.fill(cap, 0.03)
    patch.shade(0.5 * patch.fill(cap - 0.05, 0.12) * patch.fill(np.abs(patch.x) - p.width), 0.72)
    patch.paint(mask, _strands(patch, p, shift + 0.3 * p.parting, s.light[0]))
    patch.mark(
        mask, PortraitPart.HAIR, _height(_skull(patch, p, 0.3 * shift, grow), p.width + grow)
    )


def hat(frame: Frame, p: Person, s: Shot, shift: float) -> None:
    """Paint the photograph's head-wear over the hair."""
    if s.hat == "none":
        return
    patch = frame.window(-1.9, 1.9, -1.9, 0.1)
    base = np.array(s.hat_colour, np.float32)[:, None, None]
    x = patch.x - np.float32(0.4 * shift)
    grow = 0.10 + 0.6 * p.volume
    half = p.width + grow
    tone = 1 + 0.28 * s.light[0] * x / np.float32(half) - 0.18 * squared(x / np.float32(half))
    rim = -0.52 + 0.10 * squared(x / np.float32(half))
    if s.hat == "beanie":
        dome = np.maximum(_skull(patch, p, 0.4 * shift, grow + 0.05), patch.y - rim - 0.04)
        ribs = 1 + 0.12 * sin(x * np.float32(30))
        patch.paint(patch.fill(dome), np.clip(base * tone * ribs, 0.02, 0.98))
        round_top = _height(_skull(patch, p, 0.4 * shift, grow + 0.05), half + 0.05)
        patch.mark(patch.fill(dome), PortraitPart.HAT, round_top)
        fold = np.maximum(np.abs(x) - (half + 0.03), np.abs(patch.y - rim + 0.10) - 0.14)
        patch.paint(
            patch.fill(fold, 0.02), np.clip(base * tone * ribs * np.float32(0.78), 0.02, 0.98)
        )
        patch.mark(patch.fill(fold, 0.02), PortraitPart.HAT, round_top + 0.04)
    elif s.hat == "cap":
        dome = np.maximum(_skull(patch, p, 0.4 * shift, grow), patch.y - rim)
        patch.paint(patch.fill(dome), np.clip(base * tone, 0.02, 0.98))
        patch.mark(
            patch.fill(dome), PortraitPart.HAT, _height(_skull(patch, p, 0.4 * shift, grow), half)
        )
        patch.shade(patch.fill(np.abs(x - 1.2 * shift) - 0.012) * patch.fill(dome), 0.75)
        cx = 0.4 * shift + 1.1 * shift
        patch.shade(0.6 * patch.ellipse(cx, -0.40, half * 0.95, 0.16, 0.08), 0.55)
        patch.paint(
            patch.ellipse(cx, -0.50, half * 0.98, 0.135),
            np.clip(base * np.float32(0.72), 0.02, 0.98),
        )
        patch.mark(patch.ellipse(cx, -0.50, half * 0.98, 0.135), PortraitPart.HAT, 0.96)
    else:
        crown = np.maximum(
            np.abs(x) - (half * 0.92 + 0.1 * (patch.y + 0.6)), np.abs(patch.y + 0.95) - 0.45
        )
        patch.paint(patch.fill(crown - 0.04, 0.02), np.clip(base * tone, 0.02, 0.98))
        patch.mark(
            patch.fill(crown - 0.04, 0.02),
            PortraitPart.HAT,
            0.58 + 0.30 * rounded(x / np.float32(half)),
        )
        ribbon = np.maximum(crown - 0.03, np.abs(patch.y + 0.66) - 0.08)
        patch.shade(patch.fill(ribbon), 0.45)
        patch.shade(0.6 * patch.ellipse(0.4 * shift, -0.40, half * 1.2, 0.14, 0.08), 0.6)
        patch.paint(
            patch.ellipse(0.4 * shift, -0.53, half * 1.62, 0.13),
            np.clip(base * tone * np.float32(0.88), 0.02, 0.98),
        )
        patch.mark(patch.ellipse(0.4 * shift, -0.53, half * 1.62, 0.13), PortraitPart.HAT, 0.94)
