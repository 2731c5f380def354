"""Facial features of the procedural portraits: eyes, brows, nose, mouth, glasses.

A feature sits on a sphere that turns with the head: one at angle ``a`` from the face's axis appears
at ``width * sin(a + yaw)`` and is narrowed by the cosine.
"""

from __future__ import annotations

import numpy as np

from bench.data import exact_math
from bench.data.exact_arrays import Array, decay
from bench.data.portraits.canvas import Frame, squared
from bench.data.portraits.maps import PortraitPart
from bench.data.portraits.people import Person, Shot, stream

LID = {"smiling": 0.86, "serious": 0.95, "laughing": 0.62, "sad": 0.85, "surprised": 1.28}
BROW = {"smiling": 0.02, "serious": -0.01, "laughing": 0.03, "sad": 0.02, "surprised": 0.10}
BROW_TILT = {"smiling": 0.0, "serious": 0.10, "laughing": 0.0, "sad": -0.32, "surprised": 0.0}
CURVE = {"smiling": 0.11, "serious": 0.0, "laughing": 0.10, "sad": -0.09, "surprised": 0.0}


def place(p: Person, s: Shot, x: float) -> tuple[float, float]:
    """Return where a feature at ``x`` appears on the turned head, and its factor of width."""
    angle = exact_math.arcsin(min(max(x / p.width, -0.95), 0.95))
    return p.width * exact_math.sin(angle + s.yaw), max(
        0.35, exact_math.cos(angle + s.yaw) / exact_math.cos(angle)
    )


def features(frame: Frame, p: Person, s: Shot) -> None:
    """Paint all features on a head that is already painted."""
    _cheeks(frame, p, s)
    _nose(frame, p, s)
    _mouth(frame, p, s)
    for sign in (-1, 1):
        cx, squeeze = place(p, s, sign * p.eye_gap)
        _eye(frame, p, s, sign, cx, squeeze)
        _brow(frame, p, s, sign, cx, squeeze)
    if s.glasses != "none":
        _glasses(frame, p, s)


def _cheeks(frame: Frame, p: Person, s: Shot) -> None:
    patch = frame.window(-0.8, 0.8, -0.3, 0.9)
    for sign in (-1, 1):
        cx, _ = place(p, s, sign * 0.42)
        glow = patch.glow(cx, 0.34, 0.2, 0.16)
        red = np.array([p.skin[0], p.skin[1] * 0.72, p.skin[2] * 0.70], np.float32)
        patch.paint(0.28 * glow, (float(red[0]), float(red[1]), float(red[2])))
        if p.age > 0.45:
            fold, _ = place(p, s, sign * 0.27)
            patch.shade(0.5 * p.age * patch.glow(fold + sign * 0.06, 0.46, 0.045, 0.17), 0.68)
    if p.freckles:
        rng = stream(p.texture_seed, "freckles")
        for fx, fy in zip(rng.uniform(-0.5, 0.5, 14), rng.uniform(0.12, 0.42, 14), strict=True):
            cx, _ = place(p, s, float(fx))
            patch.shade(0.45 * patch.glow(cx, float(fy), 0.022, 0.022), 0.7)


def _eye(frame: Frame, p: Person, s: Shot, sign: int, cx: float, squeeze: float) -> None:
    w, h = p.eye_w * squeeze, p.eye_h * LID[s.expression]
    y0 = p.eye_y
    patch = frame.window(cx - 0.4, cx + 0.4, y0 - 0.35, y0 + 0.35)
    if not patch.x.size:
        return
    patch.shade(patch.glow(cx - sign * 0.05, y0 - 0.06, w * 1.35, 0.17), 0.80)
    x = patch.x - np.float32(cx)
    y = patch.y - np.float32(y0) + np.float32(sign * p.eye_slant) * x
    u = np.clip(1 - squared(x / np.float32(w)), -0.6, 1)
    opening = np.abs(y) - np.float32(h) * u
    almond = patch.fill(opening)
    patch.paint(almond, (0.93, 0.92, 0.90))
    patch.mark(almond, PortraitPart.EYE)
    ix, r = cx + s.gaze * 0.3 * w + 0.12 * s.yaw * w, min(0.098, p.eye_h * 0.94)
    iris = patch.ellipse(ix, y0, r * max(squeeze, 0.75), r)
    patch.paint(iris * almond, tuple(0.45 * c for c in p.eye))  # type: ignore[arg-type]
    patch.paint(
        patch.ellipse(ix, y0 + 0.01, r * 0.78 * max(squeeze, 0.75), r * 0.78) * almond, p.eye
    )
    patch.paint(patch.ellipse(ix, y0, r * 0.42, r * 0.42) * almond, (0.03, 0.03, 0.03))
    patch.shade(almond * np.clip(1 + (y + h * 0.2) / np.float32(-h), 0, 1), 0.62)
    side = 1 if s.light[0] > 0 else -1
    patch.paint(
        0.95 * patch.ellipse(ix + side * 0.35 * r, y0 - 0.38 * r, r * 0.27, r * 0.27) * almond,
        (1.0, 1.0, 1.0),
    )
    lash = 0.030 if p.noun == "woman" else 0.020
    upper = np.maximum(np.abs(y + np.float32(h) * u) - lash, np.abs(x) - np.float32(w * 1.08))
    patch.paint(0.9 * patch.fill(upper), (0.10, 0.07, 0.06))
    lower = np.maximum(np.abs(y - np.float32(h) * u) - 0.008, np.abs(x) - np.float32(w))
    patch.shade(patch.fill(lower), 0.7)


