"""Training and test inputs that were not prepared alike: another scale, another order of columns or channels, another code of tokens."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.data.contents import Contents, Part
from pellucid.diagnosis.data.relations import recoded, relations
from pellucid.diagnosis.findings import established
from pellucid.diagnosis.registry import symptom

LEAST = 20  # samples of a part
SCALED = 3.0  # ratio of deviations in the middle column; of 20 normal samples each it is below 2.3 in 999 cases of 1000 (F test)
ALIKE = 0.1  # spread of the columns' log ratios: all changed by one factor
FACTOR = 1.5  # such a factor
MOVED = 3.0  # deviations that the middle column's mean has moved
ONE_SCALED, ONE_MOVED = 20.0, 10.0  # the same of a single column
EXACT = 1e-3  # of mean 0 and deviation 1: standardised by these very samples
DIFFERENT = 20.0  # mean squared difference of column means over its variance: 1 in random parts
SAME = 5.0  # the same once the order is put right
WORDS = 4096  # bins of tokens
UNLIKE, USUAL = 0.5, 0.8  # cosine of two parts' frequencies of tokens, and of two halves of one part
FREQUENT, OFTEN = 100, 5  # tokens whose ranks are compared, and how often they must occur
UNRANKED, RANKED = 0.2, 0.5  # rank correlation of two codes (0 with a deviation of 0.1 by chance), and of two halves of one part
COLUMNS = 300  # of a table whose order is looked at


Signature = tuple[Tensor, Tensor]


@symptom("train_test_preprocess_mismatch", reads=Contents)
def train_test_preprocess_mismatch(seen: Contents) -> list[Finding]:
    """The test inputs are the training inputs' kind in another scale, order or code, so that what was learnt does not apply to them."""
    train, test = seen.train, seen.test
    if train is None or test is None or min(len(train.inputs), len(test.inputs)) < LEAST:
        return []
    if train.inputs.shape[1:] != test.inputs.shape[1:] or not train.columns.finite or not test.columns.finite:
        return []
    if seen.kind == "tokens":
        return _tokens(train, test)
    return _reordered(seen, train, test) or _rescaled(train, test) or _other_relation(seen) or _own_statistics(train, test)


def _finding(said: Text, confidence: float, evidence: dict[str, object], expected: dict[str, str], level: str = "fault") -> list[Finding]:
    return established(
        "train_test_preprocess_mismatch",
        said,
        by="data",
        level=level,
        confidence=confidence,
        where="test inputs",
        evidence=evidence,
        expected=expected,
        remedy=text("prepare the test part by the same code and the same numbers (means, deviations, vocabulary) as the training part"),
    )


# -- scale -------------------------------------------------------------------------------------------------------------------------------


def _rescaled(train: Part, test: Part) -> list[Finding]:
    ours, theirs = train.columns, test.columns
    dense = (ours.std > 1e-6 * ours.mean.abs()) & ((train.matrix != 0).float().mean(0) > 0.05)
    if not bool(dense.any()):
        return []
    deviation = ours.std[dense]
    moved = (theirs.mean[dense] - ours.mean[dense]) / deviation
    ratio = (theirs.std[dense] / deviation).clamp(1e-12, 1e12).log()
    # where a column of the test part is constant its deviation is no scale; its mean may still have moved
    middle, shift = float(ratio.median()), float(moved.abs().median())
    spread = float((ratio - middle).abs().median())
    standard = _standardised(train) and not _standardised(test)
    away = (moved.abs() > 1) | (ratio.abs() > math.log(FACTOR))
    one = _one_column(train, test, dense, moved, ratio)
    everywhere = abs(middle) > math.log(SCALED) and float((ratio.sign() == math.copysign(1, middle)).float().mean()) >= 0.8
    alike = len(ratio) >= LEAST and len(test.inputs) >= 100 and spread < ALIKE and abs(middle) > math.log(FACTOR)
    if not (everywhere or alike or shift > MOVED or one or (standard and float(away.float().mean()) >= 0.5)):
        return []
    evidence: dict[str, object] = {
        "ratio_of_deviations": math.exp(middle), "shift_in_deviations": shift,
        "train_range": [round(float(ours.low.min()), 4), round(float(ours.high.max()), 4)],
        "test_range": [round(float(theirs.low.min()), 4), round(float(theirs.high.max()), 4)],
    }  # fmt: skip
    if one and not (everywhere or alike or shift > MOVED or standard):
        evidence["columns"] = one
        said = text("Columns {columns} of the test inputs are on another scale than in the training inputs.", columns=_listed(one))
        return _finding(said, 0.8, evidence, {"ratio_of_deviations": "about 1", "shift_in_deviations": "about 0"})
    said = text(
        "The test inputs are on another scale than the training inputs: deviations are {ratio} times as large, means differ by {shift} "
        "deviations (ranges {test} and {train}).",
        ratio=f"{math.exp(middle):.3g}", shift=f"{shift:.3g}", train=str(evidence["train_range"]), test=str(evidence["test_range"]),
    )  # fmt: skip
    return _finding(said, 0.9, evidence, {"ratio_of_deviations": "about 1", "shift_in_deviations": "about 0"})


