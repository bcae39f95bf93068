"""A run's answers explained in its user's own terms: columns and values before preprocessing, words, pixels, classes by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from pellucid.core.errors import DataError, OptionError, did_you_mean
from pellucid.core.language import Text, sample_name, text
from pellucid.data.forecasting.reading import SeriesSamples
from pellucid.data.images.decoding import is_image_name
from pellucid.data.masks.reading import MaskSamples
from pellucid.data.samples import ResidentPart
from pellucid.data.series.values import SeriesValues
from pellucid.data.tables.preprocessing import TablePreprocessing
from pellucid.data.text.preprocessing import TextPreprocessing
from pellucid.explanation.checks import checked_seed
from pellucid.explanation.drawing.page import write
from pellucid.explanation.drawing.picture import draw
from pellucid.explanation.drawing.samples import Sample, samples_of, sums_of
from pellucid.explanation.explain import explain
from pellucid.explanation.explanation import Explanation
from pellucid.explanation.reference import checked_kind
from pellucid.explanation.registry import find_method
from pellucid.training.baselines.series import stretched
from pellucid.training.derived import PARTS
from pellucid.training.explained_parts import players_of, table_parts, token_part, unread
from pellucid.training.forecasting.measures import points
from pellucid.training.losses import probabilities
from pellucid.training.run import Run

BACKGROUND = 200  # training samples that say what "absent" means: their mean is known to a few percent of a standard deviation
_ORIGINS = {"train": text("a training sample"), "validation": text("a validation sample"), "test": text("a test sample")}


@dataclass(frozen=True)
class Explained:
    """One sample of a run, explained."""

    run: Run
    explanation: Explanation
    sample: Sample
    identifier: str  # row or file
    part: str | None  # of the run's data; None for new data
    answer: str  # the class, or the value in the target's unit
    probability: float | None
    target: str  # the class that is explained, or the name of the number
    actual: str | None  # what the data say, where they do
    notes: tuple[Text, ...]

    def to_html(self, path: str | Path, *, even_if_untrusted: bool = False) -> Path:
        """One page; see `explanation.drawing.page`."""
        title = text("Why {network} says so", network=self.run.directory.name)
        return write(path, self.explanation, [self.sample], title=title, notes=self.notes, even_if_untrusted=even_if_untrusted)

    def plot(self, path: str | Path, *, even_if_untrusted: bool = False) -> Path:
        """One picture."""
        return draw(path, self.explanation, [self.sample], even_if_untrusted=even_if_untrusted)


def explain_run(
    run: Run,
    source: Any = None,
    *,
    row: str | None = None,
    words: str | None = None,
    target: str | None = None,
    method: str = "auto",
    baseline: Any = "auto",
    seed: int = 0,
    tell: Callable[[Text], None] | None = None,
) -> Explained:
    """Why the run's network answers as it does: for the sample `row` of its data or of `source` (a file, an array), for the only sample of
    `source`, or for `words`, where the run learnt from one column of texts.

    `row` is what every command calls a sample: "17" for row 17, or a file's name. `target`: the class to explain by its name (None: the
    predicted one), or of a regression the name of the number.

    Raises:
        DataError: no such sample, more than one without `row`, or data that cannot be read.
        OptionError: an unknown class or method.
    """
    checked_seed(seed)  # before data are read, which can take long
    checked_kind(baseline)
    if method != "auto":
        find_method(method)
    if words is not None and not words.strip():
        raise OptionError(text("the text is empty"), text("some words"), text('write --text "..."'))
    preprocessing = run._preprocessing()
    chosen, inputs, prepared, notes = _sample_of(run, preprocessing, source, row, words)
    background = None if isinstance(preprocessing, TextPreprocessing) else _background(run, prepared, notes, seed)
    if background is not None and isinstance(chosen.inputs, SeriesValues):  # of the length of the sample, without padding
        background = stretched(background, inputs.shape[2]).unflatten(1, tuple(inputs.shape[1:]))
    network = _Answering(run, preprocessing)
    if run.task.kind == "segmentation":
        network.look_at(inputs)
    elif run.task.kind == "forecasting":
        notes.append(text("each number of the series before the forecast is a step of its past"))
    if background is not None and background.shape[1:] != inputs.shape[1:] and run.task.kind == "segmentation":
        notes.append(text("the training images have other sizes than this one: none of them stand for what is absent"))
        background = None
    outputs = _outputs(network, inputs)
    number, name = _target_of(run, target, outputs, notes, network.shares)
    grouped, labels = players_of(preprocessing, chosen, inputs)
    explanation = explain(
        network, inputs, number, method=method, baseline=baseline, data=background, seed=seed,
        features="auto" if grouped is None else grouped, progress=tell,
    )  # fmt: skip
    if grouped is not None:
        assert explanation.evidence is not None
        assert labels is not None
        stated = text("each column as a whole, and in texts each word")
        called = {int(player): label.term or label.column for player, label in zip(grouped.tolist(), labels, strict=True)}
        players = replace(explanation.evidence.players, stated=stated, names=tuple(called[player] for player in sorted(called)))
        explanation = replace(explanation, features=stated, evidence=replace(explanation.evidence, players=players))
    probability: float | None = None
    if run.task.kind == "classification":
        chances = probabilities(_outputs(run.model, inputs), run._record["settings"]["loss"], len(run.task.classes))[0]
        answer, probability = run.task.classes[int(chances.argmax())], float(chances.max())
        share = f"{100 * probability:.1f}" if probability < 0.9995 else "> 99.9"
        said = text("The network says {name}, probability {share} %", name=answer, share=share)
        notes.append(text("each number is a part of the score of {name} before it becomes a probability", name=name))
    elif run.task.kind == "segmentation":
        assert number is not None
        assert network.shares is not None
        answer, share = name, f"{100 * float(network.shares[number]):.1f}"
        said = text("The network says {name} in {share} % of the pixels", name=name, share=share)
        notes.append(
            text("each number is a part of the mean score of {name} over the pixels that were answered so", name=name)
            if network.shares[number] > 0
            else text("no pixel was answered {name}: each number is a part of its mean score over the whole image", name=name)
        )
    else:
        answer = f"{float(outputs[0, number or 0]):.6g}"
        if run.task.kind == "forecasting":
            name = f"{run.task.targets[0]} (t+{name})"
        said = text("The network says {name} = {value}", name=name, value=answer)
        notes.append(text("each number is in the unit of {name}", name=name))
    identifier = chosen.identifiers[0]
    actual = _actual(run, chosen) if run.task.kind != "forecasting" or number == 0 else None
    if actual is not None:
        said = text("{sentence}; the data say {actual}", sentence=said, actual=actual)
    if isinstance(preprocessing, TextPreprocessing):
        parts = [token_part(explanation, preprocessing, chosen)]
        notes += unread(preprocessing, chosen)
    elif labels is not None:
        parts = table_parts(explanation, preprocessing, chosen, labels)
        if any(part.kind == "words" and not part.values.any() for part in parts):
            notes.append(text("none of these words decides anything here: the network knows none of them, or has learnt nothing from them"))
    else:
        pictures = chosen.inputs if getattr(preprocessing, "kind", "") in ("images", "masks") else None
        raw = chosen.inputs if isinstance(chosen.inputs, np.ndarray) else None
        values = [[f"{value:g}" for value in raw[0].tolist()]] if raw is not None and raw.ndim == 2 else None
        channels = preprocessing.inputs_named if hasattr(preprocessing, "inputs_named") else None
        parts = list(samples_of(explanation, names=channels, images=pictures, values=values)[0].parts)
        if isinstance(chosen.inputs, SeriesValues) and preprocessing.as_given:
            parts = [replace(part, series=chosen.inputs.steps.T) for part in parts]
    part = None if prepared is None or source is not None or words is not None else _part_of(prepared, identifier)
    title: Text | str = text("your text")
    if words is None:
        title = text("sample {number}", number=identifier) if identifier.isdecimal() else sample_name(identifier)
        known = [text("counted from 1")] if isinstance(title, Text) else []
        if part is not None:
            known.append(_ORIGINS[part])
        if known:
            title = text("{sample} ({known})", sample=title, known=known)
    sample = Sample(title, tuple(parts), answer=said, explained=name, sums=sums_of(explanation)[0])
    return Explained(run, explanation, sample, identifier, part, answer, probability, name, actual, tuple(notes))


class _Answering(nn.Module):
    """The run's network with its answers in the user's terms: a score for every class, or numbers in the target's unit."""

    def __init__(self, run: Run, preprocessing: Any) -> None:
        super().__init__()
        self.network = run.model
        scaling = getattr(preprocessing, "target_scaling", None)
        self.scale: Tensor | None = None
        self.mean: Tensor | None = None
        if scaling is not None and scaling.mean:
            self.scale, self.mean = torch.tensor(scaling.scale, dtype=torch.float32), torch.tensor(scaling.mean, dtype=torch.float32)
        self.two_classes = run.task.kind == "classification" and len(run.task.classes) == 2
        self.regions: Tensor | None = None  # (K, H, W) of masks: where each class's scores are averaged
        self.shares: Tensor | None = None  # (K,) of the pixels
        self.ahead = preprocessing if run.task.kind == "forecasting" else None  # which restores the medians of the steps
        self.eval()

    def look_at(self, inputs: Tensor) -> None:
        """Answer for images of this size with one score per class: its mean over the pixels of this image (1, C, H, W) that were answered
        so; over all where none was. Source: Vinogradova, Dibrov and Myers 2020 (Seg-Grad-CAM), equation 2.
        """
        scores = _outputs(self.network, inputs)[0]  # (K, H, W)
        answered = torch.nn.functional.one_hot(scores.argmax(0), len(scores)).permute(2, 0, 1).float()
        counts = answered.sum((1, 2), keepdim=True)
        self.shares = counts.flatten() / answered[0].numel()
        self.regions = torch.where(counts > 0, answered / counts.clamp_min(1), 1 / answered[0].numel())

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.network(inputs)
        if self.ahead is not None:
            return self.ahead.restore_targets(points(outputs, self.ahead.task)).float()
        if self.scale is not None and self.mean is not None:
            return outputs.reshape(len(outputs), -1) * self.scale + self.mean
        if self.two_classes and outputs.shape[1] == 1:  # one number whose sign decides
            return torch.cat([-outputs, outputs], dim=1)
        if self.regions is not None:
            return (outputs * self.regions).sum((2, 3))
        return outputs


