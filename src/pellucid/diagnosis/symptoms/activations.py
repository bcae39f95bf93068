"""Units that no longer answer: ReLUs off for every input, sigmoids and tanhs at their bounds, an output that is always the same."""

from __future__ import annotations

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import course_of, entry, latest, numbers
from pellucid.diagnosis.dynamic.observations import LayerSeries, Observations
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.symptoms.gradients import FADED, backward_growth, matrices, vanishing_gradient

LEAST_STEPS = 20  # updates
LOOKS = 3  # in a row, before something is called lasting
SILENT_SAMPLES = 100  # a unit that answers to 5 % of all inputs is silent for so many once in 169 times
DEAD_ADVICE, DEAD_FAULT = 0.5, 0.9  # share of a layer's units
SEVERAL = 8  # units, before half of them is more than chance in how they began
SATURATED = 0.8  # share of entries within 1 % of a bound
SATURATED_FIRST = 0.5  # the same before any update: standard normal inputs and Xavier's weights give tanh less than 0.01
ALIKE = 1e-4  # difference between units over the largest weight: rounding, where all of them get the same gradient
SAME = 1e-4  # deviation across samples over the size of the output
AT_ONCE = 8  # steps before outputs that are alike and not equal are more than how they began


@symptom("dead_relu", reads=Observations)
def dead_relu(seen: Observations) -> list[Finding]:
    """Units of a ReLU that gave 0 for every sample over several looks; nothing brings them back, their gradient is 0.

    Sparse units are healthy: one counts as dead only when it was silent for many samples. Where the gradient had vanished before the first
    update, units go out because nothing reaches them that tells samples apart: that is told, not this. The layer with the largest share
    is told. It is a fault where it does harm: the network gives one answer to all, nearly all its units are dead, or half of them are and
    it does not learn. Else there is a way around the layer: of a narrow one (a gate of four units) nothing is said while the network may
    still learn.

    Source: L. Lu et al., Dying ReLU and initialization: theory and numerical examples, 2019 (arXiv:1903.06733), section 2.
    """
    if seen.steps < LEAST_STEPS:
        return []  # the first updates may wake a unit
    if (backward_growth(seen) or 1.0) <= FADED and vanishing_gradient(seen):
        return []
    looks = max(seen.looks_made, len(seen.looks))
    shares = {layer: dead_share(layer) for layer in seen.layers if layer.rectifier and layer.silent}
    worst = sorted((layer for layer, share in shares.items() if share >= DEAD_ADVICE), key=lambda layer: -shares[layer])
    if not worst:
        return []
    course = course_of(seen)
    whole = sum(layer.units * share for layer, share in shares.items()) / sum(layer.units for layer in shares)
    stuck = course is not None and course.minimised and course.fails
    learning = course is not None and course.minimised and course.learns
    harm = whole >= (DEAD_ADVICE if stuck else DEAD_FAULT) or bool(constant_output(seen))
    told = [layer for layer in worst if layer.units >= SEVERAL or ((harm or stuck) and shares[layer] >= DEAD_FAULT)]
    if not told:
        return []
    layer, share = told[0], shares[told[0]]
    fault = harm and share >= DEAD_FAULT
    said = text(
        "{share:.0f} % of the {units} units of {place} are dead: they gave 0 for every one of at least {samples} samples.",
        share=100 * share,
        units=layer.units,
        place=place_of(layer),
        samples=min((n for n, looks in zip(layer.silent_samples, layer.silent, strict=False) if looks >= LOOKS), default=0),
    )
    return [
        Finding(
            symptom="dead_relu",
            level="fault" if fault else "advice",
            confidence=0.95 if fault else 0.7,
            where=layer.path,
            summary=text("{said} The network learns without them.", said=said) if learning else said,
            evidence={
                "dead_share": share,
                "units": layer.units,
                "dead_share_of_all": whole,
                "dead_from_the_first_step": born_dead(layer, looks),
                "layers": {one.path: shares[one] for one in worst},
                "expected": {"dead_share": f"< {DEAD_ADVICE}"},
            },
            remedy=text(
                "lower the learning rate, and initialise for ReLU (torch.nn.init.kaiming_normal_, biases 0); or use LeakyReLU or GELU"
            ),
        )
    ]


def dead_share(layer: LayerSeries) -> float:
    """The share of units that were silent for LOOKS looks in a row and SILENT_SAMPLES samples."""
    counted = list(zip(layer.silent, layer.silent_samples, strict=False))
    dead = sum(looks >= LOOKS and samples >= SILENT_SAMPLES for looks, samples in counted)
    return dead / len(counted) if counted else 0.0


def born_dead(layer: LayerSeries, looks: int) -> float:
    """The share of the dead units that were silent at every look, also at the first one, before any update."""
    dead = [
        silent for silent, samples in zip(layer.silent, layer.silent_samples, strict=False) if silent >= LOOKS and samples >= SILENT_SAMPLES
    ]
    return sum(silent >= looks for silent in dead) / len(dead) if dead else 0.0


