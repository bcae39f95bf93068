"""How noisy the gradient is: the gradient noise scale, from pairs of successive steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class NoiseScale:
    """B_simple = tr(S) / |G|^2 in samples: up to about this batch size, twice the batch saves nearly half the steps.

    Two successive gradients g, h over batches of B samples are two draws of the mean gradient, but for the small move between them:
    E[g.h] = |G|^2 and E[(|g|^2 + |h|^2) / 2 - g.h] = tr(S) / B. Both are averaged over pairs, and their quotient is taken last, as the
    quotient of single pairs is biased. A large step correlates the two and makes the estimate too high.

    Source: S. McCandlish, J. Kaplan, D. Amodei, An Empirical Model of Large-Batch Training, 2018, equation 2.9 and appendix A.1.
    """

    signal: float = 0.0  # mean of g.h
    noise: float = 0.0  # mean of tr(S)
    pairs: int = 0

    def add(self, first: float, second: float, product: float, samples: int) -> None:
        """One pair: the squared norms of the two gradients, their product, and the samples behind each."""
        self.pairs += 1
        weight = max(1 / self.pairs, 0.1)  # the latest ten or so: the scale grows while training goes on
        self.signal += weight * (product - self.signal)
        self.noise += weight * (samples * ((first + second) / 2 - product) - self.noise)

    @property
    def value(self) -> float | None:
        """None until three pairs, and where the mean gradient is lost in the noise."""
        if self.pairs < 3 or self.signal <= 0 or self.noise < 0:
            return None
        return self.noise / self.signal
