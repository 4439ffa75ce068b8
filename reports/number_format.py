"""Numbers as a reader is shown them.

A missing number is said to be missing, and is never 0.
"""

import math

MISSING = "not measured"
UNBOUNDED = "not bounded"
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 3, missing: str = MISSING) -> str:
    """Returns a value with a fixed number of decimals.

    A value that is not 0 but would round to it is shown as ``< 0.001``.
    """
    if value is None:
        return missing
    if not math.isfinite(value):
        return _not_finite(value)
    smallest = 10.0**-digits
    if value != 0 and abs(value) < smallest / 2:
        return f"< {smallest:.{digits}f}" if value > 0 else f"> {MINUS}{smallest:.{digits}f}"
    return f"{value + 0.0:.{digits}f}".replace("-", MINUS)  # + 0.0: no sign on a zero


def share(value: float | None, missing: str = MISSING) -> str:
    """Returns a share in [0, 1] as per cent."""
    if value is None:
        return missing
    if not math.isfinite(value):
        return _not_finite(value)
    if 0 < value < 0.0005:
        return "< 0.1 %"
    if 0.9995 < value < 1:
        return "> 99.9 %"
    return f"{100 * value:.1f} %".replace("-", MINUS)


def interval(lower: float | None, upper: float | None, digits: int = 3) -> str:
    """Returns two bounds in brackets.

    A bound that does not exist is named as such.
    """
    if lower is None and upper is None:
        return UNBOUNDED
    return f"[{number(lower, digits, UNBOUNDED)}, {number(upper, digits, UNBOUNDED)}]"


def span(lower: float | None, upper: float | None) -> str:
    """Returns an interval in words, of which either end may be missing."""
    if lower is None and upper is None:
        return UNBOUNDED
    if upper is None:
        return f"at least {number(lower, 2)}"
    if lower is None:
        return f"at most {number(upper, 2)}"
    return f"{number(lower, 2)} to {number(upper, 2)}"


def plain(value: float | None) -> str:
    """Returns a parameter as it was set, such as 0.1.

    It has at most four significant digits.
    """
    return MISSING if value is None else f"{value:.4g}".replace("-", MINUS)


def percent(value: float) -> str:
    """Returns a share as it was set (5 %, 0.5 %)."""
    return f"{100 * value:.4g} %"


def exact(value: float | None) -> str:
    """Returns a value for a script to sort by.

    The text is empty where the value is missing.
    """
    return "" if value is None else repr(value)


def count(value: int | None) -> str:
    """Returns a whole number with its thousands set apart."""
    return MISSING if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    """Returns a duration in its two largest units."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return _not_finite(value)
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "not a number"
    return "infinite" if value > 0 else f"{MINUS}infinite"
