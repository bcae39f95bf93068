"""The reference input: what "absent" means. An attribution says what an entry changes against it, so it is always stated.

`"zero"`, `"mean"` (of the background, else of each sample's own channel), `"blur"` (a sample's own low frequencies), `"noise"`, `"samples"`
(of the background), or a tensor of the user's. Absent tokens are the embedding's padding token, else token 0; where token 0 never occurs
in the background, its most frequent token: what the network never met has an embedding that was never trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.errors import DataError, OptionError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.explanation.checks import named, read
from pellucid.explanation.players import time_axis
from pellucid.explanation.subject import Subject

KINDS = ("zero", "mean", "blur", "noise", "samples")
_MOST_SAMPLES = 100  # of a background, drawn at random: Lundberg and Lee 2017 call 100 enough for a summary of it


@dataclass(frozen=True, eq=False)
class Reference:
    """R reference inputs shared by all samples, or one for each sample (`own`)."""

    kind: str
    values: tuple[Tensor, ...]  # for each input (R, ...); where `own`, (N, ...): row i belongs to sample i
    stated: Text  # in words
    own: bool = False
    notes: tuple[Text, ...] = ()

    @property
    def count(self) -> int:
        """How many references a sample has."""
        return 1 if self.own else len(self.values[0])

    def at(self, samples: Tensor, which: Tensor | None = None) -> tuple[Tensor, ...]:
        """The references of the samples with these indices (n,), each input (n, ...); `which` (n,): number of the reference, 0 if None."""
        rows = samples if self.own else (torch.zeros_like(samples) if which is None else which)
        return tuple(value[rows] for value in self.values)

    @classmethod
    def of(cls, subject: Subject, baseline: Any = "auto", data: Any = None, generator: torch.Generator | None = None) -> Reference:
        """The reference for these samples.

        Raises:
            OptionError: an unknown baseline, or one that needs `data`.
            DataError: a baseline or background of another shape or type than the inputs.
        """
        generator = generator or torch.Generator().manual_seed(0)
        background = None if data is None else like_inputs(subject, data, text("the background (data)"))
        if not isinstance(baseline, str):
            return _given(subject, baseline)
        if checked_kind(baseline) == "auto":
            baseline = _automatic(subject, background is not None)
        if baseline == "blur":
            _check_blur(subject)
        if baseline == "samples":
            if background is None:
                raise OptionError(
                    text('baseline is "samples" and there is no background'),
                    text("data: inputs from which references are drawn"),
                    text("give data=, for example a few hundred training inputs"),
                )
            chosen = torch.randperm(len(background[0]), generator=generator)[:_MOST_SAMPLES].sort().values
            values = tuple(tensor[chosen.to(tensor.device)] for tensor in background)
            return cls("samples", values, text("{count} samples of the background", count=len(chosen)))
        made = [_made(subject, index, baseline, background, generator) for index in range(len(subject.inputs))]
        own = any(len(value) != 1 for value in made) or any(subject.masks) or (baseline in ("mean", "blur", "noise") and background is None)
        n = subject.samples
        values = tuple(value.expand(n, *value.shape[1:]) if own else value for value in made)
        whole = [index for index, kept in enumerate(subject.continuous) if not kept and not subject.masks[index]]
        tokens = [_token(subject, index, background) for index in whole]
        stated = _stated(baseline, background is not None) if any(subject.continuous) else tokens[0][1]
        if tokens and any(subject.continuous):
            stated = text("{numbers}; of whole numbers: {token}", numbers=stated, token=tokens[0][1])
        notes = [
            note if len(subject.inputs) == 1 else text("{name}: {note}", name=subject.name(index), note=note)
            for index, (_, _, note) in zip(whole, tokens, strict=True)
            if note is not None
        ]
        notes += [
            text("{name} holds zeros and ones beside the tokens and reaches no embedding: it is taken for a mask, which stays as it is and "
                 "is not explained", name=subject.name(index))
            for index, mask in enumerate(subject.masks) if mask
        ]  # fmt: skip
        return cls(baseline, values, stated, own, tuple(notes))


def checked_kind(baseline: Any) -> Any:
    """A baseline by its name, or what is no name.

    Raises:
        OptionError: there is no such name.
    """
    if isinstance(baseline, str) and baseline not in ("auto", *KINDS):
        raise OptionError(text("baseline is {baseline!r}", baseline=baseline),
                          text("one of {names}; in Python also a number or a tensor", names=["auto", *KINDS]),
                          did_you_mean(baseline, KINDS))  # fmt: skip
    return baseline


def _check_blur(subject: Subject) -> None:
    """Raise an OptionError where neighbours mean nothing: columns of a table have an order by accident, tokens no mean."""
    flat = subject.kind in ("table", "mixed") and any(x.is_floating_point() and x.dim() < 3 for x in subject.inputs)
    if flat or not any(subject.continuous):
        raise OptionError(
            text('baseline is "blur" and an input has no neighbouring values that could be averaged (shapes {shapes})',
                 shapes=[str(tuple(x.shape)) for x in subject.inputs]),
            text("images, volumes or series of numbers"),
            text('use baseline="zero" or "mean", or "samples" with data='),
        )  # fmt: skip


def _automatic(subject: Subject, background: bool) -> str:
    """Tables against samples; images against their own blurred copies; everything else against a mean.

    A blurred copy keeps an image's colours and brightness, so that "absent" does not mean black, and dark objects count too.
    Blur is one of the perturbations of Fong and Vedaldi 2017.
    The mean of one row of a table is nothing: there it is zero.
    """
    if subject.kind in ("table", "mixed"):
        return "samples" if background else "zero"
    return "blur" if subject.kind in ("image", "volume") else "mean"


def _made(subject: Subject, index: int, kind: str, background: tuple[Tensor, ...] | None, generator: torch.Generator) -> Tensor:
    """(1, ...) or (N, ...) one input's reference."""
    inputs = subject.inputs[index]
    if subject.masks[index]:
        return inputs
    if not inputs.is_floating_point():
        return torch.full_like(inputs[:1], _token(subject, index, background)[0])
    if kind == "zero":
        return torch.zeros_like(inputs[:1])
    if kind == "mean":
        if background is not None:
            return background[index].mean(0, keepdim=True)
        axes = tuple(range(2, inputs.dim())) if inputs.dim() > 2 else tuple(range(inputs.dim()))[1:]
        if inputs.dim() == 3:
            axes = (1 + time_axis(subject, (inputs.shape[1], inputs.shape[2])),)
        return inputs.mean(axes, keepdim=True).expand_as(inputs).clone() if axes else inputs.clone()
    if kind == "noise":
        source = inputs if background is None else background[index]
        spread, centre = source.std(), source.mean()
        drawn = torch.randn(inputs.shape, generator=generator, dtype=torch.float32).to(inputs)
        return centre + spread * drawn
    if inputs.dim() == 3 and time_axis(subject, (inputs.shape[1], inputs.shape[2])) == 0:
        return blurred(inputs.transpose(1, 2)).transpose(1, 2)  # along time, not over the channels
    return blurred(inputs)


