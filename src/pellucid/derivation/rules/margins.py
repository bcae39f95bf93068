"""Losses that want a margin: hinges, rankings, triplets, embeddings."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast
from pellucid.derivation.rules.activations import logistic, softplus_of
from pellucid.derivation.rules.distances import norm, norm_slope
from pellucid.derivation.rules.losses import ARRIVING, EACH, SUM, TINY, WHERE, modern, reduced, unreduced

_EXAMPLES = {"i": text("an example"), "n": text("the number of examples")}
_AT_ZERO = text("Where the hinge is just reached, PyTorch lets the gradient pass.")


@rule(
    "margin_ranking_loss", function=F.margin_ranking_loss,
    forward=rf"L{EACH} = {SUM}" + r"\max\bigl(0, -y_{i} (a_{i} - b_{i}) + m\bigr)",
    backward={
        "input1": rf"\bar{{a}}_{{i}} = -{ARRIVING} \, " + r"y_{i} h_{i}", "input2": rf"\bar{{b}}_{{i}} = {ARRIVING} \, " + r"y_{i} h_{i}",
        "target": rf"\bar{{y}}_{{i}} = -{ARRIVING} \, " + r"(a_{i} - b_{i}) h_{i}, \quad h_{i} = [-y_{i} (a_{i} - b_{i}) + m \ge 0]",
    },
    symbols={"a": "input1", "b": "input2", "y": "target", "m": "margin", "L": "output"},
    where={**WHERE, "h": text("whether the hinge is open")},
    source="Herbrich, Graepel and Obermayer 2000, Large margin rank boundaries for ordinal regression", note=_AT_ZERO,
)  # fmt: skip
class margin_ranking_loss:
    def forward(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        return reduced(np.maximum(-target * (input1 - input2) + margin, 0), reduction)

    def backward(dL, L, input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
        hinge = -target * (input1 - input2) + margin
        d = np.where(hinge >= 0, unreduced(dL, hinge.shape, reduction), 0.0)
        return {
            "input1": unbroadcast(-d * target, input1.shape),
            "input2": unbroadcast(d * target, input2.shape),
            "target": unbroadcast(-d * (input1 - input2), target.shape),
        }


@rule(
    "hinge_embedding_loss", function=F.hinge_embedding_loss,
    forward=rf"L{EACH} = {SUM}" + r"\begin{cases} x_{i} & y_{i} = 1 \\ \max(0, m - x_{i}) & y_{i} = -1 \end{cases}",
    backward={"input": rf"\bar{{x}}_{{i}} = {ARRIVING} \, " + r"\begin{cases} 1 & y_{i} = 1 \\ -[m - x_{i} \ge 0] & y_{i} = -1"
    r" \end{cases}"},
    symbols={"x": "input", "y": "target", "m": "margin", "L": "output"}, where=WHERE,
    source="Hadsell, Chopra and LeCun 2006, Dimensionality reduction by learning an invariant mapping", note=_AT_ZERO,
)  # fmt: skip
class hinge_embedding_loss:
    def forward(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        return reduced(np.where(target != 1, np.maximum(margin - input, 0), 0.0) + np.where(target != -1, input, 0.0), reduction)

    def backward(dL, L, input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
        slope = np.where(target != -1, 1.0, 0.0) - ((target != 1) & (margin - input >= 0))
        return {"input": unbroadcast(unreduced(dL, slope.shape, reduction) * slope, input.shape)}


@rule(
    "soft_margin_loss", function=F.soft_margin_loss,
    forward=rf"L{EACH} = {SUM}" + r"\ln(1 + e^{-y_{i} x_{i}})",
    backward={"input": rf"\bar{{x}}_{{i}} = -{ARRIVING} \, " + r"y_{i} \, \sigma(-y_{i} x_{i})"},
    symbols={"x": "input", "y": "target", "L": "output"},
    where={**WHERE, "e": text("Euler's number"), r"\sigma": text("the logistic function")},
    source="Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning, section 10.6",
)  # fmt: skip
class soft_margin_loss:
    def forward(input, target, size_average=None, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        return reduced(softplus_of(-target * input), reduction)

    def backward(dL, L, input, target, size_average=None, reduce=None, reduction="mean"):
        slope = -target * logistic(-target * input)
        return {"input": unbroadcast(unreduced(dL, slope.shape, reduction) * slope, input.shape)}


@rule(
    "multi_margin_loss", function=F.multi_margin_loss,
    forward=rf"L{EACH} = {SUM}" + r"\frac{1}{K} \sum_{k \ne y_{i}} \given{weight}{w_{y_{i}} }\max(0, m - x_{i, y_{i}} + x_{i, k})^{p}",
    backward={
        "input": rf"\bar{{x}}_{{i, k}} = {ARRIVING} \, " + r"\frac{p}{K} \given{weight}{w_{y_{i}} }\max(0, m - x_{i, y_{i}} + x_{i,"
        r" k})^{p - 1}"
        r" \; (k \ne y_{i}), \quad \bar{x}_{i, y_{i}} = -\sum_{k \ne y_{i}} \bar{x}_{i, k}"
    },
    symbols={"x": "input", "y": "target", "p": "p", "m": "margin", "w": "weight", "L": "output"},
    where={**_EXAMPLES, "k": text("a class"), "K": text("the number of classes")},
    source="Crammer and Singer 2001, On the algorithmic implementation of multiclass kernel-based vector machines",
    note=text("Where the hinge is just reached, PyTorch takes the derivative 0."),
)  # fmt: skip
class multi_margin_loss:
    def forward(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        hinge, w, _ = _class_hinges(input, target, margin, weight)
        losses = (w * np.maximum(hinge, 0) ** p).sum(axis=-1) / hinge.shape[-1]
        return reduced(losses.reshape(target.shape), reduction)

    def backward(dL, L, input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
        hinge, w, chosen = _class_hinges(input, target, margin, weight)
        d = unreduced(dL, target.shape, reduction).reshape(-1, 1) / hinge.shape[-1]
        dX = np.where(hinge > 0, d * w * (1.0 if p == 1 else 2 * hinge), 0.0)
        dX[chosen] = -dX.sum(axis=-1)
        return {"input": dX.reshape(input.shape)}


def _class_hinges(input, target, margin, weight):
    """margin - x_y + x_k for each example and class, minus infinity at the class itself; the weights; where the class itself is."""
    y = target.reshape(-1)
    x = input.reshape(y.size, input.size // max(y.size, 1))
    chosen = (np.arange(len(y)), y)
    hinge = margin - x[chosen][:, None] + x
    hinge[chosen] = -np.inf
    return hinge, 1.0 if weight is None else weight[y][:, None], chosen


@rule(
    "multilabel_margin_loss", function=F.multilabel_margin_loss,
    forward=rf"L{EACH} = {SUM}" + r"\frac{1}{K} \sum_{j \in y_{i}} \sum_{k \notin y_{i}} \max(0, 1 - x_{i, j} + x_{i, k})",
    backward={
        "input": rf"\bar{{x}}_{{i, k}} = {ARRIVING} \, " + r"\frac{1}{K} \sum_{j \in y_{i}} [1 - x_{i, j} + x_{i, k} > 0]"
        r" \; (k \notin y_{i}), \quad "
        rf"\bar{{x}}_{{i, j}} = -{ARRIVING} \, " + r"\frac{1}{K} \sum_{k \notin y_{i}} [1 - x_{i, j} + x_{i, k} > 0] \; (j \in y_{i})"
    },
    symbols={"x": "input", "y": "target", "L": "output"},
    where={**_EXAMPLES, "j": text("one of the example's classes"), "k": text("another class"), "K": text("the number of classes")},
    source="Weston and Watkins 1999, Support vector machines for multi-class pattern recognition",
    note=text("The classes of an example end where a -1 stands."),
)  # fmt: skip
class multilabel_margin_loss:
    def forward(input, target, size_average=None, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        hinge, _ = _label_hinges(input, target)
        return reduced((np.maximum(hinge, 0).sum(axis=(1, 2)) / hinge.shape[-1]).reshape(target.shape[:-1]), reduction)

    def backward(dL, L, input, target, size_average=None, reduce=None, reduction="mean"):
        hinge, labels = _label_hinges(input, target)
        d = unreduced(dL, target.shape[:-1], reduction).reshape(-1, 1, 1) / hinge.shape[-1]
        open_ = np.where(hinge > 0, d, 0.0)  # (examples, labels, classes)
        dX = open_.sum(axis=1)
        rows, columns = np.nonzero(labels >= 0)
        np.subtract.at(dX, (rows, labels[rows, columns]), open_.sum(axis=2)[rows, columns])
        return {"input": dX.reshape(input.shape)}


def _label_hinges(input, target):
    """1 - x_j + x_k for each example, label j and class k that is no label, else minus infinity; the labels, -1 where there is none."""
    K = input.shape[-1] if input.ndim else 1
    x, labels = input.reshape(-1, K), np.array(target.reshape(-1, K))
    labels[np.cumsum(labels < 0, axis=1) > 0] = -1
    is_label = np.zeros(x.shape, dtype=bool)
    rows, columns = np.nonzero(labels >= 0)
    is_label[rows, labels[rows, columns]] = True
    hinge = 1 - np.take_along_axis(x, np.maximum(labels, 0), axis=1)[:, :, None] + x[:, None, :]
    return np.where((labels >= 0)[:, :, None] & ~is_label[:, None, :], hinge, -np.inf), labels


@rule(
    "multilabel_soft_margin_loss", function=F.multilabel_soft_margin_loss,
    forward=rf"L{EACH} = -{SUM}"
    + r"\frac{1}{K} \sum_{k} \given{weight}{w_{k} }\bigl( y_{ik} \ln \sigma(x_{ik}) + (1 - y_{ik}) \ln \sigma(-x_{ik}) \bigr)",
    backward={
        "input": rf"\bar{{x}}_{{ik}} = {ARRIVING} \, " + r"\frac{1}{K} \given{weight}{w_{k} }(\sigma(x_{ik}) - y_{ik})",
        "target": rf"\bar{{y}}_{{ik}} = -{ARRIVING} \, " + r"\frac{1}{K} \given{weight}{w_{k} }x_{ik}",
    },
    symbols={"x": "input", "y": "target", "w": "weight", "L": "output"},
    where={**_EXAMPLES, "k": text("a class"), "K": text("the number of classes"), r"\sigma": text("the logistic function")},
    source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.2",
)  # fmt: skip
class multilabel_soft_margin_loss:
    def forward(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        losses = target * softplus_of(-input) + (1 - target) * softplus_of(input)
        return reduced((losses if weight is None else losses * weight).sum(axis=-1) / input.shape[-1], reduction)

    def backward(dL, L, input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
        d = unreduced(dL, input.shape[:-1], reduction)[..., None] / input.shape[-1] * (1.0 if weight is None else weight)
        return {"input": unbroadcast(d * (logistic(input) - target), input.shape), "target": unbroadcast(-d * input, target.shape)}


# -- embeddings ----------------------------------------------------------------------------------------------------------------------------


@rule(
    "cosine_embedding_loss", function=F.cosine_embedding_loss,
    forward=rf"L{EACH} = {SUM}" + r"\begin{cases} 1 - \cos(a_{i}, b_{i}) & y_{i} = 1 \\ \max(0, \cos(a_{i}, b_{i}) - m) & y_{i} = -1"
    r" \end{cases}",
    backward={
        "input1": rf"\bar{{a}}_{{i}} = {ARRIVING} \, " + r"\frac{s_{i}}{\lVert a_{i} \rVert} \bigl( \hat{b}_{i} - \cos(a_{i}, b_{i})"
        r" \, \hat{a}_{i} \bigr)",
        "input2": rf"\bar{{b}}_{{i}} = {ARRIVING} \, " + r"\frac{s_{i}}{\lVert b_{i} \rVert} \bigl( \hat{a}_{i} - \cos(a_{i}, b_{i})"
        r" \, \hat{b}_{i} \bigr)",
    },
    symbols={"a": "input1", "b": "input2", "y": "target", "m": "margin", "L": "output"},
    where={**_EXAMPLES, "s": text("-1 where y is 1; where y is -1, 1 if the hinge is open and else 0")},
    source="Chopra, Hadsell and LeCun 2005, Learning a similarity metric discriminatively",
    note=text("A hat makes a unit vector. Where the hinge is just reached, PyTorch lets the gradient pass."),
)  # fmt: skip
class cosine_embedding_loss:
    def forward(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        cosine = _cosine(input1, input2)[0]
        losses = np.where(target == 1, 1 - cosine, np.where(target == -1, np.maximum(cosine - margin, 0), 0.0))
        return reduced(losses, reduction)

    def backward(dL, L, input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
        cosine, first, second = _cosine(input1, input2)
        slope = np.where(target == 1, -1.0, np.where((target == -1) & (cosine - margin >= 0), 1.0, 0.0))
        d = (slope * unreduced(dL, slope.shape, reduction))[..., None]
        root, cosine = np.sqrt(first * second)[..., None], cosine[..., None]
        return {
            "input1": unbroadcast(d * (input2 / root - cosine * input1 / first[..., None]), input1.shape),
            "input2": unbroadcast(d * (input1 / root - cosine * input2 / second[..., None]), input2.shape),
        }


def _cosine(a, b):
    first, second = np.sum(a * a, axis=-1) + TINY, np.sum(b * b, axis=-1) + TINY  # so does PyTorch
    return np.sum(a * b, axis=-1) / np.sqrt(first * second), first, second


_TRIPLET_MEAN = r"\given{reduction=mean}{\frac{1}{N} }"
_TRIPLET_ARRIVING = _TRIPLET_MEAN + r"\bar{L}" + EACH + r" \, h_{i} "
_SWAPPED = r"\given{swap}{ - (1 - c_{i}) \, \frac{\partial d(p_{i}, n_{i})}{\partial p_{i}}}"
_TRIPLET = {
    "forward": rf"L{EACH} = {_TRIPLET_MEAN}\given{{reduction!=none}}{{\sum_{{i}} }}\max\bigl(0, m + d(a_{{i}}, p_{{i}}) - "
    r"\given{swap}{\min\bigl(}d(a_{i}, n_{i})\given{swap}{, d(p_{i}, n_{i})\bigr)}\bigr)",
    "backward": {
        "anchor": rf"\bar{{a}}_{{i}} = {_TRIPLET_ARRIVING}"
        r"\Bigl( \frac{\partial d(a_{i}, p_{i})}{\partial a_{i}} - \given{swap}{c_{i} \, }\frac{\partial d(a_{i}, n_{i})}{\partial"
        r" a_{i}} \Bigr)",
        "positive": rf"\bar{{p}}_{{i}} = {_TRIPLET_ARRIVING}"
        r"\Bigl( \frac{\partial d(a_{i}, p_{i})}{\partial p_{i}}" + _SWAPPED + r" \Bigr)",
        "negative": rf"\bar{{n}}_{{i}} = {_TRIPLET_ARRIVING}"
        r"\Bigl( -\given{swap}{c_{i} \, }\frac{\partial d(a_{i}, n_{i})}{\partial n_{i}}" + _SWAPPED.replace("partial p", "partial n")
        + r" \Bigr)",
    },
    "symbols": {"a": "anchor", "p": "positive", "n": "negative", "m": "margin", "L": "output"},
    "where": {
        "i": text("an example"), "N": text("the number of examples"), "d": text("the distance of two vectors"),
        "h": text("whether the hinge is open"),
        "c": text("whether the anchor is nearer to the negative than the positive is; one half where they are equally near"),
    },
    "source": "Schroff, Kalenichenko and Philbin 2015, FaceNet, section 3.1",
    "note": text("With swap, the distance of positive and negative counts where it is the smaller (Balntas et al. 2016)."),
}  # fmt: skip


class _Triplet:
    """Three distances, the shorter of the two to the negative, the hinge."""

    def __init__(self, anchor, positive, negative, margin, p, eps, swap):
        self.differences = [anchor - positive + eps, anchor - negative + eps, positive - negative + eps]
        self.p, self.distances = p, [norm(difference, p) for difference in self.differences]
        near, far, swapped = self.distances
        self.share = (far < swapped) + 0.5 * (far == swapped) if swap else np.ones(far.shape)
        self.hinge = margin + near - (np.minimum(far, swapped) if swap else far)

    def gradients(self, dL, reduction, shapes):
        d = np.where(self.hinge >= 0, unreduced(dL, self.hinge.shape, reduction), 0.0)
        near, far, swapped = (
            norm_slope(difference, self.p, distance) for difference, distance in zip(self.differences, self.distances, strict=True)
        )
        near, far, swapped = d[..., None] * near, (d * self.share)[..., None] * far, (d * (1 - self.share))[..., None] * swapped
        found = {"anchor": near - far, "positive": -near - swapped, "negative": far + swapped}
        return {name: unbroadcast(gradient, shape) for (name, gradient), shape in zip(found.items(), shapes, strict=True)}


@rule("triplet_margin_loss", function=F.triplet_margin_loss, **_TRIPLET)
class triplet_margin_loss:
    def forward(
        anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None, reduce=None, reduction="mean"
    ):  # fmt: skip
        modern(size_average, reduce)
        return reduced(np.maximum(_Triplet(anchor, positive, negative, margin, p, eps, swap).hinge, 0), reduction)

    def backward(
        dL, L, anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None, reduce=None, reduction="mean"
    ):  # fmt: skip
        triplet = _Triplet(anchor, positive, negative, margin, p, eps, swap)
        return triplet.gradients(dL, reduction, (anchor.shape, positive.shape, negative.shape))


@rule("triplet_margin_with_distance_loss", function=F.triplet_margin_with_distance_loss, **_TRIPLET)
class triplet_margin_with_distance_loss:
    def forward(anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"):
        return reduced(np.maximum(_Triplet(anchor, positive, negative, margin, *_distance(distance_function), swap).hinge, 0), reduction)

    def backward(dL, L, anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"):
        triplet = _Triplet(anchor, positive, negative, margin, *_distance(distance_function), swap)
        return triplet.gradients(dL, reduction, (anchor.shape, positive.shape, negative.shape))


def _distance(function):
    """p and epsilon of PyTorch's own distance of two vectors."""
    if function in (None, torch.pairwise_distance):
        return 2.0, 1e-6
    if isinstance(function, torch.nn.PairwiseDistance) and not function.keepdim:
        return function.norm, function.eps
    raise Unsupported(
        text("a distance function of the program's own"), text("the distance of pairwise_distance"), text("write the loss as operations")
    )
