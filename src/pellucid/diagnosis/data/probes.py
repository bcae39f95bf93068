"""A cheap probe of what inputs say about targets: ridge regression on fixed features, whose leave-one-out predictions cost one fit.

    probe = Probe(inputs, "table")
    probe.left_out(one_hot)          # (N, M): each row predicted by a fit to all the others
    probe.predicted(test_inputs)     # (N', M): by the fit to all

The features are the standardised inputs, a Gaussian kernel's random Fourier features of them, and what a view of their kind adds: counts
of tokens, spectra of sequences. It is a yardstick, not a model: what it finds is there, what it does not find may still be.

Source: A. Rahimi and B. Recht, Random features for large-scale kernel machines, 2007, algorithm 1; leave-one-out predictions of ridge
regression: T. Hastie, R. Tibshirani and J. Friedman, The elements of statistical learning, 2009, equation 7.64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

COMPONENTS = 96  # principal components that are kept of wide inputs
TOPICS = 256  # the same of counts of tokens, which share less
WIDE = 1024  # columns before an average over neighbours makes them fewer
FOURIER = 512  # random features
WORDS = 1024  # counts of tokens are kept in so many bins
POSITIONS = 64  # tokens up to which their places are looked at too
SPECTRUM = 32  # bins of a sequence's spectrum, per channel
CHANNELS = 8  # whose spectra are looked at
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # ridge penalties per sample, of features of variance 1
LARGEST = 8.0  # standard deviations at which an input is clipped
OWN = 1 - 1e-9  # share of its own prediction that a row may make; with more features than rows it is 1 - 1e-4 and that is told exactly


class Probe:
    """Fixed features of the inputs (N, ...) of a part, and ridge regressions on them. Nothing random of the user's is used up."""

    def __init__(self, inputs: Tensor, kind: str, seed: int = 0) -> None:
        self.kind = kind
        generator = torch.Generator().manual_seed(seed)
        views = [_standard(view, kind not in ("tokens", "images")) for view in _views(inputs, kind)]
        self._scales = [(mean, std) for _, mean, std in views]
        seen = torch.cat([view for view, _, _ in views], 1)
        most = TOPICS if kind == "tokens" else COMPONENTS
        self._axes = _principal(seen, most) if seen.shape[1] > most else None
        reduced = self._reduced(seen)
        self._width = _typical_distance(reduced, generator)
        self._directions = torch.randn(reduced.shape[1], FOURIER, generator=generator) / self._width
        self._phases = torch.rand(FOURIER, generator=generator) * 2 * math.pi
        self.features = self._mapped(reduced)  # (N, D), the last column ones
        self._fit: tuple[Tensor, Tensor] | None = None  # weights (D, M), means (M,)
        gram = self.features.double().T @ self.features.double()
        values, self._vectors = torch.linalg.eigh(gram)
        self._rotated = self.features.double() @ self._vectors  # (N, D)
        self._shrunk = [1 / (values.clamp_min(0) + penalty * len(inputs)) for penalty in PENALTIES]
        self._leverages = [(self._rotated.square() @ shrunk).clamp(max=OWN) for shrunk in self._shrunk]

    def left_out(self, targets: Tensor, *, remember: bool = True) -> Tensor:
        """Predictions (N, M) for targets (N, M): of each row by the fit to all other rows, at the penalty that predicts best so.

        What is fitted to all rows is what `predicted` uses, where it is to `remember` it.
        """
        targets = targets.double()
        mean = targets.mean(0)
        centred = targets - mean
        inner = self._rotated.T @ centred
        best: tuple[float, Tensor, Tensor] | None = None
        for shrunk, leverage in zip(self._shrunk, self._leverages, strict=True):
            fitted = self._rotated @ (shrunk[:, None] * inner)
            residual = (centred - fitted) / (1 - leverage[:, None])
            error = float((residual**2).sum())
            if best is None or error < best[0]:
                best = (error, residual, self._vectors @ (shrunk[:, None] * inner))
        assert best is not None
        if remember:
            self._fit = (best[2], mean)
        return (targets - best[1]).float()

    def predicted(self, inputs: Tensor) -> Tensor:
        """Predictions (N', M) for other inputs, by the fit of the latest remembered `left_out`."""
        assert self._fit is not None, "left_out comes first"
        weights, mean = self._fit
        return (self._mapped(self.represented(inputs)).double() @ weights + mean).float()

    def represented(self, inputs: Tensor) -> Tensor:
        """Standardised inputs (N, at most COMPONENTS): the space in which samples are near each other or not."""
        views = _views(inputs, self.kind)
        seen = [((view - mean) / std).clamp(-LARGEST, LARGEST) for view, (mean, std) in zip(views, self._scales, strict=True)]
        return self._reduced(torch.cat(seen, 1))

    def _reduced(self, seen: Tensor) -> Tensor:
        return seen if self._axes is None else seen @ self._axes

    def _mapped(self, reduced: Tensor) -> Tensor:
        waves = math.sqrt(2) * torch.cos(reduced @ self._directions + self._phases)
        return torch.cat([reduced, waves, torch.ones(len(reduced), 1)], 1)


