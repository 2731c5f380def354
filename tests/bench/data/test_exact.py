"""The functions that drawing uses are right, and drawing uses no others."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.feature import canny

from bench.data import conditions, exact_arrays, exact_math, smoothing
from bench.data.portraits import canvas as portrait_canvas
from bench.data.portraits.people import person, shot
from bench.data.portraits.render import draw

DATA = Path(exact_math.__file__).parent
FILES = (
    "conditions",
    "exact_math",
    "exact_arrays",
    "fill",
    "photos/dataset",
    "smoothing",
    "portraits/*",
)
DRAWING = sorted(
    file for name in FILES for file in DATA.glob(f"{name}.py") if file.name != "__init__.py"
)

_NUMPY = """
random Generator PCG64 SeedSequence abs add append arange array asarray ascontiguousarray bool_
broadcast_to clip copysign cumsum empty empty_like finfo flatnonzero float32 float64 floating floor
full_like int32 int64 intp maximum minimum multiply ones ones_like repeat round searchsorted sqrt
stack uint8 where zeros
"""
NUMPY = frozenset(_NUMPY.split())
"""What IEEE 754 fixes, running sums, whole numbers, and the bits of the generator."""
MATH = frozenset({"factorial", "floor", "frexp", "fsum", "ldexp", "sqrt"})
METHODS = frozenset(
    {"dot", "exponential", "mean", "normal", "prod", "standard_normal", "std", "var"}
)
"""Of arrays and generators: sums in an order that is not stated, or logarithms of the C library."""
CUT = {"rng.normal", "rng.standard_normal"}
"""Allowed, since drawing cuts off the tails, where alone the logarithms enter the values."""


def inexact(tree: ast.AST) -> Iterator[str]:
    """What a module uses that may round differently on another processor."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module="math", names=names):
                yield from (f"math.{alias.name}" for alias in names if alias.name not in MATH)
            case ast.ImportFrom(module="numpy", names=names):
                yield from (f"numpy.{alias.name}" for alias in names)
            case ast.Attribute(value=ast.Name("math"), attr=name) if name not in MATH:
                yield f"math.{name}"
            case ast.Attribute(value=ast.Name("np") | ast.Attribute(ast.Name("np")), attr=name) if (
                name not in NUMPY
            ):
                yield ast.unparse(node)
            case ast.Attribute(attr=name) if name in METHODS:
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="sum")) if "dtype=np.int64" not in ast.unparse(
                node
            ):
                yield ast.unparse(node)
            case ast.BinOp(op=ast.MatMult()):
                yield ast.unparse(node)
            case ast.BinOp(op=ast.Pow(), left=left, right=right) if not (
                _whole(left) and _whole(right)
            ):
                yield ast.unparse(node)


def _whole(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def test_the_reader_sees_what_it_should() -> None:
    imports = "from math import sin, sqrt\nfrom numpy import exp\n"
    code = imports + "np.exp(x); a @ b; x ** 2; x.mean(); x.sum(); np.linalg.norm(x); math.cos(x)"
    expected = {
        "math.sin",
        "numpy.exp",
        "np.exp",
        "a @ b",
        "x ** 2",
        "x.mean",
        "x.sum()",
        "np.linalg",
        "math.cos",
    }
    assert expected <= set(inexact(ast.parse(code)))
    assert not set(inexact(ast.parse("np.sqrt(x)\n2**31\nx.sum(dtype=np.int64)\nx * x")))


@pytest.mark.parametrize("file", DRAWING, ids=lambda file: file.name)
def test_drawing_uses_exact_operations_alone(file: Path) -> None:
    assert set(inexact(ast.parse(file.read_text()))) - CUT == set()


@pytest.mark.parametrize(
    ("function", "reference", "low", "high"),
    [
        (exact_math.sin, math.sin, -1000, 1000),
        (exact_math.cos, math.cos, -1000, 1000),
        (exact_math.sin, math.sin, -4, 4),
        (exact_math.cos, math.cos, -4, 4),
        (exact_math.arctan, math.atan, -50, 50),
        (exact_math.arcsin, math.asin, -0.999, 0.999),
        (exact_math.exp, math.exp, -700, 1),
        (exact_math.log, math.log, 1e-3, 5000),
    ],
)
def test_functions_agree_with_the_c_library(
    function: Callable[[float], float], reference: Callable[[float], float], low: float, high: float
) -> None:
    for x in np.random.default_rng(0).uniform(low, high, 4000).tolist():
        assert function(x) == pytest.approx(reference(x), rel=1e-15, abs=1e-15)


def test_special_values() -> None:
    assert [
        exact_math.sin(0.0),
        exact_math.arctan(0.0),
        exact_math.log(1.0),
        exact_math.power(0.0, 2.2),
    ] == [0.0] * 4
    assert [exact_math.exp(0.0), exact_math.cos(0.0), exact_math.power(1.0, 2.2)] == [1.0] * 3
    assert exact_math.arctan(1e100) == pytest.approx(math.pi / 2, abs=1e-15)


def assert_close(a: np.ndarray, b: np.ndarray, within: float = 1e-6) -> None:
    assert a.dtype == np.float32
    assert float(np.abs(a.astype(np.float64) - b).max()) < within


def test_arrays_agree_with_numpy() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 30, (70, 90)).astype(np.float32)
    signed, other = (rng.uniform(-30, 30, (70, 90)).astype(np.float32) for _ in range(2))
    assert_close(exact_arrays.decay(x), np.exp(-x.astype(np.float64)))
    assert_close(exact_arrays.sin(signed), np.sin(signed.astype(np.float64)))
    assert_close(exact_arrays.cos(signed), np.cos(signed.astype(np.float64)))
    assert_close(exact_arrays.arctan2(signed, other), np.arctan2(signed.astype(np.float64), other))
    part = x * np.float32(4 / 30)
    assert_close(exact_arrays.power(part, 2.2), part.astype(np.float64) ** 2.2, 4e-6)
    blocks = exact_arrays.block_mean(x, 2)
    assert_close(blocks, x.astype(np.float64).reshape(35, 2, 45, 2).mean(axis=(1, 3)), 4e-6)