def _one_column(train: Part, test: Part, dense: Tensor, moved: Tensor, ratio: Tensor) -> list[int]:
    """Columns of a table that are measurements and on another scale."""
    if train.kind != "table" or len(test.inputs) < 50:
        return []
    measured = (train.columns.distinct > 10)[dense] & (test.columns.distinct > 10)[dense]
    far = measured & ((moved.abs() > ONE_MOVED) | (ratio.abs() > math.log(ONE_SCALED)))
    return dense.nonzero()[:, 0][far].tolist()


def _standardised(part: Part) -> bool:
    """Every column that is not constant has mean 0 and deviation 1, by these very samples."""
    columns = part.columns
    varied = ~columns.constant
    if len(part.inputs) != part.size or int(varied.sum()) < 2 or part.kind != "table":
        return False
    count = len(part.inputs)
    error = torch.minimum((columns.std - 1).abs(), (columns.std * math.sqrt(count / (count - 1)) - 1).abs())
    return bool((columns.mean[varied].abs() < EXACT).all()) and bool((error[varied] < EXACT).all())


def _own_statistics(train: Part, test: Part) -> list[Finding]:
    """Each part standardised by itself."""
    if not _standardised(train) or not _standardised(test):
        return []
    said = text("Training and test inputs were each standardised by their own mean and deviation: one value means two things.")
    return _finding(said, 0.8, {"test_mean": 0.0, "test_deviation": 1.0}, {"test_mean": "not exactly 0 in every column"}, "advice")


def _listed(columns: list[int]) -> str:
    return ", ".join(map(str, columns[:5])) + (", ..." if len(columns) > 5 else "")


# -- what inputs mean ----------------------------------------------------------------------------------------------------------------------


def _other_relation(seen: Contents) -> list[Finding]:
    """A probe predicts within either part, but not from one to the other, and another code of the classes does not explain it."""
    scores = relations(seen)
    if scores is None or recoded(seen) is not None:
        return []
    within, other, across, blind, error = scores
    least = min(within, other) - blind
    if least < max(0.2 * (1 - blind), 5 * error) or across - blind > 0.4 * least:
        return []
    said = text(
        "What inputs say about targets differs between the parts: a probe scores {within} within the training part and {other} within the "
        "test part, but {across} from one to the other.",
        within=f"{within:.3f}", other=f"{other:.3f}", across=f"{across:.3f}",
    )  # fmt: skip
    evidence: dict[str, object] = {"within_train": within, "within_test": other, "across": across, "constant": blind}
    # persons or places that only one part has do the same
    return _finding(said, 0.5, evidence, {"across": f"> {blind + 0.4 * least:.3f}"}, "advice")


# -- order -------------------------------------------------------------------------------------------------------------------------------


def _reordered(seen: Contents, train: Part, test: Part) -> list[Finding]:
    ours, theirs = _signature(train), _signature(test)
    before = _distance(ours, theirs)
    if before < DIFFERENT:
        return []
    best: tuple[float, Text, dict[str, object]] | None = None
    for name, order, evidence in _orders(seen, train, ours, theirs):
        after = _distance(ours, (theirs[0][order], theirs[1][order]))
        if after < SAME and after < 0.1 * before and (best is None or after < best[0]):
            best = after, name, evidence
    if best is None:
        return []
    said = text("The test inputs are in another order than the training inputs: {what}.", what=best[1])
    evidence = {"difference": before, "difference_reordered": best[0], **best[2]}
    return _finding(said, 0.85, evidence, {"difference": "about 1"})


def _signature(part: Part) -> Signature:
    """Means of each column and of its shape, (D, 4), and the variances of these means.

    The shape tells columns apart that were standardised: shares above some heights, of values as they are.
    """
    values = part.matrix
    shapes = torch.stack([values, *((values > height).float() for height in (-0.7, 0.0, 0.7))]) if part.kind == "table" else values[None]
    return shapes.mean(1).T, shapes.var(1, unbiased=False).T / len(values)


def _distance(ours: Signature, theirs: Signature) -> float:
    """Mean of the squared differences of means over their variances: 1 for two random samples of one distribution."""
    noise = ours[1] + theirs[1]
    varies = noise > 0
    if not bool(varies.any()):
        return 0.0
    floor = noise.mean(0) * 1e-3  # a column that hardly varies in either part
    return float(((ours[0] - theirs[0]).square() / noise.clamp_min(1e-30).maximum(floor))[varies].mean())


