"""A run as an experiment: the same data, network, loss and updates as the training that made the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.errors import DataError, OptionError, RunError
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.scoring import scoring_of
from pellucid.training.experiment import left_out


def trained(tmp_path: Path, data: Any = "iris", **options: Any) -> Any:
    options = {"epochs": 3, "baselines": False, "report": False, "directory": tmp_path, "learning_rate": 0.01, **options}
    return pellucid.fit(data, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "momentum", "schedule": "one_cycle"},
        {"optimizer": "adamw", "schedule": "constant", "clip": 0.1},
        {"optimizer": "sgd", "schedule": "cosine", "l1": 0.01},
    ],
)
def test_its_updates_are_those_of_the_run(tmp_path: Path, options: dict[str, Any]) -> None:
    """By hand: the run's network, drawn from a seed, and its settings in a loop of six lines."""
    from pellucid.training.regularization import l1_penalty
    from pellucid.training.schedules import Schedule
    from pellucid.training.session import loss_of

    run = trained(tmp_path, network="mlp", dropout=0.0, **options)
    experiment = run.experiment()
    assert isinstance(experiment, Experiment)
    assert experiment.steps == run.history[-1]["step"]
    trial = experiment.run(5, score=False)
    settings = run._settings_again()
    prepared = run._prepare_again(None, None)
    loss_function = loss_of(settings, prepared)
    torch.manual_seed(5)
    model = run._build()
    optimizer = experiment.optimizer(model)
    for handle in list(optimizer._optimizer_step_pre_hooks):
        del optimizer._optimizer_step_pre_hooks[handle]
    schedule = Schedule(settings.schedule, experiment.steps, settings.learning_rate)
    order = torch.Generator().manual_seed(5)
    losses: list[float] = []
    inputs, targets = experiment.train
    for _ in range(experiment.epochs):
        for chosen in torch.randperm(len(inputs), generator=order).split(experiment.batch_size):
            optimizer.zero_grad()
            loss = loss_function(model(inputs[chosen]), targets[chosen])
            losses.append(loss.item())
            (loss + settings.l1 * l1_penalty(model)).backward()
            if settings.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            schedule.apply(optimizer, len(losses) - 1)
            optimizer.step()
    assert trial.error is None
    assert trial.losses == pytest.approx(losses, rel=1e-5)


def test_its_data_are_the_runs(tmp_path: Path) -> None:
    run = trained(tmp_path, "diabetes")
    experiment = run.experiment()
    prepared = run._prepare_again(None, None)
    inputs, _ = experiment.train
    assert len(inputs) == len(prepared.train) - (len(prepared.train) % experiment.batch_size == 1)
    assert float(inputs.mean()) == pytest.approx(0, abs=0.05)  # preprocessed
    assert experiment.test is not None
    assert len(experiment.test[0]) == len(prepared.validation)  # the test part chooses nothing
    assert scoring_of(experiment).metric == "r2"
    experiment.check()


def test_images_are_finished(tmp_path: Path) -> None:
    run = trained(tmp_path, "digits", network="cnn", epochs=1)
    experiment = run.experiment()
    inputs, _ = experiment.train
    assert inputs.is_floating_point()
    assert experiment.run(0, steps=3).error is None
    assert [str(note).split(" ")[0] for note in left_out(run)] in ([], ["augmentation"])


def test_data_in_memory_are_given_again(tmp_path: Path) -> None:
    inputs, targets = torch.randn(120, 4).numpy(), torch.randint(0, 2, (120,)).numpy()
    run = trained(tmp_path, (inputs, targets))
    with pytest.raises(DataError, match="in memory"):
        run.experiment()
    assert run.experiment((inputs, targets)).run(0, steps=2).error is None


def test_what_a_run_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="as a Python object"):
        trained(tmp_path, loss=nn.functional.cross_entropy).experiment()
    own = trained(tmp_path, network=lambda shape, outputs: nn.Linear(shape[0], outputs))
    assert own.experiment().run(0, steps=2).error is None
    with pytest.raises(RunError, match="your own network"):
        pellucid.load(own.directory).experiment()


def test_a_run_can_be_diagnosed(tmp_path: Path) -> None:
    run = trained(tmp_path, "iris", network="mlp", epochs=10)
    before = {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")}
    found = pellucid.diagnose(run, budget="2s")
    assert found.trial is not None
    assert found.trial.error is None
    assert {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")} == before
