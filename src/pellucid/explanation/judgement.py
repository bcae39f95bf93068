"""What the scores of an explanation allow to say: how far to trust it, and why, in words.

"none"     maps that cannot know the network predict the output's changes as well (see faithfulness.infidelity) and it explains less than
           four fifths of what an additive map can explain; or less than a sixteenth: it says nothing that could be relied on
"high"     it predicts them better than chance, explains four fifths of what can be explained (of a single sample nine tenths), also
           inside the tested features where it says anything there, is specific to this input and this class, says more than the input by
           itself, has the size of the changes where its sums say so, and no other test fails. Each test is asked at 5 %: as all of them
           must pass, the chance of a wrong "high" is at most 5 % without a correction (Berger 1982, intersection-union). Also a map
           that predicts every change but for rounding: no other test is needed then
"limited"  in between; the reasons say what failed or could not be tested
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.faithfulness.completeness import TOLERANCE
from pellucid.explanation.faithfulness.infidelity import LOW, NEARLY, exact
from pellucid.explanation.faithfulness.removals import FEW, Removals
from pellucid.explanation.faithfulness.scale import LEAST, MOST
from pellucid.explanation.faithfulness.score import FaithfulnessScore

UNSIGNED = 0.005  # of what can be explained is lost without signs: where nothing has a negative contribution, rounding is
_ROUNDING = 1e-6  # of the largest output, or of the largest change
_NEAR = 0.8  # slopes from here to its inverse are not worth a sentence
_EVEN = 1e-3  # of a map's largest value: less is no difference between features
_BESIDE_EXACT = (
    "completeness",
    "resolution",
    "scale",
    "level",
)  # what can still be wrong with a map that predicts every change of the tested features


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the judgement needs beside the scores."""

    maps: Tensor  # (N, P) of the tested features
    table: Removals
    features: Text  # the tested features, in words
    networks: Text | None  # why maps of scrambled networks were not compared; None where they were


def judged(scores: Sequence[FaithfulnessScore], around: Circumstances) -> tuple[str, tuple[Text, ...]]:
    """The trust that the scores allow, and why."""
    simple = _without_tests(scores, around)
    if simple is not None:
        return simple
    by_name = {score.name: score for score in scores}
    infidelity, share = by_name["infidelity"], by_name["share_explained"]
    value, count = float(share.value or 0.0), around.table.count
    few = (text("there are only {count} features ({features}): chance comes near to any map", count=count, features=around.features),)
    few = few if count < FEW else ()
    if not infidelity.passed and value < NEARLY:
        return "none", (text("it predicts how the output changes when features are taken away no better than a map that knows nothing of "
                             "the network: {why} (p = {p:.2g})", why=infidelity.note or "", p=infidelity.p_value), *few)  # fmt: skip
    if value < LOW:
        return "none", (text("it explains {share:.1%} of what a map can explain of the output's changes: next to nothing", share=value),)
    asked = [score for score in scores if score.name != "squared_error" or share.passed]  # proportions that do not fit are enough
    reasons = _failures(asked, around)
    if bool((around.maps >= 0).all()) and min(around.table.lost_without_signs, 1 - value) > UNSIGNED:
        reasons.append(text("it gives no feature a negative value, and some features lower the output"))
    if around.networks is not None:
        reasons.append(text("maps of networks with scrambled weights were not compared: {why}", why=around.networks))
    if not infidelity.passed:
        said = text("it explains {share:.0%} of what a map can explain, but so few features and samples leave room for chance: {why} "
                    "(p = {p:.2g})", share=min(1.0, value), why=infidelity.note or "", p=infidelity.p_value)  # fmt: skip
        return "limited", (said, *reasons, *few)
    said = text(
        "it predicts how the output changes when features are taken away, better than maps that know nothing of the network "
        "(p = {p:.2g}), and explains {share:.0%} of what a map can explain", p=infidelity.p_value, share=min(1.0, value),
    )  # fmt: skip
    return ("limited" if reasons else "high"), (said, *reasons, *(few if reasons else ()), *_elsewhere(scores))


def _without_tests(scores: Sequence[FaithfulnessScore], around: Circumstances) -> tuple[str, tuple[Text, ...]] | None:
    """The cases in which no test against chance is needed, or none is possible."""
    maps, table = around.maps, around.table
    changes = (table.full[:, :1] - table.outputs[..., 0]).abs()
    still = float(changes.max()) <= _ROUNDING * float(table.full[:, 0].abs().max())
    if still and not bool(maps.any()):
        return "limited", (text("the output does not change, whatever is taken away, and the map says so: it is zero"),)
    if still:
        return "none", (text("the output does not change, whatever is taken away: there is nothing that a map could explain"),)
    if exact(maps, table):
        said = text("it predicts the change of the output in each of {count} ways to take features away, but for rounding",
                    count=len(table.removed))  # fmt: skip
        reasons = _failures([score for score in scores if score.name in _BESIDE_EXACT], around)
        return ("limited" if reasons else "high"), (said, *reasons, *_elsewhere(scores))
    even = bool((maps.amax(1) - maps.amin(1) <= _EVEN * maps.abs().amax(1)).all()) and bool((maps > 0).any())
    if even and float(_between(table).max()) <= _ROUNDING * float(changes.max()):
        return "limited", (text("as many features as are taken away, the output changes by the same, whichever they are, and the map gives "
                                "all the same: its other values cannot be tested"),)  # fmt: skip
    return None


