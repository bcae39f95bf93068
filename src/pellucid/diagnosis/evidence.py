"""What the numbers of a finding are called, and small pictures of them beside what they should be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from pellucid.core.language import Text, text

WORDS: Mapping[str, Text] = {  # of the keys of `Finding.evidence`
    "accuracy_renamed": text("accuracy with the classes renamed"),
    "across": text("score from one part to the other"),
    "activation": text("activation function"),
    "activations": text("activation functions"),
    "adam_loss": text("loss with Adam"),
    "also_helps": text("what also helps"),
    "axis": text("axis"),
    "backward_passes": text("backward passes per update"),
    "batch_size": text("batch size"),
    "batches": text("batches"),
    "best_epoch": text("best epoch"),
    "best_evaluation": text("best evaluation"),
    "better_on_test": text("how much better on the test part"),
    "better_rate": text("a better learning rate"),
    "broke_at_step": text("step at which it broke down"),
    "by_chance": text("expected by chance"),
    "changed": text("change between two passes, over the spread"),
    "channels": text("order of channels"),
    "classes": text("classes"),
    "columns": text("columns"),
    "columns_that_vary": text("columns that vary"),
    "compared_shape": text("compared shape"),
    "confusions_of_neighbours": text("confusions of neighbouring classes, over chance"),
    "constant": text("score of a constant answer"),
    "constant_loss": text("loss with equal inputs"),
    "cosine": text("cosine"),
    "cosine_of_two_halves": text("cosine of two halves of the training part"),
    "dead_from_the_first_step": text("share of them dead before the first update"),
    "dead_share": text("share of dead units"),
    "dead_share_of_all": text("share of dead units of all layers"),
    "decayed_at_step": text("step at which the rate had decayed"),
    "dependence": text("influence of the other samples"),
    "deviation": text("deviation"),
    "deviation_across_units": text("deviation across units"),
    "difference": text("difference"),
    "difference_reordered": text("difference after reordering"),
    "difference_to_test": text("difference of the classes' shares to the test part"),
    "dimension": text("dimension of the data"),
    "distinct": text("different values"),
    "distinct_inputs": text("different inputs"),
    "distinct_targets": text("different targets"),
    "elements": text("numbers"),
    "epochs": text("epochs"),
    "error": text("error"),
    "error_of_surest_third": text("error of the surest third"),
    "finite_until": text("last finite step"),
    "first_answers": text("size of the first answers"),
    "first_loss": text("first loss"),
    "first_over_last": text("first layer over last layer"),
    "frozen_share": text("share of frozen weights"),
    "gap": text("gap between training and held-out score"),
    "gap_interval": text("interval of the gap"),
    "gradient": text("gradient"),
    "gradient_norm": text("gradient norm"),
    "gradient_ratio": text("ratio of gradients"),
    "groups": text("groups"),
    "groups_of_test": text("groups of the test part"),
    "growth": text("growth"),
    "growth_with_batch": text("growth of the loss with a batch twice as large"),
    "high": text("largest value"),
    "how": text("how"),
    "inputs_exchanged": text("score with inputs exchanged among the samples"),
    "kept_epoch": text("epoch whose weights are kept"),
    "kind": text("kind"),
    "labels_per_sample": text("labels per sample"),
    "largest_argument": text("largest argument before the first step"),
    "largest_in_deviations": text("largest residual in robust deviations"),
    "largest_learning_rate": text("largest learning rate"),
    "largest_over_smallest": text("largest class over smallest class"),
    "largest_score": text("largest score"),
    "last_layer": text("last layer"),
    "last_loss": text("last loss"),
    "latest_evaluation_loss": text("latest evaluation loss"),
    "latest_validation_loss": text("latest validation loss"),
    "latest_validation_loss_noise": text("noise of the validation loss"),
    "layers": text("layers"),
    "learning_rate": text("learning rate"),
    "learnt_share": text("learnt share"),
    "least_argument": text("smallest argument"),
    "least_loss": text("least loss that is possible"),
    "longer": text("longer"),
    "loss": text("loss"),
    "loss_after_step": text("loss after one step"),
    "loss_after_step_of_mean": text("loss after one step of the mean"),
    "loss_before": text("loss before"),
    "loss_of_knowing_nothing": text("loss of knowing nothing"),
    "loss_over_guessing": text("loss over that of guessing"),
    "lost_share": text("lost share"),
    "low": text("smallest value"),
    "lowest_evaluation_loss": text("lowest evaluation loss"),
    "lowest_loss": text("lowest loss"),
    "lowest_validation_loss": text("lowest validation loss"),
    "maximize": text("maximises"),
    "mean": text("mean"),
    "metric": text("metric"),
    "narrowest": text("units of the narrowest layer"),
    "noise_between_seeds": text("noise between seeds"),
    "operation": text("operation"),
    "output_high": text("largest output that is possible"),
    "output_low": text("smallest output that is possible"),
    "output_shape": text("shape of the outputs"),
    "outputs": text("outputs"),
    "pairs": text("pairs"),
    "parameters": text("parameters"),
    "period": text("period"),
    "place": text("place"),
    "places": text("places"),
    "plain_network": text("score of a plain network"),
    "plain_score": text("score of a plain network"),
    "plain_train_score": text("training score of a plain network"),
    "probe_on_new_groups": text("score of a probe on new groups"),
    "probe_on_shared_groups": text("score of a probe on groups that stand in both parts"),
    "promised_fall_over_loss": text("fall that a step promises, over the loss"),
    "rank_correlation": text("rank correlation"),
    "rank_correlation_of_two_halves": text("rank correlation of two halves of the training part"),
    "ratio_of_deviations": text("ratio of deviations"),
    "relative_error": text("relative error"),
    "relative_spread": text("relative spread"),
    "repeated_in_train": text("repeated within the training part"),
    "repeats": text("repetitions"),
    "root_mean_square": text("root mean square"),
    "rows_of_zeros": text("rows of zeros"),
    "rows_with_other_sum": text("rows with another sum"),
    "samples": text("samples"),
    "samples_looked_at": text("samples looked at"),
    "samples_of_shared_groups_in_train": text("training samples of these groups"),
    "saturated_share": text("share of saturated values"),
    "score": text("score"),
    "score_after": text("score after the change"),
    "score_high": text("largest score"),
    "score_low": text("smallest score"),
    "score_moved": text("score with targets moved"),
    "score_now": text("score now"),
    "score_of_more": text("score from more samples"),
    "score_of_neighbours": text("score of the neighbouring values"),
    "score_of_test": text("score of the test part"),
    "score_then": text("score then"),
    "seeds": text("seeds"),
    "sensitivity": text("sensitivity"),
    "shape": text("shape"),
    "share": text("share"),
    "share_of_largest": text("share of the largest class"),
    "share_of_last_quarter": text("share of the last quarter"),
    "share_of_squares": text("share of the squared error"),
    "share_of_test": text("share of the test part"),
    "shared": text("shared samples"),
    "shared_groups": text("groups on both sides"),
    "shift": text("shift in rows"),
    "shift_in_deviations": text("shift of means in deviations"),
    "silent_targets": text("targets without a slope"),
    "single_class_batches": text("batches of a single class"),
    "size": text("size"),
    "source": text("source line"),
    "standard_error": text("standard error"),
    "std": text("deviation"),
    "step": text("step"),
    "steps": text("steps"),
    "steps_not_finite": text("steps that are not finite"),
    "swing": text("swing of the loss"),
    "target_deviation": text("deviation of the targets"),
    "target_high": text("largest target"),
    "target_low": text("smallest target"),
    "target_mean": text("mean of the targets"),
    "target_shape": text("shape of the targets"),
    "targets": text("targets"),
    "targets_outside": text("targets out of reach"),
    "targets_sorted": text("targets are sorted"),
    "targets_with_other_sum": text("targets with another sum"),
    "test_deviation": text("deviation of the test part"),
    "test_mean": text("mean of the test part"),
    "test_range": text("range of the test part"),
    "test_samples": text("test samples"),
    "theory": text("loss by theory"),
    "token": text("token"),
    "train": text("training score"),
    "train_range": text("range of the training part"),
    "train_samples": text("training samples"),
    "train_score": text("training score"),
    "training_in_evaluation_mode": text("training passes in evaluation mode"),
    "training_passes_in_training_mode": text("training passes in training mode"),
    "trivial": text("score of a constant answer"),
    "trivial_loss": text("loss of a constant answer"),
    "turning_points": text("share of turning points"),
    "uncleared": text("gradients that were not cleared"),
    "units": text("units"),
    "unreachable_variance": text("share of the variance out of reach"),
    "update_over_weight": text("update over weight"),
    "updates": text("updates"),
    "uphill": text("share of updates uphill"),
    "validation": text("validation score"),
    "values": text("different values"),
    "within_test": text("score within the test part"),
    "within_train": text("score within the training part"),
}
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_WANTED = re.compile(rf"(?P<sign><=|>=|<|>|about)?\s*(?P<low>{_NUMBER})(?:\s+to\s+(?P<high>{_NUMBER}))?")
WIDTH, HEIGHT, TALL = 120.0, 14.0, 8.0
APART = 100.0  # values that differ by more are drawn on a logarithmic axis


def called(key: str) -> Text | str:
    """A key of the evidence as a person reads it; of another package's symptom the key itself."""
    return WORDS.get(key, key.replace("_", " "))