def _outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return network(inputs)


# -- which sample ------------------------------------------------------------------------------------------------------------------------


def _sample_of(run: Run, preprocessing: Any, source: Any, row: str | None, words: str | None) -> tuple[Any, Tensor, Any, list[Text]]:
    """(the sample as it was read, as the network gets it (1, ...), the run's data where they were read, notes)."""
    notes: list[Text] = []
    if words is not None:
        if source is not None or row is not None:
            raise OptionError(
                text("a text and {other}", other=text("a file") if source is not None else text("a row")), text("one sample"),
                text("explain them one after the other"),
            )  # fmt: skip
        source = _row_of_words(run, preprocessing, words)
    prepared = None
    if source is None:
        if row is None:
            raise OptionError(
                text("there is nothing to explain"), text("a row of the run's data, a file, or a text"),
                text("for example --row 1, an image's name, or --text \"...\""),
            )  # fmt: skip
        if run._record["data"]["reference"] is None:
            raise DataError(
                text("the run {path} was trained on data in memory", path=str(run.directory)),
                text("data that can be read again: a file, a folder or a built-in data set"),
                text("give a file, or explain it in Python: pellucid.explain(run.model, inputs)"),
            )
        samples = run._read_again(None, None)
        prepared = run._split_again(samples)
    else:
        _check_image(source, preprocessing)
        samples, _ = run._new(source, None, "optional", None)
        notes += [notice.summary for notice in samples.notices]
    place = _place(samples.identifiers, row)
    index = np.asarray([place])
    if isinstance(samples, SeriesSamples):  # a forecast that begins there, from the window before it
        inputs = preprocessing.inputs(samples, index)
        values = None if samples.targets is None else samples.targets[index]
        shown = replace(samples, targets=values, identifiers=[samples.identifiers[place]])
        return shown, inputs, prepared, notes
    table = isinstance(samples.inputs, pl.DataFrame)
    chosen = replace(
        samples, inputs=samples.inputs[place : place + 1] if table else samples.inputs[index],
        targets=None if samples.targets is None else samples.targets[index], identifiers=[samples.identifiers[place]], hashes=[""],
        input_hashes=(), fixed_parts=None, groups=None, times=None,
    )  # fmt: skip
    if isinstance(chosen, MaskSamples):  # without the rest of the canvas
        height, width = chosen.sizes[place].tolist()
        chosen = replace(chosen, inputs=chosen.inputs[..., :height, :width], targets=None)
    part = ResidentPart(preprocessing.inputs(chosen), torch.zeros(1), index, preprocessing)
    inputs, _ = next(part.batches(1))
    return chosen, inputs, prepared, notes


