"""`fit`: a good network from the user's own data, with an honest summary."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch

from pellucid import __version__, data
from pellucid.core import options as option_table
from pellucid.core.errors import DataError, InputError
from pellucid.core.language import text
from pellucid.core.records import Expectation, Notice
from pellucid.core.system import environment
from pellucid.networks.registry import check_custom, forward_once
from pellucid.runs.directory import RunDirectory
from pellucid.training.augmentation import build_augmentation, mirrors
from pellucid.training.budget import Budget
from pellucid.training.construction import (
    Chosen,
    all_parameters,
    build_network,
    choose_device,
    initialize_from_data,
    memory_format,
    network_name,
)
from pellucid.training.cost import flops_per_sample, threads_for
from pellucid.training.decisions import least_measuring
from pellucid.training.loop import loader_states, restore_loaders
from pellucid.training.metrics import parse_condition
from pellucid.training.progress import Progress
from pellucid.training.randomness import own_random_state
from pellucid.training.run import Run
from pellucid.training.session import Session, keep_initial_state, loss_of, parts_of
from pellucid.training.settings import Settings, choose_settings
from pellucid.training.summary import expectation_sentence
from pellucid.training.width import FEWEST_PASSES, MOST_HALVINGS, OPTION, affordable_passes, narrower, width_notice


def fit(
    data: Any,
    target: Any = None,
    *,
    task: str = "auto",
    network: Any = "auto",
    activation: Any = "auto",
    loss: Any = "auto",
    optimizer: Any = "auto",
    learning_rate: float | str = "auto",
    schedule: str = "auto",
    momentum: float | str = "auto",
    epochs: int | str = "auto",
    until: str | None = None,
    patience: int | str = "auto",
    batch_size: int | str = "auto",
    weight_decay: float | str = "auto",
    l1: float = 0.0,
    dropout: float | str = "auto",
    label_smoothing: float | str = "auto",
    class_weight: Any = None,
    clip: float | None = None,
    augment: str = "auto",
    validation: float | str = "auto",
    test: float | str = "auto",
    group: Any = None,
    time: Any = None,
    horizon: int | str = "auto",
    lags: int | str = "auto",
    header: bool = True,
    data_dir: Any = None,
    seed: int = 0,
    device: Any = "auto",
    precision: str = "auto",
    budget: float | str | None = None,
    checkpoint_interval: float | str = 30.0,
    baselines: bool = True,
    report: bool = True,
    watch: bool = False,
    learning_curve: bool = False,
    remedy: bool = False,
    directory: Any = "runs",
    network_options: Mapping[str, Any] | None = None,
    **misspelled: Any,
) -> Run:
    """Train a network on `data` and measure it on samples it has never seen.

    `data` is a path (CSV, TSV, Parquet, JSON lines, .ts, a folder of images per class), the name of an embedded data set, arrays `(X, y)`
    or `X` with `target=y`, a polars or pandas frame, a torch `Dataset` or `DataLoader`, or a pair `(train, test)` of these. `target`
    names the column to learn (or its index, or several). `network` is a name, an `nn.Module` (a copy of it is trained) or a factory of
    one. Every other option is explained by `pellucid fit --help`; "auto" values are chosen and said.

    Returns: the finished `Run`; everything it says is also in its directory.

    Raises:
        DataError: the data cannot be used.
        OptionError: an option is misspelled, out of range or contradicts another.
        ModelError: the network does not fit the data.
        DivergenceError: the loss became infinite or NaN.

    Example: `run = pellucid.fit("digits"); print(run.metrics["test"]["accuracy"])`
    """
    given = dict(locals())
    for name in ("data", "target", "misspelled"):
        given.pop(name)
    return train(data, target, {**given, **misspelled}, default_progress())


def default_progress() -> Progress:
    """From Python: a plain line per epoch where a person is looking (a terminal or a notebook), silence in a script's pipe."""
    return PlainProgress() if sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules) else Progress()