def bounds(wanted: str) -> tuple[float | None, float | None] | None:
    """The interval that a finding's "expected" allows: "< 0.1", "about 1", "0.02 to 20, best about 1"; None where it is no number."""
    found = _WANTED.match(wanted.strip())
    if found is None:
        return None
    low = float(found["low"])
    if found["high"] is not None:
        return low, float(found["high"])
    sign = found["sign"] or ""
    if sign == "about":
        return (low / 2, low * 2) if low > 0 else None
    return (None, low) if sign.startswith("<") else (low, None) if sign.startswith(">") else (low, low)


def gauge(value: float, wanted: str) -> str:
    """A bar with what is allowed as an area and the value as a mark on it, as SVG without words; "" where nothing can be compared."""
    allowed = bounds(wanted)
    if allowed is None or not math.isfinite(value):
        return ""
    low, high = allowed
    points = [value, *(end for end in allowed if end is not None)]
    logarithmic = min(points) > 0 and max(points) / min(points) > APART
    scaled = [math.log10(point) if logarithmic else point for point in points]
    left, right = min(scaled), max(scaled)
    margin = 0.25 * (right - left or abs(right) or 1.0)
    left, right = left - margin, right + margin

    def at(point: float | None, end: float) -> float:
        if point is None:
            return end
        return WIDTH * ((math.log10(point) if logarithmic else point) - left) / (right - left)

    begin, end, mark = at(low, 0.0), at(high, WIDTH), at(value, 0.0)
    inside = (low is None or value >= low) and (high is None or value <= high)
    colour = "#2a7d4f" if inside else "#b3402e"
    top = (HEIGHT - TALL) / 2
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" width="{WIDTH:.0f}" height="{HEIGHT:.0f}" aria-hidden="true">'
        f'<rect x="0" y="{top:.0f}" width="{WIDTH:.0f}" height="{TALL:.0f}" fill="#8882"/>'
        f'<rect x="{begin:.1f}" y="{top:.0f}" width="{max(end - begin, 1.5):.1f}" height="{TALL:.0f}" fill="#2a7d4f66"/>'
        f'<rect x="{mark - 1.5:.1f}" y="0" width="3" height="{HEIGHT:.0f}" fill="{colour}"/></svg>'
    )
