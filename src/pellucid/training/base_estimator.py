"""What the estimators share: `fit`'s session in memory, on the distinct samples, and answers to new ones."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight as check_sample_weight  # pyright: ignore[reportPrivateUsage]
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.func import functional_call

from pellucid.core import options as option_table
from pellucid.core.errors import DataError, OptionError
from pellucid.core.language import text
from pellucid.core.options import BY_NAME, Option
from pellucid.core.records import Task
from pellucid.core.system import Signals
from pellucid.data import prepare
from pellucid.data.arrays.checks import read_inputs
from pellucid.data.arrays.preprocessing import ArrayPreprocessing
from pellucid.data.arrays.reading import array_samples
from pellucid.data.arrays.targets import Targets
from pellucid.data.samples import Prepared, ResidentPart
from pellucid.data.splitting import TRAIN, VALIDATION, split
from pellucid.runs.in_memory import RunInMemory
from pellucid.training.construction import Chosen, choose_device
from pellucid.training.cost import thread_count
from pellucid.training.fit import plan, train_prepared
from pellucid.training.loop import load_weights
from pellucid.training.progress import Progress
from pellucid.training.randomness import own_random_state
from pellucid.training.session import Session, loss_of
from pellucid.training.settings import CUSTOMARY_RATE, Settings, automatic_batch_size
from pellucid.training.weighted import WeightedPart, distinct_samples, weighted

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # before scikit-learn 1.6 it was a method

    def validate_data(estimator: Any, /, *arguments: Any, **keywords: Any) -> Any:
        return estimator._validate_data(*arguments, **keywords)


def validated(estimator: Any, X: Any, *arguments: Any, **keywords: Any) -> Any:
    """scikit-learn's checks; columns of a frame that hold no numbers are refused before them, by name and with what to do.

    Raises:
        DataError: texts, categories or dates. ValueError, TypeError: as scikit-learn.
    """
    if type(X).__module__.split(".")[0] in ("pandas", "polars") and hasattr(X, "columns"):
        _refuse_columns_without_numbers(X)
    return validate_data(estimator, X, *arguments, **keywords)


def _refuse_columns_without_numbers(frame: Any) -> None:
    columns = [frame.iloc[:, place] if hasattr(frame, "iloc") else frame[:, place] for place in range(frame.shape[1])]
    strange = [str(name) for name, column in zip(frame.columns, columns, strict=True) if not _is_numeric(column)]
    if strange:
        raise DataError(
            text("these columns of X hold texts, categories or dates: {names}", names=strange[:10]),
            text("columns of numbers: an estimator learns from a matrix"),
            text("encode them before it: make_pipeline(make_column_transformer((OneHotEncoder(handle_unknown='ignore'), {names}), "
                 "remainder='passthrough', sparse_threshold=0), estimator); or train with pellucid.fit, which takes the frame as it is",
                 names=str(strange[:5])),
        )  # fmt: skip


def _is_numeric(column: Any) -> bool:
    """Whether a column of pandas or polars can be a column of numbers: by its type, pandas' untyped columns by their values."""
    dtype = column.dtype
    kind = getattr(dtype, "kind", None)
    if kind is None:  # polars
        return dtype.is_numeric() or str(dtype) in ("Boolean", "Null")
    categories = getattr(dtype, "categories", None)
    values = column.dropna() if categories is None else categories
    return kind in "biufc" or (kind not in "mM" and not any(isinstance(value, str) for value in values))


RANGE_TEST = "range_test"  # for learning_rate: measure it, as `fit` does
SMALLEST_BATCH = 32  # of "auto"
CUSTOMARY_UPDATES, LARGEST_FACTOR = 3000, 5.0  # see _customary_rate; benchmarks/small_data_defaults.py compares
ANSWERED_TOGETHER = 2048  # samples in one forward pass of predict

# A training draws from the process's random state and sets its number of threads: threads of one process take turns.
_one_at_a_time = threading.RLock()


