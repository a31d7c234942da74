"""Numbers as people read them: four digits, thousands apart, bytes, shares and durations with their units."""

from __future__ import annotations

from typing import TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number that people would call one: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: object) -> str:
    """A number with four digits that count, or thousands apart; lists one item after the other."""
    if isinstance(value, list):
        return "; ".join(str(item) for item in value)
    if not is_number(value):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def limit(value: float) -> str:
    """What a number may be, with all the digits that were asked for."""
    return f"{value:,.12g}"


def percent(share: float) -> str:
    """A share as people read it: 12 %, 1.3 %, 0.005 %; never 0 % for what is not zero."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or not value else f"{value:.2g} %"


def size(num_bytes: float) -> str:
    """Bytes as people read them: 63.1 MB."""
    value, unit = float(num_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """A duration as people say it: 7.5 s, 2 min 30 s, 1 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