def indicator(labels: Tensor, classes: int) -> Tensor:
    """One-hot rows (N, K) of class indices (N,)."""
    return F.one_hot(labels.long(), classes).float()


def _views(inputs: Tensor, kind: str) -> list[Tensor]:
    """Matrices (N, ...) of what can be seen in the inputs."""
    if kind == "tokens":
        tokens = inputs.reshape(len(inputs), -1).long()
        counts = torch.zeros(len(tokens), WORDS).scatter_add_(1, tokens % WORDS, torch.ones(tokens.shape))
        views = [counts.log1p()]
        if tokens.shape[1] <= POSITIONS:
            places = (tokens * POSITIONS + torch.arange(tokens.shape[1])) * 2654435761 % WORDS
            views.append(torch.zeros(len(tokens), WORDS).scatter_add_(1, places, torch.ones(tokens.shape)))
        return views
    values = inputs.detach().float()
    if kind == "images":
        values = _smaller(values)
    flat = torch.nan_to_num(values.reshape(len(values), -1), posinf=0.0, neginf=0.0)
    if flat.shape[1] > WIDE:
        flat = F.adaptive_avg_pool1d(flat[:, None], WIDE)[:, 0]
    if kind != "sequences" or values.dim() != 3:
        return [flat]
    series = torch.nan_to_num(values)[:, :, :CHANNELS]  # (N, T, C)
    spectrum = torch.fft.rfft(series - series.mean(1, keepdim=True), dim=1).abs().transpose(1, 2)
    bins = F.adaptive_avg_pool1d(spectrum, min(SPECTRUM, spectrum.shape[2])).log1p()
    summary = torch.cat([series.mean(1), series.std(1, unbiased=False), series.diff(dim=1).abs().mean(1)], 1)
    return [flat, bins.flatten(1), summary]


def _smaller(images: Tensor) -> Tensor:
    """Images (N, C, H, W) or (N, H, W), averaged over neighbours until they have at most WIDE entries."""
    pictures = images[:, None] if images.dim() == 3 else images
    entries = pictures[0].numel()
    if entries <= WIDE or pictures.dim() != 4:
        return images
    side = max(1, int(math.sqrt(WIDE / pictures.shape[1])))
    return F.adaptive_avg_pool2d(pictures, (min(side, pictures.shape[2]), min(side, pictures.shape[3])))


def _standard(view: Tensor, each: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Centred, and of variance 1 in each column, or over all of them: a rare word or a dark border must not count as much as others."""
    mean, std = view.mean(0), view.std(0, unbiased=False)
    constant = std <= 1e-6 * mean.abs().clamp_min(1e-30)
    if not each:
        std = std.square().mean().sqrt().expand_as(std)
    std = torch.where(constant, torch.full_like(std, math.inf), std)  # in the place of a constant column stands 0
    return ((view - mean) / std).clamp(-LARGEST, LARGEST), mean, std


def _principal(seen: Tensor, most: int) -> Tensor:
    """The axes (D, `most`) of largest variance."""
    present = (seen != 0).any(0).nonzero()[:, 0]  # the decomposition does not converge on many equal eigenvalues
    axes = torch.zeros(seen.shape[1], min(most, len(present)))
    if len(present):
        few = seen[:, present]
        axes[present] = torch.linalg.eigh((few.T @ few).double())[1][:, -most:].float()
    return axes


def _typical_distance(points: Tensor, generator: torch.Generator) -> float:
    """The median distance of two samples."""
    some = points[torch.randperm(len(points), generator=generator)[:300]]
    distances = torch.pdist(some) if len(some) > 1 else torch.ones(1)
    distances = distances[distances > 0]
    return float(distances.median()) if len(distances) else 1.0
