"""What a finding's confidence means: of findings of its kind that state so much, how many were right.

A symptom states its confidence by its own evidence. Beside programs of which it is known what is true, that is too high or too low. Here it
becomes the share that was right there: of findings of the same cause where there were enough of them, drawn towards the share of the same
establishment and level, and those towards the level's (a beta-binomial estimate: so many pseudo-observations of the wider group). What a
finding states beside the others of its group moves it by `SLOPE` in the log-odds. `benchmarks/diagnosis_confidence.py --write` makes the
table, from programs for tuning only, sound ones included; the slope and the weight of the wider group are those by which base programs that
the table has not seen are told best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from pellucid.core.records import Finding

# Kind of finding, (established by, level) or (established by, level, cause) -> (what such findings state on average, share that was right)
# the table begins
OBSERVED: Mapping[tuple[str, ...], tuple[float, float]] = {
    ("controlled", "advice"): (0.90, 0.87),
    ("controlled", "fault"): (0.84, 0.84),
    ("controlled", "fault", "bad_batch_size"): (0.90, 0.95),
    ("controlled", "fault", "capacity"): (0.70, 0.28),
    ("controlled", "fault", "leaky_batch"): (0.85, 0.95),
    ("controlled", "fault", "noisy_labels"): (0.85, 0.95),
    ("controlled", "fault", "too_few_epochs"): (0.85, 0.96),
    ("controlled", "fault", "uninformative_input"): (0.82, 0.95),
    ("data", "advice"): (0.64, 0.79),
    ("data", "advice", "data_leakage"): (0.60, 0.96),
    ("data", "advice", "unnormalised_input"): (0.64, 0.56),
    ("data", "fault"): (0.89, 0.99),
    ("data", "fault", "class_imbalance"): (0.83, 0.99),
    ("data", "fault", "data_leakage"): (0.90, 0.99),
    ("data", "fault", "double_normalised_input"): (0.90, 0.99),
    ("data", "fault", "insufficient_data"): (0.80, 0.99),
    ("data", "fault", "label_encoding"): (0.93, 0.99),
    ("data", "fault", "labels_misaligned"): (0.90, 0.99),
    ("data", "fault", "outliers_with_mse"): (0.90, 0.99),
    ("data", "fault", "single_class_labels"): (0.95, 0.99),
    ("data", "fault", "train_test_preprocess_mismatch"): (0.89, 0.99),
    ("data", "fault", "uninformative_input"): (0.95, 0.99),
    ("data", "fault", "unnormalised_target"): (0.90, 0.99),
    ("dynamic", "advice"): (0.80, 0.85),
    ("dynamic", "advice", "dead_relu"): (0.70, 0.87),
    ("dynamic", "advice", "no_shuffle"): (0.39, 0.96),
    ("dynamic", "advice", "overfitting"): (0.99, 0.97),
    ("dynamic", "advice", "underfitting"): (0.95, 0.64),
    ("dynamic", "fault"): (0.93, 0.93),
    ("dynamic", "fault", "dead_relu"): (0.95, 0.86),
    ("dynamic", "fault", "flipped_gradient"): (0.90, 0.73),
    ("dynamic", "fault", "lr_too_low"): (0.90, 0.98),
    ("dynamic", "fault", "missing_output_activation"): (0.95, 0.98),
    ("dynamic", "fault", "missing_zero_grad"): (0.90, 0.98),
    ("dynamic", "fault", "nan"): (0.97, 0.98),
    ("dynamic", "fault", "overfitting"): (0.99, 0.98),
    ("static", "advice"): (0.57, 0.52),
    ("static", "advice", "initial_loss"): (0.60, 0.34),
    ("static", "advice", "unstable_loss"): (0.60, 0.88),
    ("static", "advice", "wrong_loss"): (0.50, 0.17),
    ("static", "fault"): (0.92, 0.99),
    ("static", "fault", "bad_init"): (0.87, 0.99),
    ("static", "fault", "detached_branch"): (0.95, 0.99),
    ("static", "fault", "frozen_weights"): (0.90, 0.99),
    ("static", "fault", "loss_reduction_sum"): (0.90, 0.99),
    ("static", "fault", "lr_too_high"): (0.95, 0.99),
    ("static", "fault", "missing_activation"): (0.88, 0.99),
    ("static", "fault", "missing_output_activation"): (0.95, 0.99),
    ("static", "fault", "over_regularised"): (0.90, 0.99),
    ("static", "fault", "saturating_activation"): (0.94, 0.99),
    ("static", "fault", "shape_broadcast"): (0.97, 0.99),
    ("static", "fault", "softmax_wrong_axis"): (0.94, 0.99),
    ("static", "fault", "wrong_hidden_activation"): (0.89, 0.99),
    ("static", "fault", "wrong_mode"): (0.93, 0.99),
    ("static", "fault", "wrong_output_activation"): (0.94, 0.99),
    ("static", "fault", "wrong_output_units"): (0.94, 0.99),
}
SLOPE = 1
# the table ends
SUREST = 0.99  # and 1 - SUREST: no share of some hundred findings tells more


def calibrated(finding: Finding) -> Finding:
    """The finding with the confidence that such findings deserved; what is not in the table stays as it is stated."""
    if finding.confidence <= 0:
        return finding
    kind = (finding.established_by, finding.level)
    known = OBSERVED.get((*kind, finding.cause or finding.symptom)) or OBSERVED.get(kind)
    return finding if known is None else replace(finding, confidence=moved(*known, finding.confidence, SLOPE))


def moved(usual: float, share: float, stated: float, slope: float) -> float:
    """The share that was right, moved by how far what is stated is from what is usually stated, in the log-odds."""
    odds = log_odds(share) + slope * (log_odds(stated) - log_odds(usual))
    return 1 / (1 + math.exp(-odds))


def log_odds(probability: float) -> float:
    bounded = min(max(probability, 1 - SUREST), SUREST)
    return math.log(bounded / (1 - bounded))