def _brow(frame: Frame, p: Person, s: Shot, sign: int, cx: float, squeeze: float) -> None:
    w = p.eye_w * squeeze * 1.22
    y0 = p.eye_y - p.brow_y - BROW[s.expression]
    patch = frame.window(cx - 0.4, cx + 0.4, y0 - 0.25, y0 + 0.25)
    if not patch.x.size:
        return
    t = (patch.x - np.float32(cx)) * np.float32(sign / w)
    slope = p.brow_tilt * 0.5 + BROW_TILT[s.expression]
    middle = np.float32(y0) - np.float32(slope) * t * np.float32(w) + np.float32(0.05) * t * t
    thick = np.float32(p.brow_w) * np.clip(1.05 - 0.45 * t, 0.2, 1.5)
    band = np.maximum(np.abs(patch.y - middle) - thick, (np.abs(t) - 1) * np.float32(w))
    tone = 0.75 if p.hair_name in ("blond", "grey", "pink") else 0.9
    base = p.hair if p.hair_name != "pink" else (0.35, 0.22, 0.15)
    patch.mark(patch.fill(band, 0.02), PortraitPart.BROW)
    patch.paint(0.88 * patch.fill(band, 0.02), (base[0] * tone, base[1] * tone, base[2] * tone))


def _nose(frame: Frame, p: Person, s: Shot) -> None:
    top, tip = p.eye_y, p.eye_y + p.nose_len
    patch = frame.window(-0.75, 0.75, top - 0.25, tip + 0.25)
    cx, squeeze = place(p, s, 0.0)
    ridge = cx * 1.18
    patch.lift(
        0.08 * patch.glow(ridge, tip - 0.03, p.nose_w, 0.12)
        + 0.04 * patch.glow(ridge, tip - 0.2, 0.07, 0.2)
    )
    side = -1.0 if s.light[0] > 0 else 1.0
    strength = 0.35 + 0.65 * abs(s.light[0])
    flank = patch.glow(ridge + side * 0.085, tip - 0.16, 0.06, 0.24)
    patch.shade(strength * flank, 0.70)
    patch.shade(0.6 * patch.glow(ridge, tip + 0.075, p.nose_w * 1.15, 0.05), 0.55)
    light = tuple(min(1.0, c * 1.16 + 0.03) for c in p.skin)
    patch.paint(0.5 * patch.glow(ridge, tip - 0.22, 0.035, 0.2), light)  # type: ignore[arg-type]
    patch.paint(0.6 * patch.glow(ridge - side * 0.02, tip - 0.03, 0.05, 0.045), light)  # type: ignore[arg-type]
    dark = tuple(0.32 * c for c in p.skin)
    for sign in (-1, 1):
        nx = ridge + sign * p.nose_w * 0.56 * squeeze
        patch.shade(
            0.7 * patch.glow(ridge + sign * p.nose_w * 1.05 * squeeze, tip - 0.01, 0.035, 0.07),
            0.66,
        )
        patch.paint(0.85 * patch.ellipse(nx, tip + 0.035, 0.036, 0.022, 0.015), dark)  # type: ignore[arg-type]


