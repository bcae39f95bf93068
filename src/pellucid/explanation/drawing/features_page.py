"""What a layer has learnt as one HTML file: kernels, maps, what excites each unit, attention, states over time, probes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.core.page import both, head_of_page, write_page
from pellucid.explanation.drawing import colours
from pellucid.explanation.drawing.page import heading, number, style

if TYPE_CHECKING:
    from pellucid.explanation.features.features import Features
    from pellucid.explanation.features.probes import Probes

UNITS_SHOWN = 12
KERNELS_SHOWN = 64
_WORD_BY_WORD = (nn.Embedding, nn.RNNBase, nn.TransformerEncoder, nn.TransformerEncoderLayer)  # a step of the output is a word of the input
EXCITING_SHOWN = 7  # with the one that was made they fill a row


def features_page(
    features: Features, path: str | Path, *, units: Sequence[int] | None = None, names: Sequence[str] | None = None,
    probes: Probes | None = None, maximised: bool = True,
) -> Path:  # fmt: skip
    """Write the page. `units`: which to show, else those that vary most over the inputs. See `Features.to_html`.

    Raises:
        StorageError: the file cannot be written.
    """
    title = f"{type(features.network.model).__name__}: {features.layer or type(features.module).__name__}"
    chosen = list(units) if units is not None else _most_varied(features)
    parts = [*head_of_page(title), f"<p>{both(_what(features))}</p>"]
    parts += [_soft(note) for note in features.notes]
    parts += _kernels(features)
    parts += _attention(features, names)
    parts += _neighbours(features, names)
    parts += _units(features, chosen, names, maximised)
    parts += _maps(features, chosen)
    if probes is not None:
        parts += _probes(probes)
    parts.append("</div>")
    return write_page(path, title, "".join(parts), style())


def _what(features: Features) -> Text:
    return text(
        "The layer {layer} ({kind}) has {units} units; they are shown on {count} inputs.",
        layer=features.layer or "·", kind=type(features.module).__name__, units=features.units, count=len(features.peaks),
    )  # fmt: skip


def _most_varied(features: Features) -> list[int]:
    """The units whose peaks differ most between inputs, relative to their size: a unit that always says the same tells nothing."""
    peaks = features.peaks.double()
    spread = peaks.std(dim=0, unbiased=False) / (peaks.abs().mean(dim=0) + 1e-12)
    return sorted(spread.argsort(descending=True)[:UNITS_SHOWN].tolist())


def _tile(picture: np.ndarray, label: str) -> str:
    words = escape(label, quote=True)
    return f'<figure><img alt="{words}" src="{colours.data_uri(picture)}"><figcaption>{words}</figcaption></figure>'


def _soft(sentence: Text) -> str:
    return f'<p class="soft">{both(sentence)}</p>'


def _unit(label: Text, shown: str) -> str:
    return f'<div class="unit"><span>{both(label)}</span><div>{shown}</div></div>'


def _kernels(features: Features) -> Iterator[str]:
    kernels = features.kernels
    if kernels is None or kernels.ndim != 4 or min(kernels.shape[2:]) < 2:
        return
    array = kernels.double().cpu().numpy()
    yield heading(text("Kernels"))
    if array.shape[1] in (1, 3):
        yield _soft(
            text("Each picture is one unit's weights: red above zero, blue below; weights on colour images have their own colours.")
        )
    else:
        said = text(
            "Each picture is one unit's weights, averaged over {count} input channels: red above zero, blue below.", count=array.shape[1]
        )
        yield _soft(said)
    tiles: list[str] = []
    for unit, kernel in enumerate(array[:KERNELS_SHOWN]):
        if len(kernel) == 3:
            picture = colours.as_picture(kernel)
        else:
            flat = kernel.mean(axis=0)
            picture = colours.signed(flat, float(np.abs(flat).max()))
        tiles.append(_tile(picture, str(unit)))
    yield f'<div class="tiles">{"".join(tiles)}</div>'
    if len(array) > KERNELS_SHOWN:
        yield _soft(text("{count} more units are not shown", count=len(array) - KERNELS_SHOWN))


def _units(features: Features, units: Sequence[int], names: Sequence[str] | None, maximised: bool) -> Iterator[str]:
    """For each unit the inputs that excite it most; of images also the input that was made for it."""
    first = features.inputs[0]
    as_images = first.ndim == 4 and first.is_floating_point() and first.shape[1] in (1, 3)
    yield heading(text("What excites a unit"))
    said = text("The inputs with the highest activation, the strongest first; below each its number and its activation.")
    made = None
    if as_images and maximised:
        said = text(
            "At the left, marked *, the input that was made to excite the unit on average over its map; then the inputs of the data that "
            "excite it most, below each its number and its activation."
        )
        made = features.maximise(units)
    word_by_word = isinstance(features.module, _WORD_BY_WORD) and features.maps.ndim == 3 and features.maps.shape[2] == first[0].numel()
    if word_by_word and names is not None and not first.is_floating_point():
        said = text(
            "The inputs with the highest activation, the strongest first: number, activation, and in bold the word at which it stands."
        )
    as_series = first.ndim == 3 and first.is_floating_point()
    if as_series:
        said = text(
            "The inputs with the highest activation, the strongest first: a row for each channel, time from left to right, red above zero, "
            "blue below; under each its number, its activation and, after @, the time step at which it stands."
        )
    yield _soft(said)
    bounds = (float(first.min()), float(first.max()))
    for row, unit in enumerate(units):
        strongest = features.exciting(unit, EXCITING_SHOWN)
        pairs = list(zip(strongest.samples.tolist(), strongest.activations.tolist(), strict=True))
        if as_images:
            tiles = [_tile(colours.as_picture(first[sample].cpu().numpy()), f"{sample}: {number(value)}") for sample, value in pairs]
            if made is not None:
                tiles.insert(
                    0, _tile(colours.as_picture(made.inputs[0][row].cpu().numpy(), bounds), f"* {number(float(made.activations[row]))}")
                )
            shown = f'<div class="tiles">{"".join(tiles)}</div>'
        elif as_series:
            tiles = [
                _tile(_series_picture(first[sample], features), f"{sample}: {number(value)}" + "".join(f" @ {step}" for step in place[:1]))
                for (sample, value), place in zip(pairs, strongest.places.tolist(), strict=True)
            ]
            shown = f'<div class="tiles">{"".join(tiles)}</div>'
        else:
            steps = strongest.places[:, 0].tolist() if word_by_word else [-1] * len(pairs)
            shown = "<br>".join(
                f"{sample}: {number(value)} {_input_in_words(first[sample], names, step)}"
                for (sample, value), step in list(zip(pairs, steps, strict=True))[:5]
            )
        yield _unit(text("unit {unit}", unit=unit), shown)


def _series_picture(given: Tensor, features: Features) -> np.ndarray:
    """A series as a picture (C, T), each channel by its own largest value; time is the axis as long as the layer's maps."""
    array = given.double().cpu().numpy()
    steps = features.maps.shape[2] if features.maps.ndim == 3 else max(array.shape)
    array = array.T if array.shape[0] == steps != array.shape[1] else array
    array = array / np.maximum(np.abs(array).max(axis=1, keepdims=True), 1e-12)
    edge = max(1, round(array.shape[1] / len(array)))  # few channels in many steps: no line
    return colours.signed(np.repeat(array, edge, axis=0), 1.0)