def _orders(seen: Contents, train: Part, ours: Signature, theirs: Signature) -> Iterator[tuple[Text, Tensor, dict[str, object]]]:
    """Ways in which the order may have been changed: what they are called, and the test columns in the training part's order."""
    shape = tuple(train.inputs.shape[1:])
    places = torch.arange(len(ours[0])).reshape(shape)
    if seen.kind == "images":
        channels = shape[0] if len(shape) == 3 else 1
        if len(shape) == 3 and 2 <= channels <= 4:
            for order in itertools.permutations(range(channels)):
                if order != tuple(range(channels)):
                    yield text("channels {order}", order=str(list(order))), places[list(order)].reshape(-1), {"channels": list(order)}
        yield text("mirrored left to right"), places.flip(-1).reshape(-1), {}
        yield text("upside down"), places.flip(-2).reshape(-1), {}
        yield text("turned by half a turn"), places.flip(-1, -2).reshape(-1), {}
        if shape[-1] == shape[-2]:
            yield text("rows and columns exchanged"), places.transpose(-1, -2).reshape(-1), {}
        return
    if seen.kind == "sequences":
        yield text("time runs backwards"), places.flip(0).reshape(-1), {}
        return
    if seen.kind == "table" and 2 <= len(ours[0]) <= COLUMNS:
        yield text("the last column first, and so on"), places.flip(0).reshape(-1), {}
        from scipy.optimize import linear_sum_assignment

        noise = (ours[1][:, None] + theirs[1][None]).clamp_min(1e-9)
        apart = ((ours[0][:, None] - theirs[0][None]).square() / noise).sum(2)
        _, order = linear_sum_assignment(apart.clamp(max=1e9).double().numpy())
        order = torch.from_numpy(order)
        moved = int((order != torch.arange(len(order))).sum())
        yield text("{count} columns have changed places", count=moved), order, {"columns": order.tolist()}


# -- tokens ------------------------------------------------------------------------------------------------------------------------------


def _tokens(train: Part, test: Part) -> list[Finding]:
    ours, theirs = train.inputs.reshape(len(train.inputs), -1).long(), test.inputs.reshape(len(test.inputs), -1).long()
    alike = float(torch.cosine_similarity(_frequencies(ours), _frequencies(theirs), dim=0))
    usual = float(torch.cosine_similarity(_frequencies(ours[::2]), _frequencies(ours[1::2]), dim=0))
    if alike < UNLIKE and usual > USUAL:
        said = text("The test inputs use other token numbers than the training inputs: their frequencies have a cosine of {alike}.",
                    alike=f"{alike:.2f}")  # fmt: skip
        return _finding(said, 0.85, {"cosine": alike, "cosine_of_two_halves": usual}, {"cosine": f"> {UNLIKE:g}"})
    filler = int(ours.reshape(-1).mode().values)
    ranks = _ranks_kept(ours, theirs, filler), _ranks_kept(ours[::2], ours[1::2], filler)
    if ranks[0] is not None and ranks[1] is not None and ranks[0] < UNRANKED and ranks[1] > RANKED:
        said = text("The test inputs use other token numbers than the training inputs: the most frequent ones of the one are not those of "
                    "the other (rank correlation {ranks}).", ranks=f"{ranks[0]:.2f}")  # fmt: skip
        evidence: dict[str, object] = {"rank_correlation": ranks[0], "rank_correlation_of_two_halves": ranks[1]}
        return _finding(said, 0.85, evidence, {"rank_correlation": f"> {RANKED:g}"})
    mine, other = (ours == filler).float().mean(0), (theirs == filler).float().mean(0)
    apart, turned = float((mine - other).abs().mean()), float((mine - other.flip(0)).abs().mean())
    if apart > 0.2 and turned < 0.25 * apart:
        said = text("Token {filler} fills the other side of the test inputs than of the training inputs.", filler=filler)
        return _finding(said, 0.85, {"difference": apart, "difference_reordered": turned, "token": filler}, {"difference": "about 0"})
    return []


def _ranks_kept(ours: Tensor, theirs: Tensor, filler: int) -> float | None:
    """The rank correlation of the frequencies of our most frequent tokens with theirs, but for what fills texts up."""
    counts, others = (torch.bincount(tokens[tokens != filler] % WORDS, minlength=WORDS).double() for tokens in (ours, theirs))
    if not float(others.sum()):
        return None
    frequent = counts.topk(FREQUENT).indices
    frequent = frequent[counts[frequent] >= OFTEN]
    if len(frequent) < FREQUENT // 2:
        return None
    ranks = torch.stack([counts[frequent].argsort().argsort(), others[frequent].argsort().argsort()]).double()
    return float(torch.corrcoef(ranks)[0, 1])


def _frequencies(tokens: Tensor) -> Tensor:
    """Square roots of the frequencies of the tokens, so that one frequent word does not decide."""
    return torch.bincount(tokens.reshape(-1) % WORDS, minlength=WORDS).double().sqrt()
