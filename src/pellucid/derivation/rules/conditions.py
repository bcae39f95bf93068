"""Parts of equations that stand only in some calls, where one `\\given` is not enough: an argument may be spelled 1, (1, 1) or [1, 1]."""

from __future__ import annotations


def _spellings(neutral, n):
    numbers = [neutral, float(neutral)] if isinstance(neutral, int) and n == 1 else [neutral]
    repeated = [(neutral,), [neutral], (neutral,) * n, [neutral] * n] if n > 1 else []
    return dict.fromkeys(str(value) for value in (*numbers, *repeated))


def unless(argument, neutral, part, n=1):
    """The part, where the argument is not the neutral number (for each of n dimensions)."""
    for spelling in _spellings(neutral, n):
        part = rf"\given{{{argument}!={spelling}}}{{{part}}}"
    return part


def where_it_is(argument, neutral, part, n=1):
    """The part, where the argument is the neutral number (for each of n dimensions)."""
    return "".join(rf"\given{{{argument}={spelling}}}{{{part}}}" for spelling in _spellings(neutral, n))