def _input_in_words(given: Tensor, names: Sequence[str] | None, step: int) -> str:
    """A short look at an input that is no image: its words, that of a time step in bold letters, or its first numbers."""
    flat = given.reshape(-1).tolist()[:24]
    if not given.is_floating_point() and names is not None:
        words = [escape(str(names[int(token)]) if int(token) < len(names) else str(token)) for token in flat]
        return " ".join(f"<b>{word}</b>" if place == step else word for place, word in enumerate(words))
    return f'<span class="soft">{escape(", ".join(number(float(value)) for value in flat[:10]))}{" …" if given.numel() > 10 else ""}</span>'


def _neighbours(features: Features, names: Sequence[str] | None) -> Iterator[str]:
    """Of an embedding the first tokens, each with those whose vectors lie nearest."""
    if not isinstance(features.module, nn.Embedding) or features.module.num_embeddings < 2:
        return

    def word(token: int) -> str:
        return escape(str(names[token]) if names is not None and token < len(names) else str(token))

    yield heading(text("Nearest vectors"))
    yield _soft(text("The first tokens, and beside each those whose vectors point most nearly the same way, with the cosine of the angle."))
    rows: list[str] = []
    for token in range(min(UNITS_SHOWN, features.module.num_embeddings)):
        near = features.neighbours(token, 5)
        pairs = zip(near.indices.tolist(), near.similarities.tolist(), strict=True)
        shown = ", ".join(f'{word(other)} <span class="soft">{number(cosine)}</span>' for other, cosine in pairs)
        rows.append(f"<tr><td><bdi>{word(token)}</bdi></td><td>{shown}</td></tr>")
    yield f'<div class="table"><table>{"".join(rows)}</table></div>'


