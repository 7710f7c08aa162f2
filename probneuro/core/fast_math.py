"""Exponential and logarithm that a compiler can vectorise, for loops over millions of bins.

The C library's scalar ``exp`` costs about 9 ns an element inside a compiled loop; these
are plain arithmetic, so LLVM turns the loop that calls them into SIMD code. Relative
error is below 4e-16 over the ranges stated.
"""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
# Adding this rounds a double to the nearest integer and leaves it in the low bits.
_ROUND = 6755399441055744.0
LOWEST_EXPONENT = -700.0


@intrinsic
def _power_of_two(typingctx: Any, rounded: Any) -> Any:
    """Turn ``n + _ROUND`` into ``2**n`` by moving n into the exponent bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        int64 = ir.IntType(64)
        bits = builder.bitcast(args[0], int64)
        shifted = builder.shl(builder.add(bits, ir.Constant(int64, 1023)), ir.Constant(int64, 52))
        return builder.bitcast(shifted, ir.DoubleType())

    return types.float64(types.float64), codegen


@nb.njit(inline="always", error_model="numpy")
def exp(x: float) -> float:
    """Return ``e**x`` for x in [-700, 700]; smaller x are treated as -700."""
    clipped = x if x > LOWEST_EXPONENT else LOWEST_EXPONENT
    rounded = clipped * _LOG2E + _ROUND
    n = rounded - _ROUND
    r = (clipped - n * _LN2_HIGH) - n * _LN2_LOW
    r2 = r * r
    r4 = r2 * r2
    # Estrin's scheme: short dependency chains keep the SIMD units busy.
    low = (1.0 + r) + r2 * (0.5 + 0.16666666666666666 * r)
    middle = (0.041666666666666664 + 0.008333333333333333 * r) + r2 * (
        0.001388888888888889 + 0.0001984126984126984 * r
    )
    high = (2.48015873015873e-05 + 2.7557319223985893e-06 * r) + r2 * (
        2.755731922398589e-07 + 2.505210838544172e-08 * r
    )
    top = 2.08767569878681e-09 + 1.6059043836821613e-10 * r
    p = low + r4 * (middle + r4 * (high + r4 * top))
    return p * _power_of_two(rounded)  # type: ignore[call-arg]  # intrinsics take no context


@nb.njit(inline="always", error_model="numpy")
def log1p_unit(e: float) -> float:
    """Return ``log(1 + e)`` for e in [0, 1], by the series of the inverse hyperbolic tangent."""
    s = e / (2.0 + e)
    q = s * s
    q2 = q * q
    q4 = q2 * q2
    a = (1.0 + 0.3333333333333333 * q) + q2 * (0.2 + 0.14285714285714285 * q)
    b = (0.1111111111111111 + 0.09090909090909091 * q) + q2 * (
        0.07692307692307693 + 0.06666666666666667 * q
    )
    c = (0.058823529411764705 + 0.05263157894736842 * q) + q2 * (
        0.047619047619047616 + 0.043478260869565216 * q
    )
    d = (0.04 + 0.037037037037037035 * q) + q2 * (0.034482758620689655 + 0.03225806451612903 * q)
    p = a + q4 * (b + q4 * (c + q4 * d))
    return 2.0 * s * p


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def exp_array(x: np.ndarray) -> np.ndarray:
    """Return the exponential of every element of a 1-D array.

    Examples
    --------
    >>> bool(np.allclose(exp_array(np.array([0.0, 1.0])), [1.0, np.e], rtol=1e-15))
    True
    """
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = exp(x[i])
    return out


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def log1p_unit_array(e: np.ndarray) -> np.ndarray:
    """Return ``log(1 + e)`` of every element of a 1-D array with values in [0, 1].

    Examples
    --------
    >>> bool(np.allclose(log1p_unit_array(np.array([0.0, 1.0])), [0.0, np.log(2.0)], rtol=1e-15))
    True
    """
    out = np.empty_like(e)
    for i in range(e.size):
        out[i] = log1p_unit(e[i])
    return out