def test_angles_on_the_axes() -> None:
    y, x = (np.array(v, np.float32) for v in ([0, 1, 0, -1, 0], [1, 0, -1, 0, 0]))
    assert_close(exact_arrays.arctan2(y, x), np.array([0, math.pi / 2, math.pi, -math.pi / 2, 0]))


def test_a_table_is_constant_beyond_its_end() -> None:
    table = exact_arrays.InterpolationTable.sampled(lambda x: x, 2, 4)
    assert table(np.array([0.0, 0.1, 2.0, 9.0], np.float32)).tolist() == pytest.approx(
        [0.0, 0.1, 2.0, 2.0]
    )


def test_coarse_noise_is_interpolated_between_its_knots() -> None:
    noise = portrait_canvas.smooth_noise(np.random.default_rng(0), 1000, 4, 3)
    knots = np.random.default_rng(0).uniform(-1, 1, (5, 4))
    assert noise.shape == (1000, 1000)
    assert noise[0, 0] == pytest.approx(knots[0, 0], abs=1e-3)
    assert noise[-1, -1] == pytest.approx(knots[-1, -1], abs=1e-3)
    assert noise[500, 0] == pytest.approx(knots[2, 0], abs=1e-3)
    assert noise[125, 0] == pytest.approx((knots[0, 0] + knots[1, 0]) / 2, abs=5e-3)


@pytest.mark.parametrize("sigma", [0.6, 1.0, 4.0])
def test_smoothing_is_that_of_scipy(sigma: float) -> None:
    plane = np.random.default_rng(0).uniform(0, 1, (40, 50))
    for mode in ("nearest", "constant"):
        assert smoothing.smooth(plane, sigma, mode) == pytest.approx(
            gaussian_filter(plane, sigma, mode=mode), abs=1e-14
        )
    assert smoothing.smooth_inside(np.ones((20, 30)), sigma) == pytest.approx(
        np.ones((20, 30)), abs=1e-14
    )


def test_edges_are_those_of_scikit_image() -> None:
    for i in range(5):
        picture = draw(person(i, 0), shot(i, 0, 0), 64)
        grey = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255
        edges = canny(grey, sigma=1.0, low_threshold=0.08, high_threshold=0.20)
        assert np.array_equal(conditions.canny(picture) > 0, edges)


def test_outlines_look_along_the_principal_axis() -> None:
    for i in range(5):
        picture = draw(person(i, 0), shot(i, 0, 0), 64)
        colours = picture.reshape(-1, 3) / 255
        axis = np.linalg.eigh(np.cov(colours.T))[1][:, -1]
        edges = canny(
            (colours @ axis).reshape(64, 64), sigma=1.0, low_threshold=0.08, high_threshold=0.20
        )
        assert np.array_equal(conditions.outline(picture) > 0, edges)
    assert conditions.outline(np.full((64, 64, 3), 90, np.uint8)).max() == 0
