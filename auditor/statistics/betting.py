"""Betting e-values and the one-sided bounds that come from inverting them.

An e-value is a number whose mean is at most 1 when the null hypothesis holds, so that
reaching 1/alpha has probability at most alpha (Markov). The one used here bets a fixed
share of its capital against each fact in turn and averages over a fixed grid of shares
(Waudby-Smith & Ramdas, arXiv 2010.09686; averaging e-values, arXiv 1912.06116). It needs no
normal approximation, is valid at every n and with sparse leaks, and does not depend on the
order of the facts. Logs are natural throughout.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

FloatArray = NDArray[np.float64]

LAMBDA_GRID: FloatArray = np.linspace(0.05, 0.98, 20)
"""Shares of the capital staked on each fact; fixed before any data is seen."""
LAMBDA_GRID.setflags(write=False)

_ROUNDING = 1e-9
_RESOLUTION = 1e-6
_FACTORS = 16
"""Number of factors that are multiplied before a logarithm is taken, which costs more than sixteen
products. Each lies in [0.02, 1.98], so that neither end of the range of a double comes near."""


def finite_vector(values: ArrayLike, name: str) -> FloatArray:
    """Returns `values` as a float64 vector [n].

    Raises:
        ValueError: it is not one-dimensional, or holds NaN or an infinity.
    """
    return _finite(values, name, dimensions=(1,))


def _finite(values: ArrayLike, name: str, dimensions: tuple[int, ...] = (1, 2)) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in dimensions:
        raise ValueError(
            f"{name} must have {' or '.join(map(str, dimensions))} dimension(s), not shape "
            f"{array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or an infinity; a missing measurement is no number")
    return array


def log_threshold(alpha: float, tests: int = 1) -> float:
    """Returns log(tests / alpha).

    It is what a log e-value must reach, for one of `tests` claims.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    return math.log(tests / alpha)


def mean_log_e_value(log_e_values: Sequence[float], tests: int) -> float | None:
    """Returns the log of the equal-weight mean of e-values.

    Those that are not given enter as 0.

    Args:
        log_e_values: logs of the e-values that count.
        tests: number of e-values, those that enter as 0 included.

    Returns:
        None where none counts.
    """
    if not len(log_e_values):
        return None
    return float(logsumexp(log_e_values)) - math.log(tests)


def log_e_value(z: ArrayLike) -> float:
    """Returns the log e-value against "the mean is at least 0".

    It is the log of the mean over `LAMBDA_GRID` of prod_i (1 - lambda * z_i).

    Large values are evidence against "the mean of z is at least 0". For independent z_i, not
    necessarily alike, with means mu_i that sum to at least 0, the expectation of each product
    is prod(1 - lambda mu_i) <= exp(-lambda sum mu_i) <= 1 (arXiv 2010.09686).

    Args:
        z: contrasts [n], each in [-1, 1]; n = 0 gives 0.0 (no facts, no evidence). Several rows
            [m, n] are as many ways to pair the same facts: the e-value is the mean of theirs.

    Raises:
        ValueError: `z` has more dimensions, is not finite, or leaves [-1, 1].
    """
    contrast = _finite(z, "z")
    if contrast.size and np.abs(contrast).max() > 1.0 + _ROUNDING:
        raise ValueError(f"z must lie in [-1, 1]; the largest |z| is {np.abs(contrast).max()}")
    return _log_mean(_log_products(contrast))


def residual_upper(
    d: ArrayLike, g: ArrayLike, alpha: float, *, apart: bool = False
) -> float | None:
    """Returns the upper confidence bound on rho = E[d] / E[g].

    Its confidence is 1 - alpha.

    The bound is sup{r in [0, 1] : E(d - r g) < 1/alpha}: every larger r is excluded. Where
    some g_i < 0, E(d - r g) need not rise with r and the excluded values can have holes; the
    supremum is taken over all values that are not excluded, so the bound only errs upwards.
    It is exact to 1e-6, rounded up: each product is log-concave in r, so on a cell of [0, 1]
    it is at least the smaller of its two ends, and a cell counts as excluded only when the
    e-value built from those smaller ends reaches 1/alpha.

    Args:
        d: K_unlearned - K_retrained per unit [n], or in several pairings [m, n].
        g: K_original - K_retrained per unit [n]; d - r g must stay in [-1, 1], as it does
            when each K lies in [0, 1].
        alpha: chance of a bound below the truth.
        apart: whether d and g have baselines of their own, so that d - r g stays in
            [-1 - r, 1 + r] only; it is brought back into [-1, 1], as `Contrast.against` does.

    Returns:
        The bound in [0, 1); 0.0 also when rho = 0 itself is excluded (rho is below 0). None
        when r = 1 is not excluded: the residual is not bounded, show ">= 1". The ratio means
        something only where E[g] > 0; callers gate on that.
    """
    delta, gap = _pair(d, g)
    return _upper(delta, gap, alpha, (lambda r: 1.0 + r) if apart else (lambda r: 1.0))


