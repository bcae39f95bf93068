"""Inputs and target values that a network cannot learn from as they are: their scale, and what they say about each other."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.data.contents import Contents, Part
from pellucid.diagnosis.data.relations import told_by_probe
from pellucid.diagnosis.findings import established
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.comparisons import VALUE_LOSSES

# The scale of inputs: LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998, section 4.3: mean 0, variance 1. How far from it is worth
# a word: raw measurements such as iris (up to 6), digits (up to 12) and seeds (up to 15) are learnt from without trouble.
LARGE, SMALL = 20.0, 0.02
APART = 100.0  # ratio of the deviations of two columns
SPARSE = 0.5  # share of zeros from which a column's deviation is no scale
TABLE_COLUMNS = 512
BYTE = 255.0
TWICE = 0.02  # deviation below which bytes may have been divided twice; once gives about 0.2 to 0.4
OFFSET = 20.0  # deviations that a mean is away from 0 after statistics of another scale
LARGE_TARGET = 10.0  # mean or deviation of targets; the first answers of a network are of size 1 at most
SMALL_TARGET = 0.01
TAIL = 0.05  # share of the samples that are the largest residuals
SCALED_MAD = 1.4826  # times the median absolute deviation: the standard deviation of a normal distribution
CHANCE = 200  # samples from which "nothing is found" says something
EXACT = 0.05  # of the targets' deviation, that a probe leaves where targets are a function of the inputs, as in an autoencoder
OUTLYING = 5.0  # robust deviations of the targets themselves, by which an outlier and what a probe leaves of it are away
AT_THE_END = 0.1  # of the ranks
NAMED = 5  # samples that a sentence names
LEAST_OUTLIERS = 40  # samples before the tails of their residuals are spoken of


def entering(seen: Contents) -> Tensor | None:
    """(n, F): what the columns or channels of the first layer with weights get; None for embeddings, and where it is not known."""
    train = seen.train
    if seen.entry is None or seen.entry_kind in ("embedding", "") or not seen.entry.is_floating_point():
        return None
    entry = seen.entry.float()
    if entry.dim() < 2 or not bool(entry.isfinite().all()):
        return None
    if train is not None and train.columns.finite and entry.shape[1:].numel() == train.matrix.shape[1] and not _changed(entry, train):
        entry = train.inputs[train.chosen(2000)].float().reshape(-1, *entry.shape[1:])
    axis = 1 if seen.entry_kind == "convolution" else -1
    return entry.movedim(axis, -1).reshape(-1, entry.shape[axis])


def _changed(entry: Tensor, train: Part) -> bool:
    """Whether the program does something to the inputs before its first layer."""
    low, high = float(train.columns.low.min()), float(train.columns.high.max())
    slack = 1e-3 * (high - low)
    outside = float(entry.min()) < low - slack or float(entry.max()) > high + slack
    ours, theirs = float(train.matrix.square().mean()), float(entry.square().mean())
    return outside or not 0.25 * ours <= theirs <= 4 * ours


def _names(columns: Tensor, most: int = 5) -> str:
    numbers = columns.nonzero()[:, 0].tolist()
    return ", ".join(map(str, numbers[:most])) + (", ..." if len(numbers) > most else "")


@symptom("unnormalised_input", reads=Contents)
def unnormalised_input(seen: Contents) -> list[Finding]:
    """What reaches the first layer is far from variance 1, or one column hides the others. Whether it costs anything, trials tell."""
    columns = entering(seen)
    if columns is None or twice_divided(seen) is not None:
        return []
    mean, std = columns.mean(0), columns.std(0, unbiased=False)
    rms = (mean.square() + std.square()).sqrt()
    largest = float(rms.max())
    zeros = (columns == 0).float().mean(0)
    several = torch.tensor([len(column.unique()) > 2 for column in columns[:500].T[:TABLE_COLUMNS]])
    measured = (std > 1e-6 * rms) & (zeros < SPARSE) if len(rms) <= TABLE_COLUMNS else torch.zeros(len(rms), dtype=torch.bool)
    measured[: len(several)] &= several
    compared = std[measured] if seen.kind == "table" and int(measured.sum()) > 1 else torch.ones(1)
    ratio = float(compared.max() / compared.min())
    if SMALL <= largest <= LARGE and ratio <= APART:
        return []
    if largest > LARGE:
        worst = rms > max(LARGE, 0.1 * largest)
    elif largest < SMALL:
        worst = torch.ones_like(rms, dtype=torch.bool)
    else:
        worst = measured & (std > 0.1 * compared.max())
    everywhere = int(worst.sum()) == len(rms)
    low, high = float(columns.min()), float(columns.max())
    said = (
        text("The inputs reach the first layer with values from {low} to {high}: far from a deviation of 1.", low=f"{low:.4g}",
             high=f"{high:.4g}")
        if not SMALL <= largest <= LARGE
        else text("Columns of the inputs differ {ratio} times in scale: the small ones are hardly seen.", ratio=f"{ratio:.3g}")
    )  # fmt: skip
    return established(
        "unnormalised_input",
        said,
        by="data",
        level="advice",
        confidence=0.6,
        where="inputs" if everywhere else f"inputs[:, [{_names(worst)}]]",
        evidence={
            "root_mean_square": largest, "low": low, "high": high, "ratio_of_deviations": ratio,
            "columns": worst.nonzero()[:50, 0].tolist(),
        },
        expected={"root_mean_square": f"{SMALL:g} to {LARGE:g}, best about 1", "ratio_of_deviations": f"< {APART:g}"},
        remedy=text("subtract each column's mean and divide by its deviation, both of the training part"),
        change=Change(kind="standardise_inputs"),
    )  # fmt: skip


def twice_divided(seen: Contents) -> tuple[str, float] | None:
    """How the inputs that reach the first layer were scaled twice, and how sure that is; None where they were not."""
    columns = entering(seen)
    if columns is None or not columns.numel():
        return None
    values = columns.reshape(-1)[:200_000].double()
    low, high, mean, std = float(values.min()), float(values.max()), float(values.mean()), float(values.std(unbiased=False))
    if not 0 < std < TWICE:
        return None
    pictures = seen.kind == "images" or columns.shape[1] > 48
    whole = values * BYTE * BYTE
    if low >= 0 and high <= 1.02 / BYTE and bool(((whole - whole.round()).abs() < 0.02).all()) and high * BYTE * BYTE > 2:
        return "bytes", 0.95
    if low >= 0 and (0.5 if pictures else 0.98) / BYTE <= high <= (1.05 if pictures else 1.005) / BYTE:
        return "bytes", 0.85 if pictures else 0.7
    if 0.8 <= std * BYTE <= 1.25 and abs(mean) * BYTE <= 0.5:
        return "standardised", 0.85
    if pictures and abs(mean) > OFFSET * std:
        return "statistics", 0.85
    return None


@symptom("double_normalised_input", reads=Contents)
def double_normalised_input(seen: Contents) -> list[Finding]:
    """Bytes divided by 255 twice, standardised values divided once more, or values of [0, 1] standardised by statistics of bytes."""
    found = twice_divided(seen)
    columns = entering(seen)
    if found is None or columns is None:
        return []
    how, confidence = found
    std = float(columns.std(unbiased=False))
    said = {
        "bytes": text("The inputs were divided by 255 twice: they reach the first layer with values up to {high}.",
                      high=f"{float(columns.max()):.3g}"),
        "standardised": text("The inputs were standardised, and divided by 255 after that: they reach the first layer with a deviation of "
                             "{std}.", std=f"{std:.3g}"),
        "statistics": text("The inputs were standardised by the mean and deviation of another scale: they reach the first layer with mean "
                           "{mean} and deviation {std}.", mean=f"{float(columns.mean()):.3g}", std=f"{std:.3g}"),
    }[how]  # fmt: skip
    return established(
        "double_normalised_input",
        said,
        by="data",
        level="fault",
        confidence=confidence,
        where="inputs",
        evidence={"deviation": std, "mean": float(columns.mean()), "low": float(columns.min()), "high": float(columns.max()), "how": how},
        expected={"deviation": "about 0.2 to 1"},
        remedy=text("scale the inputs once: divide bytes by 255, or standardise them, in one place only"),
        change=Change(kind="standardise_inputs"),
    )


def regressed(seen: Contents) -> Tensor | None:
    """Targets (N, M) that a loss of values compares with the outputs, where they are no classes."""
    train = seen.train
    if train is None or not seen.supervised or not seen.loses(*VALUE_LOSSES) or train.categorical:
        return None
    flat = train.outputs.detach().reshape(len(train.outputs), -1).double()
    return flat if bool(flat.isfinite().all()) and len(flat) > 1 else None


@symptom("unnormalised_target", reads=Contents)
def unnormalised_target(seen: Contents) -> list[Finding]:
    """Targets far larger or smaller than what the network first answers. Whether it costs anything, trials tell."""
    targets = regressed(seen)
    if targets is None or seen.outputs is None or not seen.outputs.is_floating_point():
        return []
    mean, std = targets.mean(0).abs(), targets.std(0, unbiased=False)
    size, spread = float((mean.square() + std.square()).sqrt().max()), float(std.max())
    if size <= LARGE_TARGET and (size >= SMALL_TARGET or spread == 0):
        return []
    middle, width = _robust(targets)
    if size > LARGE_TARGET and bool((width > 0).all()) and float((middle.square() + width.square()).sqrt().max()) <= LARGE_TARGET:
        return []  # a few samples make mean and deviation what they are
    answers = seen.outputs.reshape(len(seen.outputs), -1).double()
    first = float(answers.square().mean().sqrt())
    if first > 0 and 0.1 <= first / max(size, 1e-30) <= 10:  # the model puts its answers on the targets' scale itself
        return []
    return established(
        "unnormalised_target",
        text(
            "The targets have mean {mean} and deviation {std}, the network first answers values of size {first}: it must learn the scale "
            "before anything else.",
            mean=f"{float(targets.mean()):.4g}", std=f"{spread:.4g}", first=f"{first:.2g}",
        ),
        by="data",
        level="advice",
        confidence=0.6,
        where="targets",
        evidence={"mean": float(targets.mean()), "deviation": spread, "first_answers": first},
        expected={"size": f"{SMALL_TARGET:g} to {LARGE_TARGET:g}, best about 1"},
        remedy=text("train on (y - mean) / deviation of the training part, and put predictions back"),
        change=Change(kind="standardise_targets"),
    )  # fmt: skip


def _robust(targets: Tensor) -> tuple[Tensor, Tensor]:
    """The median of each column, and its deviation by the median absolute deviation."""
    middle = targets.median(0).values
    return middle, SCALED_MAD * (targets - middle).abs().median(0).values


@symptom("outliers_with_mse", reads=Contents)
def outliers_with_mse(seen: Contents) -> list[Finding]:
    """A few samples make up the squared error, so that the network learns them and not the others.

    Judged by what a probe leaves unexplained. Robust scores as in P. Rousseeuw and C. Croux, Alternatives to the median absolute
    deviation, 1993. The largest 5 % of a normal distribution's residuals hold 28 % of their squares, of a lognormal's
    77 % (sigma 1) and 99 % (sigma 2), where its logarithm should have been learnt.
    """
    targets, train = regressed(seen), seen.train
    if targets is None or train is None or not seen.loses("mse_loss") or len(targets) < LEAST_OUTLIERS:
        return []
    residuals, wanted, places = _residuals(train, targets)
    middle, scale = _robust(residuals)
    centre, width = _robust(targets)
    if not bool((scale > 0).all()) or not bool((width > 0).all()):  # most targets are one and the same value: rare events, no outliers
        return []
    away = (residuals - middle).abs()
    # where a probe leaves nearly nothing, what it misses at the border of the inputs is no outlier
    outlying = ((away > OUTLYING * width) & ((wanted - centre).abs() > OUTLYING * width)).any(1)
    robust = torch.where(outlying, (away / scale).amax(1), 0.0)
    squares = (away / scale).square().sum(1)
    count = max(1, round(TAIL * len(squares)))
    share = float(squares.topk(count).values.sum() / squares.sum())
    largest = float(robust.max())
    heavy = share > 0.9 and largest > 50
    if not heavy and not (share > 0.7 and largest > 15):
        return []
    heavy = heavy and float(width.max()) <= LARGE_TARGET  # else all targets are large: it is their scale
    heavy = heavy and not _follow_from_inputs(train, targets, places[outlying])
    worst: list[int] = places[robust.topk(min(count, 50, int(outlying.sum()))).indices].tolist()
    return established(
        "outliers_with_mse",
        text(
            "{share} of the squared error comes from {percent} of the samples: the largest residual is {largest} robust deviations away, "
            "and the mean squared error follows such samples.",
            share=f"{100 * share:.0f} %", percent=f"{100 * TAIL:g} %", largest=f"{largest:.0f}",
        ),
        by="data",
        level="fault" if heavy else "advice",
        confidence=0.85 if heavy else 0.6,
        where="targets",
        evidence={"share_of_squares": share, "largest_in_deviations": largest, "samples": worst},
        expected={"share_of_squares": "about 0.28, < 0.7", "largest_in_deviations": "< 15"},
        remedy=text(
            "look at the training samples {samples}; where they are right, use torch.nn.HuberLoss or the mean absolute error",
            samples=[str(place) for place in worst[:NAMED]] + ["..."] * (len(worst) > NAMED),
        ),
        change=Change(kind="loss", values={"name": "huber"}),
    )  # fmt: skip


def _follow_from_inputs(train: Part, targets: Tensor, outliers: Tensor) -> bool:
    """Whether inputs tell which targets lie far out, as of x ** 3: a probe of the targets' ranks puts most of them at their end.

    `outliers` are rows of the whole part. An outlier proper has inputs like any other sample.
    """
    if train.probed is None or targets.shape[1] != 1:
        return False
    probe, places, _ = train.probed
    values = targets[places, 0]
    ranks = (values.argsort().argsort().double() + 0.5) / len(values)
    told = probe.left_out(torch.special.ndtri(ranks)[:, None].float(), remember=False)[:, 0]  # normal scores
    order = told.argsort().argsort().double() / len(told)
    far = torch.isin(train.rows[places], outliers)
    at_its_end = torch.where(values > values.median(), order > 1 - AT_THE_END, order < AT_THE_END)[far]
    return len(at_its_end) > 0 and float(at_its_end.double().mean()) > 0.5


def _residuals(train: Part, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a probe leaves of the targets, where that is less than they are; the targets; and the samples' places in the part."""
    probed = train.probed
    if probed is not None and train.values is not None and train.values.shape == targets.shape:
        _, places, predicted = probed
        residuals = targets[places] - predicted.double()
        if float(residuals.std()) < EXACT * float(targets.std()):
            return targets, targets, train.rows  # they are computed from the inputs: what is left is rounding
        if float(residuals.abs().median()) < float((targets[places] - targets[places].median(0).values).abs().median()):
            return residuals, targets[places], train.rows[places]
    return targets, targets, train.rows