def _token(subject: Subject, index: int, background: tuple[Tensor, ...] | None) -> tuple[int, Text, Text | None]:
    """The token that stands where nothing stands, in words, and what the user must know about it."""
    inputs = subject.inputs[index]
    padding = next((place.padding for place in subject.places if place.input == index and place.padding is not None), None)
    if padding is not None:
        padding = padding % max(1, int(inputs.max()) + 1) if padding < 0 else padding
        return padding, text("the padding token ({token}) in every place", token=padding), None
    met = inputs if background is None else background[index]
    if inputs.dtype == torch.bool or bool((met == 0).any()):
        return 0, text("token {token} in every place", token=0), None
    if background is None:
        note = text(
            "absent tokens are token 0, which occurs in none of these inputs, and the embedding has no padding_idx: the network may never "
            "have met it; give data=, some training inputs, or baseline=, a tensor of tokens that say nothing"
        )
        return 0, text("token {token} in every place", token=0), note
    known, counts = met.unique(return_counts=True)
    token = int(known[counts.argmax()])
    note = text(
        "the embedding has no padding_idx and token 0 occurs nowhere in data: absent tokens are token {token}, the most frequent one; "
        "another: baseline=, a tensor of tokens that say nothing",
        token=token,
    )
    return token, text("token {token}, the most frequent of the background, in every place", token=token), note


def blurred(inputs: Tensor) -> Tensor:
    """Each sample without its details: a Gaussian over the axes after the channels, standard deviation an eighth of each axis."""
    if inputs.dim() < 3:
        return inputs.mean(-1, keepdim=True).expand_as(inputs).clone() if inputs.dim() == 2 else inputs.clone()
    found = inputs
    for axis in range(2, inputs.dim()):
        size = inputs.shape[axis]
        sigma = max(size / 8, 1e-6)
        radius = min(size - 1, int(3 * sigma))
        places = torch.arange(-radius, radius + 1, device=inputs.device, dtype=inputs.dtype)
        weights = torch.softmax(-(places**2) / (2 * sigma**2), 0)
        moved = found.movedim(axis, -1)
        flat = moved.reshape(-1, 1, size)
        flat = F.conv1d(F.pad(flat, (radius, radius), mode="replicate"), weights[None, None])
        found = flat.reshape(moved.shape).movedim(-1, axis)
    return found.contiguous()