def _upper(
    delta: FloatArray, gap: FloatArray, alpha: float, width: Callable[[float], float]
) -> float | None:
    """Return the largest r that is not excluded; None for 1.

    Args:
        delta: d [n] or [m, n].
        gap: g likewise.
        alpha: chance of a bound below the truth.
        width: bound of |d - r g| at r, by which it is divided; it is monotone in r.
    """
    threshold, units = log_threshold(alpha), int(delta.shape[-1])

    def products(r: float) -> FloatArray:
        """Log of prod(width - lambda (d - r g)); concave in r."""
        contrast = (delta - r * gap) / width(r)
        if contrast.size and np.abs(contrast).max() > 1.0 + _ROUNDING:
            raise ValueError("d - r g leaves [-1, 1]: d and g must be differences of K in [0, 1]")
        return _log_products(contrast) + divisor(r)

    def divisor(*ends: float) -> float:
        return float(units * math.log(max(map(width, ends))))

    right_end = products(1.0)
    if _log_mean(right_end) - divisor(1.0) < threshold:
        return None
    cells = [(0.0, products(0.0), 1.0, right_end)]
    while cells:
        left, at_left, right, at_right = cells.pop()
        if _log_mean(np.minimum(at_left, at_right)) - divisor(left, right) >= threshold:
            continue
        if right - left <= _RESOLUTION:
            return right
        middle = (left + right) / 2
        at_middle = products(middle)
        cells.append((left, at_left, middle, at_middle))
        cells.append((middle, at_middle, right, at_right))
    return 0.0


def residual_lower(
    d: ArrayLike, g: ArrayLike, alpha: float, *, apart: bool = False
) -> float | None:
    """Returns the lower confidence bound on rho = E[d] / E[g].

    Its confidence is 1 - alpha.

    The bound is inf{r in [0, 1] : E(r g - d) < 1/alpha}. Measuring from the original instead
    of the retrained model turns rho into 1 - rho and this bound into `residual_upper`, with
    the same caution where some g_i < 0.

    Returns:
        The bound in (0, 1]; 1.0 also when rho = 1 itself is excluded (rho is above 1). None
        when r = 0 is not excluded: no residual knowledge was shown.
    """
    delta, gap = _pair(d, g)
    width = (lambda r: 2.0 - r) if apart else (lambda r: 1.0)
    mirrored = _upper(gap - delta, gap, alpha, width)
    return None if mirrored is None else 1.0 - mirrored


def mean_lower(x: ArrayLike, alpha: float) -> float:
    """Returns the lower confidence bound on the mean of x.

    x lies in [-1, 1], and the confidence is 1 - alpha.

    The bound is sup{m : E((m - x) / (1 + |m|)) >= 1/alpha}; the divisor keeps the contrast in
    [-1, 1]. The contrast rises with m for every x in [-1, 1], so the e-value falls with m and
    bisection finds the bound; it is rounded down.

    Args:
        x: values [n], each in [-1, 1], or in several pairings [m, n].
        alpha: chance of a bound above the true mean.

    Returns:
        The bound, always below the sample mean; -1.0 when nothing is excluded.
    """
    values = _finite(x, "x")
    if values.size and np.abs(values).max() > 1.0 + _ROUNDING:
        raise ValueError(f"x must lie in [-1, 1]; the largest |x| is {np.abs(values).max()}")
    threshold = log_threshold(alpha)

    def excluded(mean: float) -> bool:
        return _log_mean(_log_products((mean - values) / (1.0 + abs(mean)))) >= threshold

    low, high = -1.0, 1.0
    if not excluded(low):
        return low
    while high - low > _RESOLUTION:
        middle = (low + high) / 2
        if excluded(middle):
            low = middle
        else:
            high = middle
    return low


def _pair(d: ArrayLike, g: ArrayLike) -> tuple[FloatArray, FloatArray]:
    delta, gap = _finite(d, "d"), _finite(g, "g")
    if delta.shape != gap.shape:
        raise ValueError(f"d and g must be of one length, not {delta.size} and {gap.size}")
    return delta, gap


def _log_products(z: FloatArray) -> FloatArray:
    """Returns log of prod_i (1 - lambda z_i) for each lambda.

    It is [20] or [m, 20]. z may exceed 1 by rounding only.
    """
    units = z.shape[-1]
    rows = -(-units // _FACTORS)
    padded = np.zeros((*z.shape[:-1], rows * _FACTORS))
    padded[..., :units] = np.clip(z, -1.0, 1.0)
    staked = LAMBDA_GRID[:, None, None] * padded.reshape(*z.shape[:-1], 1, _FACTORS, rows)
    total: FloatArray = np.log(np.multiply.reduce(1.0 - staked, axis=-2)).sum(axis=-1)
    return total


def _log_mean(log_products: FloatArray) -> float:
    # scipy's logsumexp gives the same number, at ten times the price for twenty terms
    total = np.logaddexp.reduce(log_products, axis=None)
    return float(total) - math.log(log_products.size)
