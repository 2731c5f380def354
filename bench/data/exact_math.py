"""Elementary functions that give equal bits on every processor.

The functions of ``math`` and ``numpy`` round differently from one processor to the next, because
the libraries under them choose other code where there is fused multiply-add or a wider vector. The
functions here use only what IEEE 754 fixes: ``+ - * /``, square root, rounding to whole numbers,
and scaling by powers of two. In the stated range each is within 1e-15 of the true value (``exp``:
relative to it).
"""

from __future__ import annotations

from math import factorial, floor, frexp, ldexp, sqrt

PI = 3.141592653589793
# The high parts end in zeros, so that a small multiple of them is exact.
_PI_HIGH, _PI_LOW = 3.14159265346825122833, 1.21542010130123843e-10
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_ROOT_HALF = 0.7071067811865476

# Taylor coefficients, the highest power first; of sin, arctan and artanh in powers of the square.
_EXP = tuple(1.0 / factorial(n) for n in range(13, -1, -1))
_SIN = tuple((1 - 2 * (n % 2)) / factorial(2 * n + 1) for n in range(11, -1, -1))
_ARCTAN = tuple((1 - 2 * (n % 2)) / (2 * n + 1) for n in range(11, -1, -1))
_ARTANH = tuple(1.0 / (2 * n + 1) for n in range(11, -1, -1))


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    value = 0.0
    for c in coefficients:
        value = value * x + c
    return value


def sin(x: float) -> float:
    """Return the sine of ``x`` radians, for ``x`` in [-1000, 1000]."""
    turns = round(x / PI)
    r = (x - turns * _PI_HIGH) - turns * _PI_LOW
    value = r * _polynomial(_SIN, r * r)
    return -value if turns % 2 else value


def cos(x: float) -> float:
    """Return the cosine of ``x`` radians, for ``x`` in [-1000, 1000]."""
    turns = floor(x / PI)
    r = ((x - turns * _PI_HIGH) - PI / 2) - turns * _PI_LOW
    value = r * _polynomial(_SIN, r * r)
    return value if turns % 2 else -value


def arctan(x: float) -> float:
    """Return the arc tangent of ``x``, in [-pi/2, pi/2], for ``x`` in [-1e100, 1e100]."""
    # Half the angle, three times: then it is below pi/16 and the series converges fast.
    for _ in range(3):
        x = x / (1.0 + sqrt(1.0 + x * x))
    return 8.0 * x * _polynomial(_ARCTAN, x * x)


def arcsin(x: float) -> float:
    """Return the arc sine of ``x`` in (-1, 1)."""
    return arctan(x / sqrt((1.0 - x) * (1.0 + x)))


def exp(x: float) -> float:
    """Return e to the power ``x``, for ``x`` in [-700, 700]."""
    k = round(x / (_LN2_HIGH + _LN2_LOW))
    return ldexp(_polynomial(_EXP, (x - k * _LN2_HIGH) - k * _LN2_LOW), k)


def log(x: float) -> float:
    """Return the natural logarithm of ``x`` > 0."""
    m, e = frexp(x)
    if m < _ROOT_HALF:
        m, e = 2.0 * m, e - 1
    s = (m - 1.0) / (m + 1.0)
    return e * _LN2_HIGH + (2.0 * s * _polynomial(_ARTANH, s * s) + e * _LN2_LOW)


def power(x: float, exponent: float) -> float:
    """Return ``x`` to the power ``exponent``, for ``x`` >= 0 and ``exponent`` > 0."""
    return exp(exponent * log(x)) if x > 0 else 0.0
