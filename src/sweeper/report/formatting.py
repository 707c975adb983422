"""Numbers and lists as text, for the report and the command line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

MISSING = "–"
"""Text shown for an undefined number."""
SMALLEST_P = 1e-12
"""The smallest p-value that `statistics` computes; smaller ones are shown as a bound."""


def is_undefined(value: object) -> bool:
    """Whether a number is None or NaN."""
    return value is None or value != value


def format_number(value: float | None, format_spec: str = ".3f") -> str:
    """Format a number; a dash where it is undefined.

    Args:
        value: the number; None or NaN is a dash.
        format_spec: as for `format`.

    Returns:
        The text.

    Example:
        >>> format_number(0.775, ".1%"), format_number(None)
        ('77.5%', '–')
    """
    return MISSING if value is None or math.isnan(value) else format(value, format_spec)


def format_duration(n_seconds: float | None) -> str:
    """Format seconds as `47 s`, `12 min` or `3.4 h`.

    Args:
        n_seconds: seconds; None or NaN is a dash.

    Returns:
        The text.

    Example:
        >>> format_duration(47), format_duration(720), format_duration(12_240)
        ('47 s', '12 min', '3.4 h')
    """
    if n_seconds is None or math.isnan(n_seconds):
        return MISSING
    if n_seconds < 120:
        return f"{n_seconds:.0f} s"
    return f"{n_seconds / 60:.0f} min" if n_seconds < 7200 else f"{n_seconds / 3600:.1f} h"


def format_percentage_points(rate: float) -> str:
    """Format a difference of rates in percentage points, signed, with a true minus sign and no signed zero."""
    return format_signed(100 * rate, 1)


def format_signed(value: float, digits: int) -> str:
    """Format a signed number with fixed decimals, a true minus sign and no signed zero.

    Example:
        >>> format_signed(-0.25, 2), format_signed(-0.001, 1)
        ('−0.25', '0.0')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def format_estimate(value: float | None, unit: str | None = "points") -> str:
    """Format a number in the unit of a comparison; differences (`points`, `nats`) are signed."""
    if is_undefined(value) or value is None:
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if unit is None or unit == "points":
        return format_percentage_points(value)
    return format_signed(value, 3) if unit == "nats" else f"{value:.2f}".replace("-", "−")


def format_p_value(value: float | None) -> str:
    """Format a p-value with two significant digits."""
    if value is None or math.isnan(value):
        return MISSING
    return f"≤ {value:.0g}" if value <= SMALLEST_P else f"{value:.2g}"


def format_short_count(value: float | None) -> str:
    """Format a count of parameters: 1,300,000 as `1.3 M`."""
    return _scale(value, (1e9, "B"), (1e6, "M"), (1e3, "k"), smallest="{:.0f}")


def format_si(value: float | None) -> str:
    """Format a large count with an SI prefix: `5.76 G`; below a million with all its digits.

    Args:
        value: the number; None or NaN is a dash.

    Returns:
        The text.

    Example:
        >>> format_si(5_760_000_000), format_si(1_234)
        ('5.76 G', '1,234')
    """
    return _scale(value, (1e12, "T"), (1e9, "G"), (1e6, "M"), smallest="{:,.0f}")


def format_bytes(count: float | None) -> str:
    """Format bytes in units of 10^3, as disks are sold.

    Args:
        count: bytes; None or NaN is a dash.

    Returns:
        The text.

    Example:
        >>> format_bytes(5_200_000)
        '5.2 MB'
    """
    return _scale(count, (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (0, "kB"), smallest="{:.0f} B")


def _scale(value: float | None, *units: tuple[float, str], smallest: str) -> str:
    """Write a number in its largest unit with three significant digits."""
    if value is None or math.isnan(value):
        return MISSING
    for size, name in units:
        if value >= size:
            return f"{value / (size or 1e3):.3g} {name}"
    return smallest.format(value)


def format_range(low: float, expected: float, high: float) -> str:
    """Format an estimate as `87 (58 to 180)`; one number where both ends are equal.

    Args:
        low: lower end.
        expected: expected value; NaN is `unknown`.
        high: upper end.

    Returns:
        The text.

    Example:
        >>> format_range(58, 87, 180)
        '87 (58 to 180)'
    """
    if math.isnan(expected):
        return "unknown"
    text = format_significant(expected)
    return f"{text} ({format_significant(low)} to {format_significant(high)})" if low < high else text


def format_significant(value: float) -> str:
    """Format a number with three significant digits, never with an exponent."""
    return f"{float(f'{value:.3g}'):,.10g}"


def format_counts(counts: Mapping[str, int]) -> str:
    """Format counts by name: `22 too-long, 1 no-target`, or `none`.

    Args:
        counts: name -> count.

    Returns:
        The text.

    Example:
        >>> format_counts({'COMPLETE': 1200, 'FAILED': 1})
        '1,200 COMPLETE, 1 FAILED'
    """
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def format_manifest_value(value: object) -> str:
    """Format a value of a manifest: mappings and lists on one line, None as a dash, booleans as yes and no."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_manifest_value(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(format_manifest_value(item) for item in value)
    if value is None:
        return MISSING
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def join_names(names: Iterable[str], limit: int = 8) -> str:
    """Join the first `limit` names, with an ellipsis where there are more."""
    known = list(names)
    return ", ".join(known[:limit]) + (", …" if len(known) > limit else "")
