"""`NetworkClassifier` and `NetworkRegressor`: Pellucid's networks as scikit-learn's estimators.

They train by the same session, loop, losses, optimisers and schedules as `fit`, in memory: no run, no range test, no baselines, no report,
and nothing printed, unless asked. Errors about data follow scikit-learn's conventions; those about options are Pellucid's (they are
ValueErrors and TypeErrors too).

What is learnt depends on the samples alone: not on the order of the rows, and a row that stands twice is a row of weight two. Samples of
weight zero are no samples. Inputs, and the targets of a regression, are standardised by the mean and the standard deviation of the distinct
training samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Task
from pellucid.data.arrays.checks import read_inputs
from pellucid.data.arrays.targets import Targets
from pellucid.training.base_estimator import NetworkEstimator, checked_weights, validated
from pellucid.training.losses import class_weights, probabilities


def _check_labels(y: np.ndarray) -> None:
    """Labels that cannot be put in order are no classes: a missing one among texts, numbers among texts."""
    try:
        np.unique(y)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in y.ravel().tolist()})
        raise DataError(
            text("y holds labels of several types: {kinds}", kinds=kinds),
            text("labels of one type, none of them missing"),
            text("leave out the samples without a label, or turn all labels into texts"),
        ) from None


class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """A neural network that tells classes, with scikit-learn's manners.

    The parameters are the options of `pellucid.fit` of the same name (`pellucid fit --help`), checked when fitting. Others, and defaults
    that differ:

        learning_rate  a number; "auto": the optimiser's customary rate; "range_test": measured before training, as `fit` does
        validation     None: every sample is trained on, every epoch is done, and the last weights are kept. A fraction or a number of
                       samples: that part is held out, chooses the epoch whose weights are kept, and stops the training (patience)
        class_weight   None, "balanced", {label: weight}, or a weight per class in the order of `classes_`; multiplies the sample weights
        random_state   an int, a numpy.random.RandomState, or None: a fresh seed (`seed_` tells it)
        warm_start     fit goes on from the weights, and with the standardisation, of the fit before
        directory      None: no file is written. A folder: a run is kept there, as `fit` does with the same arrays; see `run_`

    X is (samples, features) or images (samples, channels, height, width): numbers, finite, in an array or a frame. There is no
    `partial_fit` (the schedule and the standardisation belong to a whole training) and no sparse X.

    Attributes: `classes_`, `n_features_in_`, `feature_names_in_`, `network_` (the torch module), `loss_curve_` (mean training loss of each
    epoch), `n_iter_` (epochs done), `kept_epoch_`, `history_` (a dict per epoch), `settings_` (every value that training used), `task_`,
    `preprocessing_`, `seed_`, and `run_` where a directory was given.

    Example: `make_pipeline(SimpleImputer(), pellucid.NetworkClassifier(epochs=50)).fit(X, y).predict_proba(X)`
    """

    _kind = "classification"

    def __init__(
        self,
        *,
        network: Any = "auto",
        activation: Any = "auto",
        loss: Any = "auto",
        optimizer: Any = "auto",
        learning_rate: float | str = "auto",
        schedule: str = "auto",
        momentum: float | str = "auto",
        epochs: int | str = "auto",
        patience: int | str = "auto",
        batch_size: int | str = "auto",
        weight_decay: float | str = "auto",
        l1: float = 0.0,
        dropout: float | str = "auto",
        label_smoothing: float | str = "auto",
        class_weight: Any = None,
        clip: float | None = None,
        augment: str = "auto",
        validation: float | int | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        device: Any = "auto",
        precision: str = "auto",
        network_options: Mapping[str, Any] | None = None,
        directory: Any = None,
    ) -> None:
        super().__init__(
            network=network, activation=activation, loss=loss, optimizer=optimizer, learning_rate=learning_rate, schedule=schedule,
            momentum=momentum, epochs=epochs, patience=patience, batch_size=batch_size, weight_decay=weight_decay, l1=l1,
            dropout=dropout, clip=clip, augment=augment, validation=validation, random_state=random_state, warm_start=warm_start,
            device=device, precision=precision, network_options=network_options, directory=directory,
        )  # fmt: skip
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkClassifier:
        """Train on X (n, features) or (n, channels, height, width) and labels y (n,), each sample's loss times its weight.

        Raises:
            ValueError: X, y or the weights cannot be used. OptionError (also ValueError): an option is out of range. DivergenceError.
        """
        X, y = validated(self, X, y, allow_nd=True)
        _check_labels(y)
        check_classification_targets(y)
        weights = checked_weights(sample_weight, X)
        if weights is not None:
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                text("y holds only one class: {name!r}", name=str(classes[0])),
                text("at least two classes"),
                text("add samples of another class; a class all of whose samples have weight 0 does not count"),
            )
        self.classes_ = classes
        task = Task(kind="classification", targets=("target",), classes=tuple(str(label) for label in classes.tolist()))
        self._learn(X, Targets(task, codes.astype(np.int64)), weights)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, K): the probability of each class, in the order of `classes_`; rows sum to 1."""
        return self._probabilities(X).numpy()

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """(n, K): the natural logarithm of the probabilities."""
        return self._probabilities(X).log().numpy()

    def predict(self, X: Any) -> np.ndarray:
        """(n,): the most probable class of each sample, as y was written."""
        answers = self._probabilities(X).argmax(1).numpy()
        return self.classes_[answers]

    def _probabilities(self, X: Any) -> Tensor:
        return probabilities(self._outputs(X).double(), self.settings_["loss"], len(self.classes_))

    def _class_weights(self, given: Any, codes: np.ndarray, weights: np.ndarray) -> Any:
        if given is None:
            return 1.0
        if isinstance(given, Mapping):
            given = compute_class_weight(dict(given), classes=self.classes_, y=self.classes_).tolist()
        elif isinstance(given, str) and given.strip().lower() == "balanced":
            counts = np.bincount(codes, weights, minlength=len(self.classes_))
            given = (counts.sum() / (len(counts) * counts)).tolist()  # King and Zeng 2001, as scikit-learn's
        of_class = class_weights(given, Task(kind="classification", classes=tuple(map(str, self.classes_))), codes)
        return np.asarray(of_class, dtype=np.float64)[codes]


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """A neural network that predicts numbers, one or several per sample, with scikit-learn's manners.

    Parameters and attributes are those of `NetworkClassifier`, but for what belongs to classes. y (n,) or (n, targets) is standardised for
    training; predictions are in its own units, and of its shape.

    Example: `cross_val_score(pellucid.NetworkRegressor(random_state=0), X, y)`
    """

    _kind = "regression"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """Train on X (n, features) or (n, channels, height, width) and numbers y (n,) or (n, targets), each sample's loss times its weight.

        Raises:
            ValueError: X, y or the weights cannot be used. OptionError (also ValueError): an option is out of range. DivergenceError.
        """
        X, y = validated(self, X, y, allow_nd=True, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        weights = checked_weights(sample_weight, X)
        if weights is not None:
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        values = read_inputs(y.reshape(len(y), -1), "y")[0].astype(np.float64)
        names = ("target",) if values.shape[1] == 1 else tuple(f"target_{column}" for column in range(values.shape[1]))
        self._learn(X, Targets(Task(kind="regression", targets=names), values), weights)
        self.n_outputs_ = values.shape[1]
        self._answers_rows = y.ndim == 2
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(n,), or (n, targets) where y was so: the predicted values in y's units, float64."""
        outputs = self._outputs(X)
        values = self.preprocessing_.restore_targets(outputs).numpy()
        return values if self._answers_rows else values[:, 0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _more_tags(self) -> dict[str, Any]:  # before scikit-learn 1.6
        return {"multioutput": True}
