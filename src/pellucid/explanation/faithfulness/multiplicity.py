"""Several tests of one explanation: what each p-value is worth beside the others."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: the k-th smallest of m times m - k + 1, never smaller than the one before, at most 1.

    Rejecting where they are at most 0.05 keeps the chance of any false rejection at 5 %, however the tests depend on each other.
    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979, section 3.
    """
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