class NetworkEstimator(BaseEstimator):
    """What classification and regression share. `__init__` only stores; every check is `fit`'s."""

    _kind: str  # of the task
    # what fitting sets
    network_: nn.Module
    task_: Task
    preprocessing_: Any

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
        self.network = network
        self.activation = activation
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.momentum = momentum
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.l1 = l1
        self.dropout = dropout
        self.clip = clip
        self.augment = augment
        self.validation = validation
        self.random_state = random_state
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.network_options = network_options
        self.directory = directory

    # -- options ---------------------------------------------------------------------------------------------------------------------

    def _resolved(self) -> dict[str, Any]:
        """Every option of `fit`, checked by the one table; those that an estimator has no use for have their defaults."""
        own = self.get_params(deep=False)
        given: dict[str, Any] = {}
        for name, value in own.items():
            if name not in BY_NAME or (name == "learning_rate" and value == RANGE_TEST):
                continue
            given[name] = _option(name).check(value)
        checked = {name: value for name, value in given.items() if name not in ("validation", "directory")}
        resolved = {**option_table.resolve({}), **checked}
        resolved.update(task=self._kind, validation=given["validation"] or 0, test=0, directory=given["directory"])
        resolved.update(baselines=False, report=False)  # of a run that is kept, `pellucid report` tells
        return resolved

    def _seed(self) -> int:
        """One draw from the user's own generator; with None a fresh seed of the operating system: the global generators are left alone."""
        if self.random_state is None:
            return int(np.random.SeedSequence().generate_state(1)[0])
        if isinstance(self.random_state, (int, np.integer)) and not isinstance(self.random_state, bool):
            return int(BY_NAME["seed"].check(self.random_state))
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    # -- training --------------------------------------------------------------------------------------------------------------------

    def _learn(self, X: np.ndarray, targets: Targets, sample_weight: np.ndarray | None) -> None:
        """Train on validated arrays, and set what fitting sets. `targets.values` and `sample_weight` have a row per row of X."""
        resolved = self._resolved()
        resolved["seed"] = self.seed_ = self._seed()
        inputs = read_inputs(X)[0]
        if resolved["directory"] is not None:
            self._keep_run(inputs, targets, sample_weight, resolved)
            return
        device = choose_device(resolved["device"])
        mergeable = resolved["loss"] == "auto" or isinstance(resolved["loss"], str)
        prepared, weights = self._prepared(inputs, targets, sample_weight, resolved, mergeable)
        if mergeable:
            resolved["class_weight"] = None  # it is in the samples' weights
        with _one_at_a_time:
            settings, chosen = self._planned(prepared, resolved, device)
            keep = "best" if len(prepared.validation) else "last"
            if keep == "last" and "patience" in settings.chosen:
                settings = replace(settings, patience=None)
            if self._goes_on(targets):
                load_weights(chosen.network, self.network_.state_dict())
            session = Session(
                directory=RunInMemory(), prepared=prepared, settings=settings, network=chosen.network,
                network_name=chosen.description["name"], device=device, progress=Progress(), name="arrays", keep=keep,
            )  # fmt: skip
            if weights is not None:
                session.loss = weighted(loss_of(settings, prepared))
                session.prepared = replace(
                    prepared,
                    train=WeightedPart.of(prepared.train, weights[prepared.train.indices]),
                    validation=WeightedPart.of(prepared.validation, weights[prepared.validation.indices])
                    if len(prepared.validation)
                    else prepared.validation,
                )
            with own_random_state(settings.seed), thread_count(settings.threads):
                loop, settings = session.learn(Signals())  # not entered: Ctrl-C raises KeyboardInterrupt, as in any estimator
        load_weights(chosen.network, loop.best.weights)
        self.__dict__.pop("run_", None)
        self._fitted(chosen.network, prepared, settings.to_dict(), session.directory.metrics(), loop.best.epoch)

    def _planned(self, prepared: Prepared, resolved: dict[str, Any], device: torch.device) -> tuple[Settings, Chosen]:
        """`fit`'s plan, but for small data fewer and larger steps, so that a fit takes a fraction of a second, and no range test."""
        if resolved["batch_size"] == "auto":
            resolved["batch_size"] = max(SMALLEST_BATCH, automatic_batch_size(len(prepared.train)))
        settings, chosen = plan(prepared, resolved, device)
        if settings.learning_rate == "auto" and self.learning_rate != RANGE_TEST:
            updates = settings.epochs * math.ceil(len(prepared.train) / settings.batch_size)
            settings = replace(settings, learning_rate=_customary_rate(settings.optimizer, updates))
        return settings, chosen

    def _prepared(
        self, inputs: np.ndarray, targets: Targets, sample_weight: np.ndarray | None, resolved: Mapping[str, Any], mergeable: bool
    ) -> tuple[Prepared, np.ndarray | None]:
        """The distinct samples, split and standardised, and what each weighs with its class; None where all weigh the same."""
        rows, weights = distinct_samples(inputs, targets.values, sample_weight)
        if not mergeable and np.ptp(weights):
            if sample_weight is not None:
                raise OptionError(
                    text("sample_weight is given and the loss is your own function"),
                    text("sample weights together with a loss chosen by its name"),
                    text("choose loss by its name, or leave sample_weight out"),
                )
            rows, weights = np.repeat(rows, weights.astype(np.int64)), np.ones(len(inputs))  # copies stay copies
        elif mergeable:
            weights = weights * self._class_weights(resolved["class_weight"], targets.values[rows], weights)
        samples = array_samples(inputs[rows], Targets(targets.task, targets.values[rows]), hashed=False)
        everything = np.arange(len(samples))
        train, held_out = everything, everything[:0]
        if resolved["validation"]:
            labels = samples.targets if self._kind == "classification" else None
            divided = split(len(samples), validation=resolved["validation"], test=0, seed=resolved["seed"], labels=labels)
            train, held_out = divided.indices(TRAIN), divided.indices(VALIDATION)
        scaling = self.preprocessing_ if self._goes_on(targets) else ArrayPreprocessing.fit(samples, train)

        def part(chosen: np.ndarray) -> ResidentPart:
            return ResidentPart(scaling.inputs(samples, chosen), scaling.targets(samples, chosen), chosen, scaling)

        prepared = Prepared(
            task=targets.task, input_shape=tuple(scaling.input_shape), train=part(train), validation=part(held_out),
            test=part(everything[:0]), preprocessing=scaling, ledger=None,
        )  # fmt: skip
        return prepared, weights if np.ptp(weights) else None

    def _class_weights(self, given: Any, codes: np.ndarray, weights: np.ndarray) -> Any:
        """What the option class_weight makes of samples (n,) of the classes `codes`: a factor for each. A regression has no classes."""
        return 1.0

    def _goes_on(self, targets: Targets) -> bool:
        """Whether this fit starts from the weights of the one before. Raises DataError where that had other classes or targets."""
        if not self.warm_start or not hasattr(self, "network_"):
            return False
        if self.task_ != targets.task:
            before, now = (list(task.classes or task.targets) for task in (self.task_, targets.task))
            raise DataError(
                text("warm_start is set, and y holds {now}", now=now[:20]),
                text("what y held in the fit before: {before}", before=before[:20]),
                text("set warm_start=False to start anew"),
            )
        return True

    def _keep_run(self, inputs: np.ndarray, targets: Targets, sample_weight: np.ndarray | None, resolved: dict[str, Any]) -> None:
        """Train as `fit` does with these arrays and no test part: the run is kept in the directory asked for."""
        for option, given in (("sample_weight", sample_weight is not None and np.ptp(sample_weight)), ("warm_start", self.warm_start)):
            if given:
                raise OptionError(
                    text("{option} and directory are given", option=option),
                    text("one of the two: a run that is kept can be repeated from its data and options alone"),
                    text("leave directory out"),
                )
        samples = array_samples(inputs, targets)
        prepared = prepare(samples, validation=resolved["validation"], test=0, seed=resolved["seed"])
        device = choose_device(resolved["device"])
        with _one_at_a_time:
            settings, chosen = self._planned(prepared, resolved, device)
            run = train_prepared(samples, prepared, resolved, settings, chosen, device, Progress(), perf_counter())
        self.run_ = run
        history = run.history
        kept = min(history, key=lambda row: (row.get("validation") or row["train"])["loss"])
        self._fitted(run.model, prepared, run.settings, history, kept["epoch"])

    def _fitted(self, network: nn.Module, prepared: Prepared, settings: dict[str, Any], history: list[dict[str, Any]], kept: int) -> None:
        self.network_ = network.eval()
        self.preprocessing_ = prepared.preprocessing
        self.task_ = prepared.task
        self.settings_ = settings
        self.history_ = history
        self.loss_curve_ = [row["train"]["running_loss"] for row in history]
        self.n_iter_ = len(history)
        self.kept_epoch_ = kept

    # -- answering -------------------------------------------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Tensor:
        """(n, columns): the network's outputs for new samples, on the CPU.

        Our own networks answer rows of tables in float64: an answer then does not depend on which samples are asked together, to 1e-15.
        """
        check_is_fitted(self)
        inputs = read_inputs(validated(self, X, reset=False, allow_nd=True))[0]
        standardised = self.preprocessing_.inputs(array_samples(inputs, None, hashed=False))
        device = next(self.network_.parameters()).device
        exact = inputs.ndim == 2 and device.type != "mps" and type(self.network_).__module__.startswith("pellucid.")
        state: dict[str, Tensor] = dict(self.network_.state_dict())
        if exact:
            state = {name: value.double() if value.is_floating_point() else value for name, value in state.items()}
        outputs = []
        with torch.inference_mode():
            for batch in standardised.split(ANSWERED_TOGETHER):
                batch = self.preprocessing_.finish(batch.to(device))
                answer = functional_call(self.network_, state, (batch.double(),)) if exact else self.network_(batch)
                outputs.append(answer.cpu())
        return torch.cat(outputs)

    def __getstate__(self) -> dict[str, Any]:
        """A pickle of an estimator that was trained on an accelerator opens on a machine without one."""
        state: dict[str, Any] = {**super().__getstate__()}  # pyright: ignore[reportGeneralTypeIssues]
        network = state.get("network_")
        if network is not None and any(value.device.type != "cpu" for value in network.state_dict().values()):
            state["network_"] = copy.deepcopy(network).cpu()
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _customary_rate(optimizer: Any, updates: int) -> float:
    """The optimiser's customary rate; where steps do not depend on the gradient's scale, fewer updates than customary are longer."""
    name = optimizer if isinstance(optimizer, str) else "adamw"
    longer = min(max(CUSTOMARY_UPDATES / updates, 1.0), LARGEST_FACTOR) if name in ("adam", "adamw", "radam", "rmsprop") else 1.0
    return CUSTOMARY_RATE[name] * longer


def _option(name: str) -> Option:
    """The option of an estimator: that of `fit`, but nothing is held out and nothing is kept on disk unless asked."""
    return replace(BY_NAME[name], default=None) if name in ("validation", "directory") else BY_NAME[name]


def checked_weights(sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
    """(n,) float64, none negative and not all zero.

    Raises:
        ValueError: as scikit-learn does; DataError (also a ValueError) for values.
    """
    if sample_weight is None:
        return None
    weights = np.asarray(check_sample_weight(sample_weight, X, dtype=np.float64))
    if (weights < 0).any():
        first = int(np.flatnonzero(weights < 0)[0])
        raise DataError(
            text("sample_weight[{index}] is {value:g}", index=first, value=float(weights[first])),
            text("no negative weight"),
            text("leave such samples out, or give them weight 0"),
        )
    if not weights.any():
        raise DataError(text("all sample weights are zero"), text("at least one weight above zero"), text("leave sample_weight out"))
    return weights