def _mouth(frame: Frame, p: Person, s: Shot) -> None:
    cx, squeeze = place(p, s, 0.0)
    cx *= 1.05
    wide = {"smiling": 1.18, "laughing": 1.22, "surprised": 0.62, "sad": 0.95, "serious": 0.95}[
        s.expression
    ]
    w = p.mouth_w * squeeze * wide
    patch = frame.window(cx - 0.6, cx + 0.6, p.mouth_y - 0.3, p.mouth_y + 0.4)
    u = (patch.x - np.float32(cx)) / np.float32(w)
    dome = np.clip(1 - u * u, 0, 1)
    middle = np.float32(p.mouth_y) + np.float32(CURVE[s.expression]) * (dome - np.float32(0.6))
    gap = {"laughing": 0.13, "surprised": 0.19, "smiling": 0.035}.get(s.expression, 0.0)
    inside = patch.fill((np.abs(u) - 1) * np.float32(w))
    red = p.lips_red
    lips = np.array(
        [p.skin[0] * 0.90, p.skin[1] * (0.72 - 0.34 * red), p.skin[2] * (0.74 - 0.30 * red)],
        np.float32,
    )
    root = np.sqrt(dome)
    top = middle - np.float32(gap * 0.4) * dome
    bottom = middle + np.float32(gap * 0.6) * root
    cupid = np.float32(p.lip) * (root - np.float32(0.28) * decay(squared(u / np.float32(0.2))))
    upper, lower = top - cupid, bottom + np.float32(1.25 * p.lip) * root
    whole = patch.fill(np.maximum(upper - patch.y, patch.y - lower)) * inside
    patch.shade(0.7 * patch.glow(cx, p.mouth_y + 0.16 + gap * 0.5, w * 0.6, 0.05), 0.72)
    patch.mark(whole, PortraitPart.MOUTH)
    patch.paint(whole, (float(lips[0] * 0.88), float(lips[1] * 0.88), float(lips[2] * 0.88)))
    shine = 0.35 * patch.glow(cx, p.mouth_y + 0.6 * p.lip + gap * 0.6, w * 0.5, 0.04)
    below = patch.fill(np.maximum(bottom - patch.y, patch.y - lower)) * inside
    patch.paint(below, (float(lips[0]), float(lips[1]), float(lips[2])))
    patch.paint(shine * whole, tuple(min(1.0, float(c) * 1.25 + 0.06) for c in lips))  # type: ignore[arg-type]
    if gap > 0:
        hole = patch.fill(np.maximum(top - patch.y, patch.y - bottom)) * inside
        patch.paint(hole, (0.22, 0.05, 0.06))
        patch.mark(hole, PortraitPart.MOUTH)
        if s.expression != "surprised":
            teeth = patch.fill(
                np.maximum(top - patch.y, patch.y - top - np.float32(min(gap, 0.075)))
            )
            patch.paint(
                teeth * hole * patch.fill((np.abs(u) - 0.86) * np.float32(w)), (0.95, 0.94, 0.90)
            )
    else:
        seam = np.abs(patch.y - middle) - 0.012
        patch.paint(
            0.85 * patch.fill(seam) * inside,
            (float(lips[0] * 0.4), float(lips[1] * 0.35), float(lips[2] * 0.35)),
        )


def _radius(u: Array, v: Array, is_round: bool) -> Array:
    """Return the distance from the middle of a lens in units of its radii.

    The norm is Euclidean, or that of fourth powers.
    """
    u, v = squared(u), squared(v)
    if is_round:
        return np.sqrt(u + v + np.float32(1e-6))
    return np.sqrt(np.sqrt(u * u + v * v + np.float32(1e-6)))


def _glasses(frame: Frame, p: Person, s: Shot) -> None:
    patch = frame.window(-0.95, 0.95, p.eye_y - 0.4, p.eye_y + 0.45)
    y0 = p.eye_y + 0.03
    rng = stream(s.texture_seed, "glasses")
    frames = ((0.07, 0.06, 0.06), (0.38, 0.20, 0.10), (0.55, 0.55, 0.58), (0.45, 0.08, 0.10))
    colour = frames[int(rng.integers(4))] if s.glasses != "sunglasses" else frames[0]
    thick = 0.032
    ends = []
    for sign in (-1, 1):
        cx, squeeze = place(p, s, sign * p.eye_gap)
        a, b = 0.265 * squeeze, (0.245 if s.glasses == "round" else 0.185)
        u, v = (
            np.abs((patch.x - np.float32(cx)) / np.float32(a)),
            np.abs((patch.y - np.float32(y0)) / np.float32(b)),
        )
        edge = (_radius(u, v, s.glasses == "round") - 1) * np.float32(b)
        if s.glasses == "sunglasses":
            patch.paint(0.94 * patch.fill(edge), (0.05, 0.05, 0.07))
            patch.mark(patch.fill(edge), PortraitPart.GLASSES)
            patch.paint(
                0.30 * patch.glow(cx - 0.06, y0 - 0.08, 0.10, 0.05) * patch.fill(edge),
                (0.8, 0.85, 0.95),
            )
        else:
            patch.paint(0.07 * patch.fill(edge), (0.9, 0.95, 1.0))
        patch.paint(patch.fill(np.abs(edge) - thick), colour)
        patch.mark(patch.fill(np.abs(edge) - thick), PortraitPart.GLASSES)
        ends.append((cx - sign * a, cx + sign * a))
    bridge = np.maximum(
        np.abs(patch.y - (y0 - 0.04)) - 0.022,
        np.maximum(ends[0][0] - patch.x, patch.x - ends[1][0]),
    )
    patch.paint(patch.fill(bridge), colour)
    patch.mark(patch.fill(bridge), PortraitPart.GLASSES)
    for sign, (_, outer) in zip((-1, 1), ends, strict=True):
        reach = np.maximum(
            sign * (np.float32(outer) - patch.x), np.abs(patch.x) - np.float32(p.width)
        )
        arm = np.maximum(np.abs(patch.y - (y0 - 0.05)) - 0.02, reach)
        patch.paint(patch.fill(arm), colour)
        patch.mark(patch.fill(arm), PortraitPart.GLASSES)