@symptom("saturation", reads=Observations)
def saturation(seen: Observations) -> list[Finding]:
    """Hidden sigmoid or tanh units that stay at their bounds, where their derivative is almost 0; or most of which begin there, everywhere.

    The last layer is left out: a classifier that is sure of its answers is at the bounds there.
    """
    hidden = [layer for layer in seen.layers if layer.bounds is not None and not _gives_the_output(seen, layer)]
    stuck = [(layer, min(latest(layer.saturated, LOOKS))) for layer in hidden if len(latest(layer.saturated, LOOKS)) == LOOKS]
    at_first = [entry(layer.saturated, 0) or 0.0 for layer in hidden]
    least = SATURATED_FIRST if len(hidden) > 1 and min(at_first) >= SATURATED_FIRST else SATURATED
    stuck = sorted(((layer, share) for layer, share in stuck if share >= least), key=lambda pair: -pair[1])
    if not stuck:
        return []
    layer, share = stuck[0]
    low, high = layer.bounds or (None, None)
    course = course_of(seen)
    fault = course is not None and course.minimised and course.fails
    if not fault and layer.units < SEVERAL:
        return []  # a few gates that are open, or shut
    return [
        Finding(
            symptom="saturation",
            level="fault" if fault else "advice",
            confidence=0.9 if fault else 0.7,
            where=layer.path,
            summary=text(
                "{share:.0f} % of the activations of {place} are at the bounds {low} and {high}, where almost no gradient passes.",
                share=100 * share,
                place=place_of(layer),
                low="-" if low is None else f"{low:g}",
                high="-" if high is None else f"{high:g}",
            ),
            evidence={
                "saturated_share": share,
                "layers": {one.path: value for one, value in stuck},
                "expected": {"saturated_share": f"< {least}"},
            },
            remedy=text(
                "scale the inputs to mean 0 and deviation 1, initialise with smaller weights (torch.nn.init.xavier_normal_), or use ReLU"
            ),
        )
    ]


def _gives_the_output(seen: Observations, layer: LayerSeries) -> bool:
    """Whether this layer's result is the model's output."""
    return layer.path == "" or layer is next((one for one in reversed(seen.layers) if one.path and one.side == "output"), None)


@symptom("watched_bad_init", reads=Observations)
def watched_bad_init(seen: Observations) -> list[Finding]:
    """All units of a hidden layer have the same weights and keep them: they began alike, and get the same gradients or none.

    The last layer may begin with zeros: its units have targets of their own. So may a branch of a residual sum: its units differ after the
    first update, therefore that look is left out.

    Source: I. Goodfellow, Y. Bengio and A. Courville, Deep Learning, 2016, section 8.4 ("break symmetry").
    """
    layers = matrices(seen)
    rates = [rate for rates in seen.learning_rates for rate in rates]
    alike = [layer for layer in layers[:-1] if len(later := numbers(layer.alike[1:])) >= 2 and max(later) <= ALIKE]
    moving = [layer for layer in layers if layer.changed]
    if not alike or not any(rates or [1.0]) or (not moving and not _all_still(seen)):
        return []
    layer = alike[0]
    return [
        Finding(
            symptom="bad_init",
            cause="bad_init",
            level="fault",
            confidence=0.95,
            where=layer.layer or layer.name,
            summary=text(
                "All units of {layer} have the same weights, and still have after {steps} steps: they get the same gradient, or none, and "
                "stay one unit.",
                layer=layer.name,
                steps=seen.steps,
            ),
            evidence={
                "deviation_across_units": max(numbers(layer.alike[1:])),
                "layers": [one.name for one in alike],
                "expected": {"deviation_across_units": f"> {ALIKE:g}"},
            },
            remedy=text("draw the first weights at random: torch.nn.init.kaiming_normal_ or xavier_normal_; biases may be 0"),
        )
    ]


def _all_still(seen: Observations) -> bool:
    """Whether gradients are 0 everywhere but in biases, as where all weights are 0."""
    return not any(any(numbers(layer.gradient)) for layer in matrices(seen))


def place_of(layer: LayerSeries) -> str:
    """ "2 (ReLU)", or "fc2 (relu before it)"."""
    if not layer.path:
        return layer.kind
    return f"{layer.path} ({layer.kind})" if layer.side == "output" else f"{layer.kind} -> {layer.path}"


@symptom("constant_output", reads=Observations)
def constant_output(seen: Observations) -> list[Finding]:
    """The network gives the same output for all samples of a batch, look after look."""
    output = seen.layer("")
    if output is None or seen.several_models or len(seen.looks) < LOOKS + 1:
        return []
    recent = output.spreads()[-LOOKS:]
    if len(recent) < LOOKS or max(recent) > (SAME if seen.steps >= AT_ONCE else 0.0):
        return []
    classes = seen.targets.classes
    if seen.targets.seen == "classes" and len(classes) < 2:
        return []  # nothing to tell apart
    course = course_of(seen)
    if course is not None and course.trivial is not None and course.learns:
        return []  # since those looks it has learnt more than a constant
    return [
        Finding(
            symptom="constant_output",
            level="fault",
            confidence=0.9,
            where="output",
            summary=text(
                "The network gives the same output for every sample: across a batch its outputs differ by {spread:.1g} of their size.",
                spread=max(recent),
            )
            if max(recent)
            else text("The network gives exactly the same output for every sample."),
            evidence={"relative_spread": max(recent), "looks": len(recent), "expected": {"relative_spread": f"> {SAME}"}},
            remedy=text(
                "follow one sample from layer to layer to where samples become equal: dead or saturated units, weights of 0, or inputs far "
                "from 0"
            ),
        )
    ]