def _check_image(source: Any, preprocessing: Any) -> None:
    """Raise a DataError where an image is named that is not there, or that a run of tables or texts cannot read."""
    if not isinstance(source, (str, Path)) or not is_image_name(source):
        return
    if not Path(source).is_file():
        raise DataError(text("there is no file {path}", path=str(source)), text("the path of an image"), text("look at the path"))
    if isinstance(preprocessing, (TablePreprocessing, TextPreprocessing)):
        raise DataError(
            text("{name} is an image", name=Path(source).name),
            text("a file with rows as the run has learnt from, or a row of the run's data"),
            text("for example --row 1"),
        )


def _place(identifiers: Sequence[str], row: str | None) -> int:
    """Where the sample called `row` stands."""
    if row is None:
        if len(identifiers) == 1:
            return 0
        raise OptionError(
            text("the data hold {count} samples", count=len(identifiers)),
            text("one sample"),
            text("say which: --row {name}", name=identifiers[0].removeprefix("row ")),
        )
    wanted = row.strip()
    for name in (f"row {wanted}", wanted):
        if name in identifiers:
            return list(identifiers).index(name)
    first, last = identifiers[0], identifiers[-1]
    if len(identifiers) == 1:
        raise OptionError(
            text("there is no sample {name!r}", name=wanted),
            text("{first}, the only sample of these data", first=sample_name(first)),
            text("leave --row out"),
        )
    if wanted.lstrip("-").isdecimal():
        raise OptionError(
            text("there is no row {row}", row=wanted),
            text(
                "{first} to {last}: the data have {count} samples", first=sample_name(first), last=sample_name(last), count=len(identifiers)
            ),
            text("for example --row {name}", name=first.removeprefix("row ")),
        )
    raise OptionError(
        text("there is no sample {name!r}", name=wanted), text("the name of a sample of the data"), did_you_mean(wanted, list(identifiers))
    )


