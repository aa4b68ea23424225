"""Numbers as they are read: sensible digits, with their unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

_NARROW_SPACE = "\u202f"  # between groups of three digits
TIMES = " \u00d7 "
_NONE = "\u2013"


def decimal(value: float | None, digits: int) -> str:
    """A fixed number of digits after the point; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return _NONE
    return f"{value:,.{digits}f}".replace(",", _NARROW_SPACE).replace("-", "\u2212")


def signed(value: float, digits: int) -> str:
    """As `decimal`, with a plus sign where there is no minus."""
    return f"{'+' if value >= 0 else ''}{decimal(value, digits)}"


def interval(ends: Sequence[float] | None, told: Callable[[float], str]) -> str:
    """Both ends as `told` writes them, the unit once where it is the same; a dash for None."""
    if ends is None:
        return _NONE
    low, high = (told(end) for end in ends)
    number, _, unit = low.rpartition(" ")
    return f"{number if number and high.endswith(f' {unit}') else low} to {high}"


def count(value: int | None) -> str:
    return _NONE if value is None else decimal(value, 0)


def length(length_nm: float | None) -> str:
    """Two or three significant digits: nm below a micrometre, then µm."""
    if length_nm is None or math.isnan(length_nm):
        return _NONE
    if length_nm < 999.5:
        return f"{decimal(length_nm, 0 if length_nm >= 9.95 else 1)} nm"
    micrometres = length_nm / 1000
    return f"{decimal(micrometres, 2 if micrometres < 9.995 else 1 if micrometres < 99.95 else 0)} µm"


def duration(seconds: float) -> str:
    """Two units at most: 4.2 s, 3 min 20 s, 1 h 02 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(megabytes: float) -> str:
    """Of MB of 1e6 bytes."""
    return f"{decimal(megabytes, 0)} MB" if megabytes < 1000 else f"{decimal(megabytes / 1000, 2)} GB"


def round_length_nm(at_most_nm: float) -> float:
    """The largest of 1, 2, 5, 10, 20, .. nm that is not above `at_most_nm`: the length of a scale bar."""
    power = 10.0 ** math.floor(math.log10(at_most_nm))
    return max(step * power for step in (1, 2, 5) if step * power <= at_most_nm * (1 + 1e-9))


def bar_length(length_nm: float) -> str:
    """A round length, in as few digits as it has."""
    return f"{length_nm:g} nm" if length_nm < 1000 else f"{length_nm / 1000:g} µm"


def tolerance(value: float | str) -> str:
    return "\u221e" if value == "inf" else str(value)