def _between(table: Removals) -> Tensor:
    """The differences of the changes among sets of one size."""
    changes = table.full[:, :1] - table.outputs[..., 0]
    return (changes - table.mean_of_size(changes)).abs()


def _elsewhere(scores: Sequence[FaithfulnessScore]) -> list[Text]:
    """What is true of the explanation and lowers no trust: interactions, and that it speaks of its own reference."""
    adds_up = any(score.name == "completeness" and score.value is not None and score.value <= TOLERANCE for score in scores)
    found = [
        text("its values add up to the whole change; of features taken away in groups the output changes {times:.2g} times as much as "
             "their values say: features interact", times=score.value)
        for score in scores if adds_up and score.name == "scale" and score.passed and not _NEAR <= float(score.value or 0.0) <= 1 / _NEAR
    ]  # fmt: skip
    found += [
        text("it holds for its own reference: where absent means something else ({reference}), it predicts little or nothing",
             reference=score.note or "")
        for score in scores if score.name.startswith("reference_") and score.value is not None and score.passed is None
    ]  # fmt: skip
    return found


def _failures(scores: Sequence[FaithfulnessScore], around: Circumstances) -> list[Text]:
    """Why trust is not high. A constant in every value is said instead of what follows from it: sums that are not the change."""
    shifted = any(score.name == "level" and score.passed is False for score in scores)
    reasons = [_failed(score, around) for score in scores if not (shifted and score.name == "scale")]
    return [reason for reason in reasons if reason is not None]


def _failed(score: FaithfulnessScore, around: Circumstances) -> Text | None:
    """Why this score keeps trust from being high; None where it does not."""
    if score.name == "input_specificity" and score.value is None:
        return text("whether it is specific to this input was not tested: give data=, inputs of the same kind, or more samples")
    if score.passed is not False or score.name == "infidelity":  # which is said first
        return None
    p_value = score.p_value
    if score.name == "input_specificity" and (score.value or 0.0) >= 1:
        return text("its own map explains this sample better than the map of any other input, but these are too few to tell "
                    "(p = {p:.2g}): give data=, more inputs of the same kind", p=p_value)  # fmt: skip
    if score.name == "scale":
        return _scale(score)
    if score.name == "level":
        return _level(score)
    return {
        "each_sample": text("it is right for most samples and wrong for some: of what a map can explain it explains, of samples {which}",
                            which=score.note or ""),
        "share_explained": text("it explains {share:.1%} of what a map can explain, {why}", share=score.value, why=score.note or ""),
        "squared_error": text("its sizes fit less well than its proportions: taken as they are, its values explain {share:.0%} of what a "
                              "map can explain", share=max(0.0, score.value or 0.0)),
        "resolution": text("it was shown to be right for sums over larger features only: {features}; {inside} it explains {share:.0%} of "
                           "what can be explained there", features=around.features, inside=score.note or "",
                           share=max(0.0, score.value or 0.0)),
        "deletion": text("taking its most important features away lowers the output no faster than chance (p = {p:.2g})", p=p_value),
        "insertion": text("giving its most important features first raises the output no faster than chance (p = {p:.2g})", p=p_value),
        "input_specificity": text("maps of other inputs explain the same (better than {share:.0%} of them, p = {p:.2g})",
                                  share=score.value, p=p_value),
        "class_specificity": text("it explains another output as well as the chosen one"),
        "beyond_the_input": text("it says little more than maps drawn from the input alone, such as its edges: of what they leave open it "
                                 "explains {share:.0%}", share=max(0.0, score.value or 0.0)),
        "completeness": text("the attributions do not add up to the change of the output: the gap is {gap:.0%} of it ({worst})",
                             gap=score.value, worst=score.note or ""),
        "sensitivity": text("tiny changes of the input change it by {change:.1f} times its size", change=score.value),
        "parameter_randomisation": text("it hardly changes when the network forgets all: rank correlation {value:.2f}", value=score.value),
    }.get(score.name)  # fmt: skip


def _scale(score: FaithfulnessScore) -> Text:
    """How far the values are from the size of the changes, or their sum from the whole change."""
    slope = float(score.value or 0.0)
    if 0 < slope < LEAST:
        return text("its values are {times:.3g} times too large: only their proportions can be trusted", times=1 / slope)
    if slope > MOST:
        return text("its values are {times:.3g} times too small: only their proportions can be trusted", times=slope)
    return text("its values do not add up to the change of the output from the reference to the sample: only their proportions can be "
                "trusted ({sums})", sums=score.note or "")  # fmt: skip


def _level(score: FaithfulnessScore) -> Text:
    """How large the constant is; one that was found against several references may be the difference to another one."""
    size = abs(score.value or 0.0)
    if score.note is None:
        return text("its values do not add up to the change of the output, as if a constant were added to every value ({size:.2g} times "
                    "their spread): signs and proportions cannot be trusted", size=size)  # fmt: skip
    return text("its values do not add up to the change of the output from any usual reference, as if a constant were added to every value "
                "({size:.2g} times their spread or more): signs and proportions cannot be trusted; made with another reference? Give it "
                "as baseline=", size=size)  # fmt: skip