def _maps(features: Features, units: Sequence[int]) -> Iterator[str]:
    maps = features.maps
    if maps.ndim == 4 and min(maps.shape[2:]) > 1:
        yield heading(text("Feature maps of the first inputs"))
        first = features.inputs[0]
        for sample in range(min(3, len(maps))):
            tiles = [_tile(colours.as_picture(first[sample].cpu().numpy()), f"{sample}")] if first.ndim == 4 else []
            for unit in units:
                values = maps[sample, unit].double().cpu().numpy()
                tiles.append(_tile(colours.signed(values, float(np.abs(values).max())), f"{unit}"))
            yield _unit(text("input {number}", number=sample), f'<div class="tiles">{"".join(tiles)}</div>')
    elif maps.ndim == 3 and maps.shape[2] > 1:
        yield heading(text("State over time"))
        yield _soft(text("Units from top to bottom, time steps from left to right; red above zero, blue below."))
        for sample in range(min(3, len(maps))):
            values = maps[sample].double().cpu().numpy()
            values = np.repeat(values, max(1, len(values) // values.shape[1]), axis=1)  # many units in few steps: no tower
            picture = colours.signed(values, float(np.abs(values).max()))
            yield _unit(text("input {number}", number=sample), f'<div class="pictures">{_tile(picture, "")}</div>')


def _attention(features: Features, names: Sequence[str] | None) -> Iterator[str]:
    if not any(isinstance(part, nn.MultiheadAttention) for part in features.module.modules()):
        try:
            weights = features.attention
        except OptionError:  # the layer computes none
            return
    else:
        weights = features.attention
    yield heading(text("Attention of the first input"))
    said = text(
        "A row is a step that looks, counted from 0, a column what is looked at; dark is much. First the mean of the heads, then each head."
    )
    yield _soft(said)
    first = features.inputs[0]
    words = [str(step) for step in range(weights.shape[-1])]
    if names is not None and not first.is_floating_point() and first[0].numel() == len(words):
        words = [str(names[int(token)]) if int(token) < len(names) else str(token) for token in first[0].reshape(-1).tolist()]
    yield alignment_table(features.alignment(0), words, [str(step) for step in range(weights.shape[-2])])
    heads = [_tile(colours.positive(head.double().cpu().numpy(), float(head.max())), str(place)) for place, head in enumerate(weights[0])]
    if len(heads) > 1:
        yield f'<div class="tiles">{"".join(heads)}</div>'


def alignment_table(weights: Tensor, columns: Sequence[str], rows: Sequence[str]) -> str:
    """A map of attention with the words at its sides, as translations are shown."""
    array = weights.double().cpu().numpy()
    head = "".join(f"<th><bdi>{escape(word)}</bdi></th>" for word in columns)
    body: list[str] = []
    for word, line in zip(rows, array, strict=False):
        cells = "".join(
            f'<td title="{value:.2f}" style="background:#{bytes(colours.positive(np.asarray([value]), 1.0)[0].tolist()).hex()}"></td>'
            for value in line
        )
        body.append(f"<tr><th><bdi>{escape(word)}</bdi></th>{cells}</tr>")
    return (
        f'<div class="table"><table class="alignment"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _probes(probes: Probes) -> Iterator[str]:
    yield heading(text("What a linear model reads off each layer"))
    metric = {"accuracy": text("accuracy"), "R2": text("R2")}[probes.metric]
    said = text(
        "{metric} on {samples} held-out samples of linear models fitted on {learnt} others; always the same answer: {chance}.",
        metric=metric, samples=probes.samples, learnt=probes.learnt_from, chance=number(probes.chance),
    )  # fmt: skip
    yield f"<p>{both(said)}</p>"
    heads = [text("features"), text("how many"), metric, text("95 % interval"), text("difference to {name}", name=probes.against)]
    titles = "".join(f"<th{' class=n' if place else ''}>{both(title)}</th>" for place, title in enumerate(heads))
    kinds = {"raw": text("the inputs as they are"), "hand-made": text("HOG, made by hand")}
    rows: list[str] = []
    for row in probes.rows:
        difference = "–" if row.difference is None else f"{number(row.difference.low)} … {number(row.difference.high)}"
        rows.append(
            f"<tr><td>{both(kinds.get(row.kind, row.name))}</td><td class=n>{row.features}</td><td class=n>{row.score:.3f}</td>"
            f"<td class=n>{row.interval.low:.3f} … {row.interval.high:.3f}</td><td class=n>{difference}</td></tr>"
        )
    yield f'<div class="table"><table><tr>{titles}</tr>{"".join(rows)}</table></div>'
    yield "".join(_soft(note) for note in probes.notes)
