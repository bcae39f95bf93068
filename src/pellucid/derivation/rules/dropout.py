"""Dropout: entries, channels or features set to zero by a recorded random mask."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule

_SOURCE = "Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014, Dropout"


def _mask(draws, input, p, training):
    """The mask of zeros and ones, already divided by 1 - p; 1 where nothing is dropped."""
    if not training or p == 0 or not input.size:
        return 1.0
    if p == 1:
        return 0.0
    if not draws:
        raise Unsupported(text("dropout without its recorded mask"), text("the mask that was drawn"), text("give draws=(mask,)"))
    mask = draws[0][0] if draws[0].ndim > input.ndim else draws[0]  # of an input without a dimension for the examples
    return mask / (1 - p)


def _dropping(what, training="training"):
    return {
        "forward": rf"Y = \given{{{training}}}{{\frac{{1}}{{1 - p}} M \odot }}X",
        "backward": {"input": rf"\bar{{X}} = \given{{{training}}}{{\frac{{1}}{{1 - p}} M \odot }}\bar{{Y}}"},
        "symbols": {"X": "input", "Y": "output", "p": "p"},
        "where": {"M": text("the mask that was drawn: 0 with probability p, else 1, for each {part}", part=what)},
    }


_ZEROED = text("What is kept is divided by 1 - p, so that evaluation needs no factor; in evaluation nothing is dropped.")
_CHANNELS = "Tompson, Goroshin, Jain, LeCun and Bregler 2015, Efficient object localization using convolutional networks"


@rule("dropout", function=F.dropout, **_dropping(text("entry")), source=_SOURCE, note=_ZEROED)
class dropout:
    def forward(input, p=0.5, training=True, inplace=False, *, draws=()):
        return input * _mask(draws, input, p, training)

    def backward(dY, Y, input, p=0.5, training=True, inplace=False, *, draws=()):
        return {"input": dY * _mask(draws, input, p, training)}


def _whole_channels(name):
    def forward(input, p=0.5, training=True, inplace=False, *, draws=()):
        return input * _mask(draws, input, p, training)

    def backward(dY, Y, input, p=0.5, training=True, inplace=False, *, draws=()):
        return {"input": dY * _mask(draws, input, p, training)}

    return rule(name, function=getattr(F, name), **_dropping(text("channel")), source=_CHANNELS, note=_ZEROED)(
        type(name, (), {"forward": forward, "backward": backward, "__module__": __name__})
    )


dropout1d, dropout2d, dropout3d = (_whole_channels(name) for name in ("dropout1d", "dropout2d", "dropout3d"))


@rule("feature_dropout", function=torch.feature_dropout, **_dropping(text("channel"), "train"), source=_CHANNELS, note=_ZEROED)
class feature_dropout:
    def forward(input, p, train, *, draws=()):
        return input * _mask(draws, input, p, train)

    def backward(dY, Y, input, p, train, *, draws=()):
        return {"input": dY * _mask(draws, input, p, train)}


_SATURATION = -1.7580993408473766  # -lambda alpha of the SELU: what it tends to on the left


def _alpha(draws, input, p, training):
    """Y = a (M X + s (1 - M)) + b: (a M, a s (1 - M) + b)."""
    if not training or p == 0 or not input.size:
        return 1.0, 0.0
    if p == 1:
        return 0.0, 0.0
    if not draws:
        raise Unsupported(text("dropout without its recorded mask"), text("the mask that was drawn"), text("give draws=(mask,)"))
    a = 1 / math.sqrt((_SATURATION**2 * p + 1) * (1 - p))
    return a * draws[0], a * _SATURATION * (1 - draws[0]) - a * _SATURATION * p


def _self_normalising(name, what):
    def forward(input, p=0.5, training=False, inplace=False, *, draws=()):
        scale, shift = _alpha(draws, input, p, training)
        return input * scale + shift

    def backward(dY, Y, input, p=0.5, training=False, inplace=False, *, draws=()):
        return {"input": dY * _alpha(draws, input, p, training)[0]}

    return rule(
        name, function=getattr(F, name),
        forward=r"Y = \given{training}{a \bigl( M \odot X + s (1 - M) \bigr) + b}\given{!training}{X}",
        backward={"input": r"\bar{X} = \given{training}{a M \odot }\bar{Y}"},
        symbols={"X": "input", "Y": "output"},
        where={
            "M": text("the mask that was drawn: 0 with probability p, else 1, for each {part}", part=what),
            "s": text("the limit of SELU on the left, -1.7581"),
            "a": text("((1 - p)(1 + p s^2))^(-1/2), which keeps the variance"), "b": text("-a p s, which keeps the mean"),
        },
        source="Klambauer, Unterthiner, Mayr and Hochreiter 2017, Self-normalizing neural networks, new dropout technique",
    )(type(name, (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


alpha_dropout, feature_alpha_dropout = (
    _self_normalising("alpha_dropout", text("entry")),
    _self_normalising("feature_alpha_dropout", text("channel")),
)
