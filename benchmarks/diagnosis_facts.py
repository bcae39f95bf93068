"""Whether an advice is true where no label decides it: settled by a measurement that did not give the advice.

A program's labels say what was done to it, and not everything else that is true of it: a sound program may do better with more epochs, or
hold copies of its test samples. So an advice that is neither a label of the program, nor follows from one, nor is allowed in its row, is
put to a test. A fault is not: it accuses, and only a label makes it right.

| advice | it is right where |
|---|---|
| with a remedy that can be applied | `finding.verify()` says "helps": whole trainings with and without it, from other seeds |
| `data_leakage`, copies | at least 0.5 % of all test samples stand in the training part, compared byte by byte |
| `class_imbalance` | counted over the whole part: a class has 20 times as many samples as another, or 95 % of all |
| `insufficient_data` | eight trainings on half of the samples, for as many updates, score less than on all (95 % interval over seeds) |
| `overfitting` | in three trainings from other seeds the training part is answered better than the test part, by 5 % of what was learnt \
and more than chance; or the held-out loss ends 5 % above its lowest value in each |
| `dead_relu` | in three trainings from other seeds half of the told share of the units or more gives 0 for every training sample |
| `uninformative_input` | three trainings from other seeds score no more than a constant answer, within three standard errors |

Any other advice is decided by the labels alone.
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
import torch

COPIES, RARE, ALMOST_ALL = 0.005, 20.0, 0.95
MATERIAL, RISEN = 0.05, 1.05
SEVERAL = 8  # trainings of few samples: they are short, and their scores vary much


def fact(experiment: Any, finding: Any, copies: float) -> tuple[bool | None, str]:
    """Whether the finding is true of the experiment, None where nothing here can tell; and how that is known.

    `copies` is the share of test samples that stand in the training part.
    """
    cause = finding.cause or finding.symptom
    if cause == "data_leakage":
        told = "shared" in (finding.evidence or {})
        return (copies >= COPIES, f"{copies:.3f} of the test samples are copies") if told else (None, "")
    check = {
        "class_imbalance": imbalanced, "insufficient_data": short_of_samples, "overfitting": overfitted, "dead_relu": dead,
        "uninformative_input": uninformed,
    }.get(cause)  # fmt: skip
    try:
        if check is not None:
            return check(experiment, finding)
        if finding.change is not None:
            proof = finding.verify()
            return proof.verdict == "helps", f"{proof.change.kind}: {proof.verdict}, {proof.difference:+.4f} from {len(proof.seeds)} seeds"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"[:200]
    return None, ""


def trials_of(experiment: Any, number: int = 3) -> list[Any]:
    """Whole trainings from seeds that no finding comes from."""
    from pellucid.diagnosis.experiments.verification import FIRST_SEED

    return [experiment.run(seed) for seed in range(FIRST_SEED, FIRST_SEED + number)]


def mean_and_chance(values: list[float]) -> tuple[float, float]:
    """The mean of values and half its 95 % interval."""
    from pellucid.core.numerics import mean_interval

    return fmean(values), fmean(values) - mean_interval(np.asarray(values)).low


def imbalanced(experiment: Any, finding: Any) -> tuple[bool | None, str]:
    _, targets = experiment.samples("train")
    labels = targets.argmax(1) if targets.dim() == 2 and targets.shape[1] > 1 else targets.reshape(-1)
    counts = labels.unique(return_counts=True)[1].double()
    ratio, most = float(counts.max() / counts.min()), float(counts.max() / counts.sum())
    return ratio >= RARE or most >= ALMOST_ALL, f"{ratio:.1f} times as many samples, {most:.3f} of all"


def short_of_samples(experiment: Any, finding: Any) -> tuple[bool | None, str]:
    if not isinstance(experiment.train, tuple):
        return None, ""
    from pellucid.diagnosis.experiments.samples import mapped, samples_in

    size = samples_in(experiment.train)
    lost: list[float] = []
    for whole in trials_of(experiment, SEVERAL):
        half = torch.randperm(size, generator=torch.Generator().manual_seed(whole.seed))[: size // 2]
        part = tuple(mapped(lambda tensor, kept=half: tensor[kept], side) for side in experiment.train)
        fewer = experiment.changed(train=part, epochs=2 * experiment.epochs).run(whole.seed, steps=experiment.steps)
        if not all(map(math.isfinite, (whole.score or 0.0, fewer.score or 0.0))):
            return None, "a training broke down"
        lost.append((whole.score or 0.0) - (fewer.score or 0.0))
    mean, chance = mean_and_chance(lost)
    return mean > chance, f"half of the samples score {mean:.4f} less, give or take {chance:.4f}"


def overfitted(experiment: Any, finding: Any) -> tuple[bool | None, str]:
    from pellucid.diagnosis.experiments.samples import first_tensor
    from pellucid.diagnosis.experiments.scoring import constant_score

    trials = trials_of(experiment)
    ends = [trial.moments[-1] for trial in trials if trial.moments]
    pairs = [(end.train_score, end.test_score) for end in ends if end.train_score is not None and end.test_score is not None]
    if len(pairs) < len(trials):
        return None, "no score"
    mean, chance = mean_and_chance([mine - other for mine, other in pairs])
    score, samples = fmean(other for _, other in pairs), len(first_tensor(experiment.samples("test", 10_000)[1]))
    if trials[0].scoring.metric == "accuracy":
        chance = math.hypot(chance, 1.96 * math.sqrt(max(score * (1 - score), 1e-4) / samples))
    learnt = fmean(mine for mine, _ in pairs) - (constant_score(experiment, trials[0].scoring) or 0.0)
    lowest = [[m.test_loss for m in trial.moments[1:] if m.test_loss is not None] for trial in trials]
    risen = all(losses and losses[-1] > RISEN * min(losses) > 0 for losses in lowest)
    gap = mean > max(chance, MATERIAL * learnt)
    return gap or risen, f"gap {mean:.4f}, give or take {chance:.4f}; loss risen: {risen}"


def dead(experiment: Any, finding: Any) -> tuple[bool | None, str]:
    """Units of the layer that is told, or of what reaches it where it is no activation."""
    told = finding.evidence.get("dead_share")
    if not isinstance(told, float) or not 0 < told <= 1:
        return None, ""
    shares: list[float] = []
    for trial in trials_of(experiment):
        modules = dict(trial.model.named_modules())
        layer = modules.get(finding.where)
        if layer is None:
            return None, ""
        alive: list[Any] = []

        def seen(module: Any, given: Any, output: Any, kept: list[Any] = alive) -> None:
            values = given[0] if getattr(module, "weight", None) is not None else output
            kept.append((values.movedim(1, -1) if values.dim() == 4 else values).flatten(0, -2).gt(0).any(0))

        handle = layer.register_forward_hook(seen)
        trial.model.eval()
        with torch.no_grad():
            for inputs, _ in experiment.portions("train", 5000):
                trial.model(inputs)
        handle.remove()
        shares.append(1 - float(torch.stack(alive).any(0).double().mean()))
    return min(shares) >= told / 2, f"dead from three other seeds: {', '.join(f'{share:.2f}' for share in shares)}; told {told:.2f}"


def uninformed(experiment: Any, finding: Any) -> tuple[bool | None, str]:
    from pellucid.diagnosis.experiments.samples import first_tensor
    from pellucid.diagnosis.experiments.scoring import constant_score

    trials = trials_of(experiment)
    constant = constant_score(experiment, trials[0].scoring)
    scores = [trial.score for trial in trials]
    if constant is None or not all(score is not None and math.isfinite(score) for score in scores):
        return None, "no score"
    samples = len(first_tensor(experiment.samples("train" if experiment.test is None else "test", 10_000)[1]))
    least = constant + 3 * math.sqrt(max(constant * (1 - constant), 1e-2) / samples)
    return fmean(scores) <= least, f"score {fmean(scores):.4f}, a constant answer's {constant:.4f}"