@symptom("uninformative_input", reads=Contents)
def uninformative_input(seen: Contents) -> list[Finding]:
    """All inputs are the same; or a probe finds nothing in them, which trials must confirm: it is no network."""
    train = seen.train
    if train is None or len(train.inputs) < 2:
        return []
    if bool(train.columns.constant.all()) and train.columns.finite and train.matrix.shape[1] > 0:
        return established(
            "uninformative_input",
            text("All {count} inputs are equal: nothing can be told from them.", count=train.size),
            by="data",
            level="fault",
            confidence=0.95,
            where="inputs",
            evidence={"distinct_inputs": 1},
            expected={"distinct_inputs": "> 1"},
            remedy=text("follow one sample from its source to the network, and see where its content is lost"),
        )
    told = told_by_probe(train) if seen.supervised else None
    if told is None or not train.single or not train.columns.finite or len(train.inputs) < CHANCE or told[0] > told[1] + 2 * told[2]:
        return []
    score, blind, error = told
    return established(
        "uninformative_input",
        text(
            "A probe on the inputs (kernel ridge regression) predicts the targets no better than a constant answer: {score} against "
            "{blind}.",
            score=f"{score:.3f}", blind=f"{blind:.3f}",
        ),
        by="data",
        level="advice",
        confidence=0.5,
        where="inputs",
        evidence={"score": score, "constant": blind, "standard_error": error},
        expected={"score": f"> {blind + 2 * error:.3f}"},
        remedy=text("follow one sample from its source to the network, and see that its target is its own"),
    )  # fmt: skip