class PlainProgress(Progress):
    """One line that is rewritten while training, for Python sessions; the command line has its own, richer display."""

    def started(self, directory: Any) -> None:
        print(text("run: {path}", path=str(directory)), file=sys.stderr)

    def expected(self, expectation: Expectation) -> None:
        sentence = expectation_sentence(expectation)
        if sentence is not None:
            print(text("expected: {sentence}", sentence=sentence), file=sys.stderr)

    def epoch(self, row: Mapping[str, Any]) -> None:
        watched = row.get("validation") or row["train"]
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in watched.items() if name != "loss_stderr")
        print("\r\x1b[K" + str(text("epoch {epoch}: {metrics}", epoch=row["epoch"], metrics=metrics)), end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        print(file=sys.stderr)


def train(source: Any, target: Any, options: Mapping[str, Any], progress: Progress, started: float | None = None) -> Run:
    """`fit` with a watcher: what the command line calls. `options` need not be complete.

    `started` is what time.perf_counter said when the command began: a budget counts from there. None: now.
    """
    started = perf_counter() if started is None else started
    resolved = option_table.resolve(options)
    budget = None if resolved["budget"] is None else Budget(resolved["budget"], started)
    measuring = least_measuring(resolved["baselines"])
    if budget is not None:
        budget.require(measuring)
    device = choose_device(resolved["device"])
    samples = data.read(
        source, target, tell=progress.waiting,
        **{name: resolved[name] for name in ("task", "header", "group", "time", "data_dir", "horizon", "lags")},
    )  # fmt: skip
    if samples.task is None:
        raise DataError(
            text("the data have no target"),
            text("inputs, and the target to predict from them"),
            text("name the target with --target; the columns are: {columns}", columns=_columns_of(samples))
            if samples.kind == "table"
            else text("name the target: --target COLUMN, or fit(X, y)"),
        )
    if budget is not None:  # reading may have taken what there was
        budget.require(measuring)
    prepared = data.prepare(samples, validation=resolved["validation"], test=resolved["test"], seed=resolved["seed"])
    if resolved["learning_curve"]:
        from pellucid.training.studies.learning_curve import sizes_of  # which trains by this module's plan

        sizes_of(samples, prepared.ledger)  # too few samples are refused before hours of training
    settings, chosen = plan(prepared, resolved, device)
    if budget is not None:
        settings, chosen = narrowed(budget, prepared, resolved, settings, chosen, device)
    run = train_prepared(samples, prepared, resolved, settings, chosen, device, progress, started)
    if resolved["learning_curve"] or resolved["remedy"]:
        from pellucid.training.studies.study import study  # which trains by this module's plan

        study(run, samples, prepared, resolved, settings, chosen.description, progress)
        progress.close()
    return run


def plan(prepared: Any, resolved: Mapping[str, Any], device: torch.device) -> tuple[Settings, Chosen]:
    """Every value that training will use, and the network with its first weights; what cannot be trained is refused here.

    Raises:
        OptionError, ModelError, DataError: as `fit`.
    """
    loaders = loader_states(parts_of(prepared))
    shape, count = tuple(prepared.input_shape), len(prepared.train)
    name = network_name(resolved["network"], shape, prepared.task, count, prepared.facts)
    settings = choose_settings(resolved, prepared.task, train_samples=count, input_shape=shape, network_name=name,
                               mirrorable=prepared.mirrorable, device=device)  # fmt: skip
    if settings.until:
        parse_condition(settings.until, prepared.task)
    build_augmentation(settings.augment, shape, task_kind=prepared.task.kind)
    said = any(notice.kind == "mirrored_images" for notice in prepared.notices)  # a plan that is made again for a budget
    if "augment" in settings.chosen and mirrors(settings.augment) and not said:
        others = ",".join(step for step in settings.augment.split(",") if not mirrors(step)) or "none"
        summary = text("training images are also mirrored left to right; where left and right differ in meaning, write --augment {others}",
                       others=others)  # fmt: skip
        prepared.notices = (*prepared.notices, Notice(kind="mirrored_images", summary=summary))
    loss = loss_of(settings, prepared)  # refuses what it cannot do before a directory is made
    with own_random_state(settings.seed):
        chosen = build_network(resolved["network"], resolved["network_options"], settings, prepared.task, shape, count, prepared.facts)
        if chosen.custom:
            check = check_custom(chosen.network, prepared.train, outputs=chosen.description["outputs"], task=prepared.task)
            prepared.notices = (*prepared.notices, *check.notices)
            chosen.description["parameters"] = all_parameters(chosen.network)  # lazy layers have theirs since the check
        else:
            initialize_from_data(chosen.network, prepared.train)
        inputs, targets = next(prepared.train.batches(2))
        loss.check(forward_once(chosen.network, inputs), targets)
        settings = replace(settings, memory_format=memory_format(chosen, device))
        if device.type == "cpu":
            settings = replace(settings, threads=threads_for(flops_per_sample(chosen.network, inputs), settings.batch_size))
    restore_loaders(parts_of(prepared), loaders)  # a user's loader gives the batches that it would give in their own program
    return settings, chosen


def narrowed(
    budget: Budget, prepared: Any, resolved: Mapping[str, Any], settings: Settings, chosen: Chosen, device: torch.device
) -> tuple[Settings, Chosen]:
    """The plan with a network as wide as the budget can pay for, where its width was left to us; run.json says which."""
    customary, notices = chosen.description["options"].get(OPTION), prepared.notices
    for _ in range(MOST_HALVINGS):
        half = narrower(chosen, resolved)
        if half is None or budget.left() <= 0:  # what cannot be trained at all is refused later, with the least that can
            break
        passes = affordable_passes(prepared, settings, chosen, device, budget)
        if passes >= FEWEST_PASSES:
            break
        prepared.notices = notices  # planning says them again
        given = {**(resolved["network_options"] or {}), OPTION: half}
        settings, chosen = plan(prepared, {**resolved, "network_options": given}, device)
    if chosen.description["options"].get(OPTION) != customary:
        prepared.notices = (*prepared.notices, width_notice(chosen, customary))
    return settings, chosen


def train_prepared(
    samples: Any,
    prepared: Any,
    resolved: Mapping[str, Any],
    settings: Settings,
    chosen: Chosen,
    device: torch.device,
    progress: Progress,
    started: float,
) -> Run:
    """A run's directory, the training and its summary, from data that are ready and a network that is planned."""
    directory = RunDirectory.create(resolved["directory"], f"{samples.name}-{chosen.description['name']}")
    progress.started(directory.path)
    try:
        _describe(directory, samples, prepared, resolved, settings, chosen)
        for notice in prepared.notices:
            progress.notice(notice)
        session = Session(
            directory=directory, prepared=prepared, settings=settings, network=chosen.network, network_name=chosen.description["name"],
            device=device, progress=progress, name=samples.name, samples=samples, started=started,
            baselines=resolved["baselines"], report=resolved["report"], watch=resolved["watch"],
        )  # fmt: skip
        session.execute()
    except InputError:  # refused at the first step: a run that cannot be gone on with is no run
        directory.discard_untrained()
        raise
    finally:
        progress.close()
    return Run(directory, network=chosen.network)


def _columns_of(samples: Any) -> list[str]:
    """Names of the first columns and of the last, which is the target more often than not."""
    names = list(samples.inputs.columns)
    return names if len(names) <= 20 else [*names[:18], "...", names[-1]]


def _describe(directory: RunDirectory, samples: Any, prepared: Any, resolved: Mapping[str, Any], settings: Any, chosen: Any) -> None:
    """Everything known before the first step, in the order in which a reader of a torn run needs it; run.json last makes it a run."""
    directory.write_json("data.json", prepared.ledger.to_dict())
    directory.write_json("preprocessing.json", prepared.preprocessing.to_dict())
    keep_initial_state(directory, chosen.network if chosen.custom or hasattr(chosen.network, "initialize_from") else None, prepared)
    reference = dict(samples.reference) if samples.reference is not None else None
    directory.write_json(
        "run.json",
        {
            "format": 1,
            "pellucid": __version__,
            "name": directory.path.name,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "config": {name: _stored(value) for name, value in resolved.items()},
            "settings": settings.to_dict(),
            "data": {"name": samples.name, "kind": samples.kind, "samples": len(samples), "reference": reference},
            "task": prepared.task.to_dict(),
            "network": chosen.description,
            "environment": environment(choose_device(resolved["device"])),
            "notices": [notice.to_dict() for notice in prepared.notices],
        },
    )


def _stored(value: Any) -> Any:
    """An option as JSON holds it: objects given from Python by their names."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _stored(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stored(item) for item in value]
    return "python:" + (getattr(value, "__name__", None) or type(value).__name__)