def _stated(kind: str, background: bool) -> Text:
    words = {
        "zero": text("zero in every entry"),
        "mean": text("the mean of the background") if background else text("each sample's own mean, channel by channel"),
        "blur": text("each sample's own blurred copy"),
        "noise": text("Gaussian noise with the mean and spread of the inputs"),
    }
    return words[kind]


def _given(subject: Subject, baseline: Any) -> Reference:
    if isinstance(baseline, (int, float)) and not isinstance(baseline, bool):
        if not math.isfinite(baseline):
            raise DataError(text("the baseline is {baseline}", baseline=baseline), text("a finite number"), text("use baseline=0.0"))
        values = tuple(torch.full_like(tensor[:1], baseline) for tensor in subject.inputs)
        return Reference("given", values, text("{value} in every entry", value=baseline))
    values = tuple(value.clone() for value in like_inputs(subject, baseline, text("the baseline")))  # the user may overwrite theirs
    own = len(values[0]) == subject.samples > 1
    return Reference("given", values, text("the reference that was given"), own)


def _tensor(given: Any, what: Text) -> Tensor:
    try:
        value = torch.as_tensor(read(given))
    except (TypeError, ValueError, RuntimeError):
        value = None
    if value is not None and value.device.type == "meta":
        raise DataError(
            text("{what} is on the meta device", what=what), text("a tensor with values"), text("make it on the network's device")
        )  # fmt: skip
    if value is not None and (value.is_complex() or value.layout != torch.strided):
        raise DataError(
            text("{what} has dtype {dtype} and layout {layout}", what=what, dtype=str(value.dtype), layout=str(value.layout)),
            text("a dense real tensor or array for each input"),
            text("prepare it in the same way as the inputs"),
        )
    if value is None:
        raise DataError(
            text("{what} is a {kind}", what=what, kind=type(given).__name__),
            text("a dense real tensor or array for each input"),
            text("prepare it in the same way as the inputs"),
        )
    return value


def like_inputs(subject: Subject, given: Any, what: Text) -> tuple[Tensor, ...]:
    """Tensors (R, ...) of the shape and type of the inputs; one sample without its sample axis is taken too."""
    parts: list[Any]
    if isinstance(given, Mapping):
        parts = named(cast("Mapping[Any, Any]", given), subject.keywords, what)
    else:
        parts = list(cast("Sequence[Any]", given)) if isinstance(given, (tuple, list)) else [given]
    if len(parts) != len(subject.inputs):
        raise DataError(
            text("{what} has {count} tensors", what=what, count=len(parts)),
            text("{expected}, as many as there are inputs", expected=len(subject.inputs)),
            text("give one for each input, in the same order"),
        )
    found: list[Tensor] = []
    for part, like, flat, came in zip(parts, subject.inputs, subject.flat, subject.types, strict=True):
        value = _tensor(part, what).detach()
        value = value[:, None] if flat and value.dim() == 1 else value
        if value.is_inference():
            with torch.inference_mode(False):
                value = value.clone()
        if value.shape == like.shape[1:] and value.dim() == like.dim() - 1:
            value = value[None]
        if value.shape[1:] != like.shape[1:] or value.dim() != like.dim() or not len(value):
            raise DataError(
                text("{what} has shape {shape}", what=what, shape=str(tuple(value.shape))),
                text("{shape}: samples like the inputs", shape="(R, " + ", ".join(map(str, like.shape[1:])) + ")"),
                text("prepare it in the same way as the inputs"),
            )
        if value.is_floating_point() != like.is_floating_point() and value.dtype != came:
            raise DataError(
                text("{what} has dtype {dtype}", what=what, dtype=str(value.dtype)),
                text("{dtype}, as the inputs have", dtype=str(like.dtype)),
                text("prepare it in the same way as the inputs"),
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(
                text("{what} contains NaN or infinite values", what=what),
                text("finite numbers"),
                text("fill them in, or leave these samples out"),
            )
        found.append(value.to(like))
    if len({len(value) for value in found}) > 1:
        raise DataError(
            text("{what} has shapes {shapes}", what=what, shapes=[str(tuple(value.shape)) for value in found]),
            text("the same number of samples in each tensor"),
            text("prepare it in the same way as the inputs"),
        )
    return tuple(found)
