"""The loss of sequences whose alignment is unknown (connectionist temporal classification)."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule
from pellucid.derivation.rules.losses import EACH

_NOWHERE = -np.inf


class _Alignments:
    """All alignments of a batch, summed in logarithms: the sequences with blanks between, alpha from the left, beta from the right.

    Letters: T time, N examples, K classes, S = 2 (longest target) + 1 positions of the targets with blanks.
    """

    def __init__(self, log_probs, targets, input_lengths, target_lengths, blank):
        batched = log_probs.ndim == 3
        self.x = log_probs if batched else log_probs[:, None, :]  # (T, N, K)
        T, N, _ = self.x.shape
        self.times, self.lengths = (np.asarray(lengths).reshape(-1).astype(int) for lengths in (input_lengths, target_lengths))
        if len(self.times) != N or len(self.lengths) != N:
            raise Unsupported(
                text("lengths for {n} examples", n=len(self.times)), text("one for each of {n}", n=N), text("check the lengths")
            )
        S = 2 * int(self.lengths.max(initial=0)) + 1
        self.labels = np.full((N, S), blank)
        flat, first = np.asarray(targets).reshape(-1), np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        for n, length in enumerate(self.lengths):  # targets are padded rows, or one after the other
            row = flat[first[n] : first[n] + length] if np.ndim(targets) == 1 and batched else np.atleast_2d(targets)[n, :length]
            self.labels[n, 1 : 2 * length : 2] = row
        # a blank between may be left out where the labels beside it differ
        self.skip = np.zeros((N, S), dtype=bool)
        self.skip[:, 2:] = (self.labels[:, 2:] != blank) & (self.labels[:, 2:] != self.labels[:, :-2])
        self.emitted = np.take_along_axis(self.x, np.broadcast_to(self.labels, (T, N, S)), axis=2)  # (T, N, S)
        self.rows = np.arange(N)
        self.last = 2 * self.lengths  # the final blank's position

    def alpha(self):
        """ln of the sum over the beginnings of alignments that are at position s at time t."""
        T, N, S = self.emitted.shape
        alpha = np.full((T, N, S), _NOWHERE)
        if not T:
            return alpha
        alpha[0, :, 0] = self.emitted[0, :, 0]
        if S > 1:
            alpha[0, :, 1] = np.where(self.lengths > 0, self.emitted[0, :, 1], _NOWHERE)
        for t in range(1, T):
            before = alpha[t - 1]
            alpha[t] = self._step(before, self.skip, 1) + self.emitted[t]
        return alpha

    @staticmethod
    def _step(before, skip, direction):
        """Stay, come from the neighbour, or skip the blank between."""
        near, far = np.full(before.shape, _NOWHERE), np.full(before.shape, _NOWHERE)
        if direction > 0:
            near[:, 1:], far[:, 2:] = before[:, :-1], before[:, :-2]
        else:
            near[:, :-1], far[:, :-2] = before[:, 1:], before[:, 2:]
        return np.logaddexp(np.logaddexp(before, near), np.where(skip, far, _NOWHERE))

    def likelihood(self, alpha):
        """ln of the probability of each target: alignments end with the last label or the blank behind it."""
        if not len(alpha):
            return np.where(self.lengths == 0, 0.0, _NOWHERE)
        end = np.maximum(self.times - 1, 0)
        final = alpha[end, self.rows, self.last]
        label = np.where(self.lengths > 0, alpha[end, self.rows, np.maximum(self.last - 1, 0)], _NOWHERE)
        return np.where(self.times == 0, np.where(self.lengths == 0, 0.0, _NOWHERE), np.logaddexp(final, label))

    def beta(self):
        """ln of the sum over the ends of alignments that are at position s at time t."""
        T, N, S = self.emitted.shape
        beta = np.full((T, N, S), _NOWHERE)
        skip = np.zeros((N, S), dtype=bool)
        skip[:, :-2] = self.skip[:, 2:]
        for t in range(T - 1, -1, -1):
            start = np.full((N, S), _NOWHERE)
            start[self.rows, self.last] = self.emitted[t, self.rows, self.last]
            before = np.maximum(self.last - 1, 0)
            start[self.rows, before] = np.where(self.lengths > 0, self.emitted[t, self.rows, before], start[self.rows, before])
            going = self._step(beta[t + 1], skip, -1) + self.emitted[t] if t + 1 < T else start
            beta[t] = np.where((self.times - 1 == t)[:, None], start, np.where((self.times - 1 > t)[:, None], going, _NOWHERE))
        return beta

    def gradient(self):
        """e^x minus the share of each class at each time, (T, N, K); 0 after the end."""
        alpha, beta = self.alpha(), self.beta()
        total = self.likelihood(alpha)
        share = alpha + beta - self.emitted - total[:, None]
        posterior = np.zeros(self.x.shape)
        t, n, s = np.nonzero(np.isfinite(share))
        np.add.at(posterior, (t, n, self.labels[n, s]), np.exp(share[t, n, s]))
        inside = np.arange(len(self.x))[:, None] < self.times
        return np.where(inside[:, :, None], np.exp(self.x) - posterior, 0.0), total


@rule(
    "ctc_loss", function=F.ctc_loss,
    forward=rf"L{EACH} = -\given{{reduction=mean}}{{\frac{{1}}{{N}} }}\given{{reduction!=none}}{{\sum_{{i}} }}"
    r"\given{reduction=mean}{\frac{1}{|y_{i}|} }\ln \sum_{\pi \in A(y_{i})} \prod_{t} e^{X_{t, i, \pi_{t}}}",
    backward={
        "log_probs": rf"\bar{{X}}_{{t,i,k}} = \given{{reduction=mean}}{{\frac{{1}}{{N |y_{{i}}|}} }}\bar{{L}}{EACH} \, "
        r"\bigl( e^{X_{t,i,k}} - P(\pi_{t} = k \mid y_{i}) \bigr)"
    },
    symbols={"X": "log_probs", "y": "targets", "L": "output"},
    where={
        "i": text("an example"), "N": text("the number of examples"), "t": text("a time step"), "k": text("a class"),
        r"\pi": text("an alignment: a class for each time step"), "e": text("Euler's number"),
        "A": text("the alignments that give y when repetitions and blanks are taken out"),
        "P": text("the share of the alignments that are at class k at time t"),
    },
    source="Graves, Fernandez, Gomez and Schmidhuber 2006, Connectionist temporal classification, equations 3 to 16",
    note=text("PyTorch's gradient is the one that log_softmax before it turns into itself: it differs from the derivative in X alone."),
)  # fmt: skip
class ctc_loss:
    def forward(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
        if reduction not in ("mean", "sum", "none"):  # torch.ctc_loss has numbers for them
            raise Unsupported(
                text("the reduction {reduction}", reduction=reduction), text("a name"), text("use torch.nn.functional.ctc_loss")
            )
        found = _Alignments(log_probs, targets, input_lengths, target_lengths, blank)
        losses = -found.likelihood(found.alpha())
        losses = np.where(np.isinf(losses), 0.0, losses) if zero_infinity else losses
        if reduction == "mean":
            return np.mean(losses / np.maximum(found.lengths, 1))
        return np.sum(losses) if reduction == "sum" else losses.reshape(log_probs.shape[1:-1])

    def backward(dL, L, log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
        found = _Alignments(log_probs, targets, input_lengths, target_lengths, blank)
        gradient, total = found.gradient()
        each = dL / np.maximum(found.lengths, 1) / len(found.lengths) if reduction == "mean" else np.broadcast_to(dL, found.lengths.shape)
        gradient = gradient * each[:, None]
        impossible = np.isinf(total)
        gradient = np.where(impossible[:, None], 0.0 if zero_infinity else np.nan, gradient)
        return {"log_probs": gradient.reshape(log_probs.shape)}
