"""explain: why did the network give this output?

explanation = pellucid.explain(model, inputs, target=3, data=background)
explanation.attributions                  # the shape of the inputs
explanation.certificate.trust             # "high", "limited" or "none", with the reasons in words
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from pellucid.core.errors import ModelError, OptionError
from pellucid.core.language import Text, text
from pellucid.core.wording import duration
from pellucid.explanation.checks import check_attributions, checked_samples, checked_seed, groups_of, plainly, unclean
from pellucid.explanation.explanation import Evidence, Explanation
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference, like_inputs
from pellucid.explanation.registry import Attributed, Method, applicable, find_method
from pellucid.explanation.subject import Subject
from pellucid.explanation.terms import method_name

_TELL_SECONDS = 1.0
_LONG_SECONDS = 10.0  # what takes longer is told in a terminal without being asked for
MOST_SHAPLEY = 100  # players: one more costs every sample 2 passes for each of the 32 to 512 pairs of orders, and 100 of them up to 10^5
_NO_RULE = text("an image has many pixels, and DeepLIFT has no rule for some operation of this network")


@plainly()
def explain(
    model: nn.Module,
    inputs: Any,
    target: Any = None,
    *,
    method: str = "auto",
    baseline: Any = "auto",
    data: Any = None,
    seed: int = 0,
    features: Any = "auto",
    samples: int | None = None,
    layer: str | None = None,
    progress: Callable[[Text], None] | None = None,
) -> Explanation:
    """What each entry of the inputs contributed to the chosen output of any torch.nn.Module.

    `inputs`: a tensor, array or frame of numbers (N, ...) with the sample axis first, a tuple of these in the order of forward's
    parameters, or a dict by their names. `target`: the index of the output to explain, or one per sample; None: each sample's largest.
    `method`: a name, or "auto", which chooses by the kind of data and says why in the notes. `baseline`: what "absent" means: "zero",
    "mean", "blur" (of images and series), "noise", "samples" (of `data`), a number or a tensor; "auto" chooses. `data`: background inputs.
    `features`: which entries are one feature: "auto" (a column, a token, a patch of an image, a window of time), "entries" (each number by
    itself), the edge of a patch or window, or integers of one sample's shape that say which feature an entry belongs to.
    `samples`: how many draws a sampling method may make (of integrated gradients: gradients on each way), else it stops when its intervals
    are fixed by a pilot. `layer`: of Grad-CAM. `progress` is called with a sentence about once a second; without it a terminal is told of
    what takes longer than 10 seconds.

    Raises:
        ModelError: the network cannot be explained, or not by this method; methods that can be applied are named.
        DataError: inputs, baseline or data that do not fit.
        OptionError: an unknown or contradictory option.
    """
    generator = torch.Generator().manual_seed(checked_seed(seed))
    samples = checked_samples(samples)
    for name, value in (("method", method), ("layer", layer)):
        if not isinstance(cast("Any", value), str) and not (name == "layer" and value is None):
            raise OptionError(text("{name} is {value!r}", name=name, value=value), text("a name as a string"), text("leave it out"))
    named = None if method == "auto" else find_method(method)
    if samples is not None and named is not None and not named.draws:
        raise OptionError(text("samples is {samples} and the method is {method}, which draws nothing", samples=samples, method=method),
                          text("a method that samples"), text('leave samples out, or use method="shapley"'))  # fmt: skip
    tell = reporter(progress)
    subject = Subject.of(model, inputs, target, tell=tell, predict=named is None or not named.predicts)
    if data is not None:
        data = tuple(part.clone() for part in like_inputs(subject, data, text("the background (data)")))  # see Subject.of
    notes: list[Text] = []
    players = Players.of(subject, groups_of(features))
    chosen = named or _automatic(subject, players, notes, sampling=samples is not None)
    obstacle = chosen.obstacle(subject, layer)
    if obstacle is not None:
        raise ModelError(
            text("the method {method} cannot be applied: {reason}", method=chosen.name, reason=obstacle),
            text("a method that fits this network and these inputs"),
            text("these can be applied: {names}", names=applicable(subject)),
        )
    if layer is not None and "layer" not in chosen.options:
        raise OptionError(text("layer is {layer!r} and the method is {method}", layer=layer, method=chosen.name),
                          text("a method that looks at a layer"), text('leave layer out, or use method="grad_cam"'))  # fmt: skip
    reference = Reference.of(subject, baseline, data, generator)
    more = {} if layer is None else {"layer": layer}

    def applied(made: Method) -> Attributed:
        return made.function(subject, reference=reference, players=players, generator=generator, samples=samples, tell=subject.tell, **more)

    try:
        attributed = applied(chosen)
    except ModelError:
        if method != "auto" or chosen.name != "deeplift":
            raise
        chosen, notes = find_method("integrated_gradients"), []  # a rule can be missing on these samples only: see multipliers
        notes.append(_because(chosen.name, _NO_RULE))
        attributed = applied(chosen)
    finally:
        tell.close()

    check_attributions(attributed.attributions, attributed.gap, chosen.name)

    given = subject.as_given
    exact = attributed.exact if isinstance(attributed.exact, bool) else given(attributed.exact)
    return Explanation(
        attributions=given(attributed.attributions),
        interval=(given(attributed.low or attributed.attributions), given(attributed.high or attributed.attributions)),
        exact=exact,
        method=chosen.name,
        reference=reference.stated,
        features=players.stated,
        target=subject.target,
        predicted=subject.predicted,
        value=subject.value,
        gap=attributed.gap,
        notes=(*unclean(subject.inputs), *attributed.warnings, *reference.notes, *subject.notes, *notes, *attributed.notes),
        spent=subject.spent,
        evidence=Evidence(subject, reference, players, attributed, chosen.family, seed, data),
    )


def _automatic(subject: Subject, players: Players, notes: list[Text], *, sampling: bool) -> Method:
    """The method for this kind of data, and why: Shapley values for columns, exact where that is affordable, unless these are too many; for
    images DeepLIFT, a pass on the reference and one there and back on the sample, where it has a rule for every operation; integrated
    gradients else.
    """
    kind, many = subject.kind, players.count > MOST_SHAPLEY
    if subject.differentiable is not None and many:
        name = "feature_ablation"
        why = text("the network cannot be differentiated, and Shapley values of {count} features would take too many passes: "
                   'method="shapley" takes them even so', count=players.count)  # fmt: skip
    elif subject.differentiable is not None:
        name, why = "shapley", text("the network cannot be differentiated, so that only methods that evaluate it are left")
    elif kind == "table" and many:
        name = "integrated_gradients"
        why = text("Shapley values of {count} columns would take too many passes, and its contributions add up too: "
                   'method="shapley" takes them even so', count=players.count)  # fmt: skip
    elif kind == "table":
        name, why = "shapley", text("columns of a table are few enough for Shapley values")
    elif kind in ("image", "volume") and find_method("deeplift").obstacle(subject) is None:
        name, why = "deeplift", text("on images it needs one backward pass, and its contributions add up to the change of the output")
    elif kind in ("image", "volume"):
        name, why = "integrated_gradients", _NO_RULE
    else:
        name, why = (
            "integrated_gradients",
            text("the contributions add up to the change of the output, which is checked"),
        )
    notes.append(_because(name, why))
    found = find_method(name)
    if sampling and not found.draws:
        notes.append(text("samples is of no use to this method, which draws nothing"))
    return found


def _because(name: str, why: Text) -> Text:
    return text("method: {name}, because {why}", name=method_name(name), why=why)


def reporter(progress: Callable[[Text], None] | None) -> Progress:
    """Progress with the time left, about once a second."""
    return Progress(progress)


class Progress:
    """Says how much is done and how long the rest will take: to the user's function, else in a terminal where it takes long."""

    def __init__(self, progress: Callable[[Text], None] | None) -> None:
        self._to = progress
        self._terminal = progress is None and sys.stderr is not None and sys.stderr.isatty()
        self._started = self._said = time.perf_counter()
        self._done, self._width = 0, 0

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if done < self._done:  # another part of the work: a pilot took its own time
            self._started = now
        self._done = done
        if done >= total:
            self.close()
        if now - self._said < _TELL_SECONDS or not 0 < done < total or now <= self._started:
            return
        left = (now - self._started) * (total - done) / done
        said = text("explained {done} of {total}, {left} left", done=done, total=total, left=duration(left))
        if self._to is not None:
            self._said = now
            self._to(said)
        elif self._terminal and (self._width or now - self._started + left > _LONG_SECONDS):
            self._said = now
            self._write(str(said))

    def close(self) -> None:
        """Leave the terminal's line empty."""
        if self._width:
            self._write("")

    def _write(self, said: str) -> None:
        print("\r" + said.ljust(self._width) + ("" if said else "\r"), end="", file=sys.stderr, flush=True)
        self._width = len(said)
