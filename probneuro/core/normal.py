"""The normal distribution function and its inverse, for compiled loops."""

import math

import numba as nb

_ROOT_HALF = math.sqrt(0.5)
# Wichura (1988), algorithm AS 241, PPND16: relative error about 1e-16.
_SPLIT_CENTRE, _SPLIT_TAIL = 0.425, 5.0
_A = (
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
    1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
    3.3430575583588128105e4, 2.5090809287301226727e3,
)  # fmt: skip
_B = (
    1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
    2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
    5.2264952788528545610e3,
)  # fmt: skip
_C = (
    1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
    3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
    2.27238449892691845833e-2, 7.74545014278341407640e-4,
)  # fmt: skip
_D = (
    1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
    1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)  # fmt: skip
_E = (
    6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
    2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
    2.71155556874348757815e-5, 2.01033439929228813265e-7,
)  # fmt: skip
_F = (
    1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
    7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)  # fmt: skip


@nb.njit(cache=True, nogil=True, error_model="numpy")
def normal_share(z: float) -> float:
    """Return the share of a standard normal below z.

    Examples
    --------
    >>> normal_share(0.0)
    0.5
    """
    return 0.5 * math.erfc(-z * _ROOT_HALF)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def normal_quantile(share: float) -> float:
    """Return the z below which a share of a standard normal lies; infinite at zero and one.

    Examples
    --------
    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    if not 0.0 < share < 1.0:
        if share == 0.0:
            return -math.inf
        return math.inf if share == 1.0 else math.nan
    q = share - 0.5
    if abs(q) <= _SPLIT_CENTRE:
        r = _SPLIT_CENTRE * _SPLIT_CENTRE - q * q
        return q * _ratio(_A, _B, r)
    r = math.sqrt(-math.log(share if q < 0.0 else 1.0 - share))
    z = _ratio(_C, _D, r - 1.6) if r <= _SPLIT_TAIL else _ratio(_E, _F, r - _SPLIT_TAIL)
    return -z if q < 0.0 else z


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _ratio(above: tuple[float, ...], below: tuple[float, ...], r: float) -> float:
    top = bottom = 0.0
    for i in range(7, -1, -1):
        top, bottom = top * r + above[i], bottom * r + below[i]
    return top / bottom
