"""`pellucid.features`: what one layer of any network has learnt, measured on inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.explanation.checks import plainly
from pellucid.explanation.features import capture
from pellucid.explanation.features.attention import attention_of
from pellucid.explanation.features.maximisation import Maximised, maximise

if TYPE_CHECKING:
    from pellucid.explanation.features.probes import Probes

KEPT_BYTES = 1 << 28  # of one layer's maps in memory; the peaks of all inputs are kept in any case
BATCH = 256


@dataclass(frozen=True)
class Exciting:
    """The inputs that excite one unit most, the strongest first."""

    unit: int
    samples: Tensor  # (k,) which of the inputs
    activations: Tensor  # (k,) the unit's largest activation on each
    places: Tensor  # (k, dimensions of a map) where in the map it stands: row and column, or time step; (k, 0) where a unit is one number


@dataclass(frozen=True)
class Neighbours:
    """What lies nearest in the layer's space, by the cosine of the angle between two vectors."""

    of: int
    indices: Tensor  # (k,) tokens of an embedding, else samples
    similarities: Tensor  # (k,) from -1 to 1


@plainly()
def features(model: nn.Module, inputs: Any, layer: str, *, batch_size: int = BATCH) -> Features:
    """What the module at the path `layer` (as in `model.named_modules()`) has learnt, measured on `inputs`, samples first.

    The model is not changed: all passes run on a copy over its weights, in evaluation mode. `inputs` as in `explain`.

    Raises:
        OptionError: there is no such layer, or the forward pass does not come to it, or it gives no tensor.
        ModelError: the model is no torch module, or cannot be copied.
        DataError: inputs that the network does not take.

    Example: `pellucid.features(model, images, "layer2").exciting(unit=3)`
    """
    network, given, notes = capture.prepared(model, inputs)
    module = capture.module_at(network.model, layer)
    maps: list[Tensor] = []
    peaks: list[Tensor] = []
    places: list[Tensor] = []
    kept = 0
    for batch in capture.batches(given, batch_size):
        calls = capture.calls_of(network, module, batch, layer)
        if len(calls) > 1 and not maps and not isinstance(module, nn.RNNCellBase):
            notes.append(
                text("the layer {name!r} is called {count} times in a pass: maps are those of its last call", name=layer, count=len(calls))
            )
        activations = capture.units_first(module, calls, len(batch[0]), layer)
        flat = activations.flatten(2) if activations.ndim > 2 else activations[..., None]
        peak, place = flat.max(dim=2)
        peaks.append(peak)
        places.append(place)
        if kept == 0 or kept + activations.nbytes <= KEPT_BYTES:
            maps.append(activations)
            kept += activations.nbytes
        else:
            kept = KEPT_BYTES  # full: no later batch is kept either
    held = torch.cat(maps)
    if len(held) < len(given[0]):
        notes.append(text("the maps of the first {kept} of {count} inputs are kept", kept=len(held), count=len(given[0])))
    return Features(layer, module, held, tuple(notes), network, given, torch.cat(peaks), torch.cat(places), batch_size)