def _row_of_words(run: Run, preprocessing: Any, words: str) -> pl.DataFrame:
    """A table of one row that holds the text."""
    columns = list(preprocessing.columns.items()) if isinstance(preprocessing, (TablePreprocessing, TextPreprocessing)) else []
    prose = [name for name, column in columns if column.kind == "text"]
    if not prose:
        raise OptionError(
            text("the run {path} has not learnt from texts", path=str(run.directory)),
            text("a row of its table, or a file with rows") if columns else text("an image, or a sample of its data"),
            text("for example --row 1"),
        )
    if len(columns) > 1:
        raise OptionError(
            text("the run {path} has learnt from {count} columns, not from {name!r} alone", path=str(run.directory), count=len(columns),
                 name=prose[0]),
            text("a value for each of the columns: {names}", names=[name for name, _ in columns][:20]),
            text("put the row into a file and explain that, with --row 1"),
        )  # fmt: skip
    return pl.DataFrame({prose[0]: [words]})


def _part_of(prepared: Any, identifier: str) -> str | None:
    place = list(prepared.ledger.identifiers).index(identifier)
    return next((name for name in PARTS if len(getattr(prepared, name)) and place in np.asarray(getattr(prepared, name).indices)), None)


def _actual(run: Run, chosen: Any) -> str | None:
    if chosen.targets is None:
        return None
    value = np.asarray(chosen.targets).reshape(-1)
    return run.task.classes[int(value[0])] if run.task.kind == "classification" else ", ".join(f"{number:.6g}" for number in value.tolist())


def _background(run: Run, prepared: Any, notes: list[Text], seed: int) -> Tensor | None:
    """Training samples as the network gets them, drawn once for all."""
    if prepared is None:
        try:
            prepared = run._prepare_again(None, None)
        except DataError as error:
            notes.append(text("the training data cannot be read again ({reason}): none of them stand for what is absent, and no other "
                              "samples' explanations are compared", reason=error.got))  # fmt: skip
            return None
    if not getattr(prepared.train, "ordered", True):
        return torch.cat([inputs for inputs, _ in prepared.train.batches(BACKGROUND)])[:BACKGROUND]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(prepared.train), generator=generator)[:BACKGROUND]
    return torch.cat([inputs for inputs, _ in prepared.train.batches(BACKGROUND, order)])


def _target_of(run: Run, target: str | None, outputs: Tensor, notes: list[Text], shares: Tensor | None = None) -> tuple[int | None, str]:
    """The output that is explained and its name."""
    names = list(run.task.classes or run.task.targets)
    if run.task.kind == "forecasting":  # steps ahead, by number
        names = [str(step) for step in range(1, run.task.horizon + 1)]
        if target is None:
            notes.append(text("of {count} steps ahead the first is explained; another: --target NUMBER", count=len(names)))
            return 0, names[0]
    if target is not None:
        if target not in names:
            raise OptionError(text("there is no class {name!r}", name=target) if run.task.classes
                              else text("there is no target {name!r}", name=target),
                              text("one of: {names}", names=names[:20]), did_you_mean(target, names))  # fmt: skip
        return (names.index(target) if outputs.shape[1] > 1 else None), target
    if run.task.kind == "classification":
        number = int(outputs[0].argmax())
        return number, names[number]
    if shares is not None:  # of masks: the class that most pixels were answered
        number = int(shares.argmax())
        return number, names[number]
    if len(names) > 1:
        notes.append(text("of {count} targets the first is explained; another: --target NAME", count=len(names)))
    return (0 if outputs.shape[1] > 1 else None), names[0]
