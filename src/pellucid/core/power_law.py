"""The power law of learning curves, fitted with its uncertainty.

    e(n) = a n^(-b) + c      e the error on new samples, n the number of training samples, c what no amount of data takes away

Source: Cortes et al., Learning Curves: Asymptotic Values and Rate of Convergence, NIPS 1993, equation 2; measured for deep networks by
Hestness et al. 2017, arXiv:1712.00409, and Rosenfeld et al., ICLR 2020.

A few errors, each with its noise, leave many laws possible, above all of c. So not one is kept but a sample of all that fit: drawn from
the posterior on a grid. ln e_i is normal about ln e(n_i) with an unknown spread (density 1 / spread); b is log-uniform in [0.05, 2]; the
share of c in the error at the most samples is zero with probability 1/2, else uniform; the scale of e is free. Scale and spread are
integrated out, which leaves (sum of squares about their mean)^(-(m - 1) / 2) for m errors, and a t distribution of the scale: Gelman et
al., Bayesian Data Analysis, section 3.2.
"""

from __future__ import annotations

import numpy as np

KEPT = 1000  # laws of the posterior, of equal weight
EXPONENTS = (0.05, 2.0)  # b; 0.07 to 0.5 were found by Hestness et al., up to 1 is reached where classes are separable
FEWEST_SIZES = 4  # distinct n: a law has three letters
_GRID = (240, 120)  # values of b and of the share of c
_LIMIT = 1e15  # samples: more than there are; also stands for never


def fitted(sizes: np.ndarray, errors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(KEPT, 3): laws (a, b, c) that agree with `errors` (m,), all above 0, measured after learning from `sizes` (m,) samples.

    Raises:
        ValueError: fewer than four distinct sizes.
    """
    n, logs = np.asarray(sizes, dtype=np.float64), np.log(np.asarray(errors, dtype=np.float64))
    if len(np.unique(n)) < FEWEST_SIZES:
        raise ValueError("a power law needs four sizes")
    random = np.random.default_rng(seed)
    most, m = n.max(), len(n)
    exponents = np.exp(np.linspace(np.log(EXPONENTS[0]), np.log(EXPONENTS[1]), _GRID[0]))
    shares = np.concatenate([[0.0], (np.arange(_GRID[1]) + 0.5) / _GRID[1]])
    prior = np.concatenate([[0.5], np.full(_GRID[1], 0.5 / _GRID[1])])
    falling = (n / most)[None, :] ** -exponents[:, None]  # (B, m)
    shape = np.log((1 - shares)[None, :, None] * falling[:, None, :] + shares[None, :, None])  # (B, C, m): ln of e(n) / e(most)
    residual = logs - shape
    scale = residual.mean(2)  # (B, C): ln e(most)
    squares = ((residual - scale[..., None]) ** 2).sum(2) + 1e-12
    weight = np.log(prior)[None, :] - 0.5 * (m - 1) * np.log(squares)
    weight = np.exp(weight - weight.max()).ravel()
    chosen = random.choice(len(weight), KEPT, p=weight / weight.sum())
    width = np.sqrt(squares.ravel()[chosen] / (m - 1) / m)
    e_most = np.exp(scale.ravel()[chosen] + width * random.standard_t(m - 1, KEPT))
    b, share = exponents[chosen // len(shares)], shares[chosen % len(shares)]
    return np.stack([e_most * (1 - share) * most**b, b, e_most * share], axis=1)


def error_at(laws: np.ndarray, samples: float) -> np.ndarray:
    """(laws,): e(n) of each."""
    return laws[:, 0] * samples ** -laws[:, 1] + laws[:, 2]


def samples_for(laws: np.ndarray, error: float) -> np.ndarray:
    """(laws,): how many samples each needs for `error`; infinite where that is not above its c."""
    left = error - laws[:, 2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        needed = np.where(left > 0, (laws[:, 0] / left) ** (1 / laws[:, 1]), np.inf)
    return np.where(needed < _LIMIT, needed, np.inf)


def spread_of(laws: np.ndarray, sizes: np.ndarray, errors: np.ndarray) -> float:
    """The standard deviation of ln e about the laws' median: what one more training differs by."""
    predicted = np.array([np.median(error_at(laws, float(n))) for n in sizes])
    residual = np.log(errors) - np.log(predicted)
    return float(np.sqrt((residual**2).sum() / max(len(residual) - 3, 1)))