@dataclass(frozen=True)
class Features:
    """One layer: what it has learnt and what it makes of the inputs.

    Attributes: `maps` (N, units, ...) its activations; `peaks` (N, units) each unit's largest; `notes` what is left out.
    """

    layer: str
    module: nn.Module
    maps: Tensor
    notes: tuple[Text, ...]
    network: capture.Network = field(repr=False)
    inputs: tuple[Tensor, ...] = field(repr=False)
    peaks: Tensor = field(repr=False)
    places: Tensor = field(repr=False)  # (N, units) where in the flattened map the peak stands
    batch_size: int = BATCH

    def __repr__(self) -> str:
        kind, shape = type(self.module).__name__, tuple(self.maps.shape)
        return f"Features({self.layer!r}, {kind}, maps {shape}, {self.units} units)"

    @property
    def units(self) -> int:
        return int(self.maps.shape[1])

    @property
    def kernels(self) -> Tensor | None:
        """The layer's weight: (out, in, ...) of a convolution, (units, in) of a linear layer; where the inputs are images and the layer
        is fed with their pixels, (units, C, H, W). Of a module of several layers the first one's. None without a weight."""
        for part in self.module.modules():
            if isinstance(part, (*capture.CONVOLUTIONS, nn.Linear)):
                weight = part.weight.detach()
                if isinstance(part, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
                    weight = weight.transpose(0, 1)
                sample = self.inputs[0].shape[1:]
                as_image = weight.ndim == 2 and len(sample) == 3 and weight.shape[1] == math.prod(sample)
                return weight.reshape(len(weight), *sample) if as_image else weight
        return None

    def exciting(self, unit: int, count: int = 9) -> Exciting:
        """The `count` inputs on which the unit's largest activation is highest.

        Raises:
            OptionError: there is no such unit.
        """
        self._check(unit)
        values, samples = self.peaks[:, unit].sort(descending=True, stable=True)
        samples = samples[:count]
        flat, shape = self.places[samples, unit], self.maps.shape[2:]
        places = torch.stack(torch.unravel_index(flat, shape), dim=1) if len(shape) else flat[:, None][:, :0]
        return Exciting(unit, samples, values[:count], places)

    def maximise(self, units: int | Sequence[int], *, steps: int = 128, seed: int = 0) -> Maximised:
        """An input for each unit that excites it as much as a smooth input within the data's range can; see `maximisation`.

        Raises:
            OptionError: there is no such unit, or the inputs are not floating-point numbers.
        """
        chosen = [units] if isinstance(units, int) else list(units)
        for unit in chosen:
            self._check(unit)
        return maximise(self.network, self.module, self.inputs, chosen, layer=self.layer, steps=steps, seed=seed)

    def neighbours(self, index: int, count: int = 10) -> Neighbours:
        """Of an embedding: the tokens whose vectors point the same way as that of the token `index`. Of any other layer: the samples
        whose activations do. cos(u, v) = u v / (|u| |v|). Source: Mikolov et al. 2013, section 4.

        Raises:
            OptionError: there is no such token or sample.
        """
        vectors = self.module.weight.detach() if isinstance(self.module, nn.Embedding) else self.maps.flatten(1)
        if not 0 <= index < len(vectors):
            raise OptionError(
                text("there is no vector {index}", index=index),
                text("a number from 0 to {last}", last=len(vectors) - 1),
                text("of an embedding a token is meant, of any other layer a sample"),
            )
        unit = torch.nn.functional.normalize(vectors.double(), dim=1)
        cosine = unit @ unit[index]
        cosine[index] = -math.inf  # not its own neighbour
        values, found = cosine.topk(min(count, len(vectors) - 1))
        return Neighbours(index, found, values)

    @property
    def hidden_state(self) -> Tensor:
        """(N, T, D): the state over time.

        Raises:
            OptionError: the layer's output has no time steps.
        """
        if self.maps.ndim != 3:
            raise OptionError(
                text("the layer {name!r} gives maps of shape {shape}", name=self.layer, shape=str(tuple(self.maps.shape))),
                text("(samples, units, time steps)"),
                text("choose a recurrent layer or one of a transformer"),
            )
        return self.maps.movedim(1, 2)

    @cached_property
    def attention(self) -> Tensor:
        """(N, heads, T of the queries, T of the keys): the weights with which each step looks at each, rows sum to 1.

        Raises:
            OptionError: no attention is computed inside the layer.
        """
        return attention_of(self.network, self.module, self.inputs, layer=self.layer, batch_size=self.batch_size)

    def alignment(self, sample: int = 0, head: int | str = "mean") -> Tensor:
        """(T of the queries, T of the keys) of one sample: of a translation, which source word each target word looks at.

        `head` is a number, "mean" of all heads, or "sharpest": the one whose rows have the lowest mean entropy.
        Source: Bahdanau, Cho and Bengio 2015, figure 3.

        Raises:
            OptionError: there is no such sample or head.
        """
        weights = self.attention
        if not 0 <= sample < len(weights):
            raise OptionError(
                text("there is no sample {index}", index=sample), text("a number from 0 to {last}", last=len(weights) - 1),
                text("sample=0 is the first"),
            )  # fmt: skip
        of_sample = weights[sample]
        if head == "mean":
            return of_sample.mean(dim=0)
        if head == "sharpest":
            entropy = -torch.special.xlogy(of_sample, of_sample).sum(dim=-1).mean(dim=-1)
            return of_sample[int(entropy.argmin())]
        if isinstance(head, str) or not 0 <= head < len(of_sample):
            raise OptionError(
                text("head is {head!r}", head=head),
                text('a number from 0 to {last}, "mean" or "sharpest"', last=len(of_sample) - 1),
                text("head='mean' is the average of all"),
            )
        return of_sample[head]

    def probes(self, targets: Any, *, layers: Sequence[str] | None = None, seed: int = 0) -> Probes:
        """How much of `targets` a linear model can read off each layer, beside the same on raw inputs and on HOG; see `probes_of`."""
        from pellucid.explanation.features.probes import probes_of  # scikit-learn is loaded when it is needed

        return probes_of(self.network, self.inputs, targets, layers=layers, seed=seed, batch_size=self.batch_size)

    def to_html(
        self,
        path: str | Path,
        *,
        units: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        probes: Probes | None = None,
        maximise: bool = True,
    ) -> Path:
        """One page in both languages, without anything from outside. `names`: the vocabulary of token inputs, number by number."""
        from pellucid.explanation.drawing.features_page import features_page

        return features_page(self, path, units=units, names=names, probes=probes, maximised=maximise)

    def _check(self, unit: int) -> None:
        if not 0 <= unit < self.units:
            raise OptionError(
                text("there is no unit {unit} in the layer {name!r}", unit=unit, name=self.layer),
                text("a number from 0 to {last}", last=self.units - 1),
                text("unit=0 is the first"),
            )
