"""Small trainings, one row each, that the tests of resuming kill and go on with; and what must come out equal."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pellucid
from pellucid.runs.directory import RunDirectory
from runs.kill import files


def prepare() -> None:
    """Import what training imports and let torch import what its first step imports; use no thread pool (see runs/kill.py)."""
    import numpy.ma  # noqa: F401
    import polars  # noqa: F401
    from torch.utils.flop_counter import FlopCounterMode

    import pellucid.data
    import pellucid.training.fit
    import pellucid.training.run
    from pellucid.data import built_in_kinds  # noqa: F401

    for name in pellucid.data.__all__:
        getattr(pellucid.data, name)
    torch.set_num_threads(1)
    layer = nn.Linear(2, 2)
    for optimizer in (torch.optim.AdamW(layer.parameters()), torch.optim.SGD(layer.parameters(), lr=0.1)):
        with FlopCounterMode(display=False):
            layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def table(samples: int = 97) -> tuple[np.ndarray, np.ndarray]:
    """(N, 5) and (N,): two classes, not quite separable; N leaves a last batch that is not whole."""
    generator = np.random.default_rng(3)
    X = generator.normal(size=(samples, 5)).astype(np.float32)
    return X, (X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * generator.normal(size=samples) > 0).astype(np.int64)


def images(samples: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """(N, 1, 8, 8) and (N,): a bright half, above or below."""
    generator = np.random.default_rng(4)
    y = generator.integers(0, 2, samples)
    X = generator.normal(size=(samples, 1, 8, 8)).astype(np.float32)
    for image, label in zip(X, y, strict=True):
        image[0, 4 * label : 4 * label + 4] += 0.7
    return X, y


def regression() -> tuple[np.ndarray, np.ndarray]:
    X, _ = table()
    return X, X[:, 0] - 2 * X[:, 1] ** 2


class ConvolutionalWithNormalisation(nn.Module):
    """Everything whose state is easily forgotten: running statistics, dropout, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(4, 6, 3))
        self.features.to(memory_format=torch.channels_last)
        self.classifier = nn.Linear(6, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(inputs).mean(dim=(2, 3)))


class Noisy(nn.Module):
    """Draws from every global generator while training."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            inputs = inputs + 0.1 * torch.randn_like(inputs) + 0.1 * float(np.random.normal()) + 0.1 * random.gauss(0, 1)
        return self.layer(inputs)


class Augmented(Dataset[Any]):
    """A user's own data set that draws anew for every sample it gives."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.X[index] + 0.05 * torch.randn(5) + 0.05 * random.random(), self.y[index]


def loaders() -> tuple[Any, Any]:
    """Order and samples from the global generators."""
    X, y = table()
    train, test = Augmented(X[:77], y[:77]), TensorDataset(torch.from_numpy(X[77:]), torch.from_numpy(y[77:]))
    return DataLoader(train, batch_size=16, shuffle=True), DataLoader(test, batch_size=16)


def loaders_with_a_generator() -> tuple[Any, Any]:
    """Order from the loader's own generator."""
    X, y = table()
    train, test = Augmented(X[:77], y[:77]), TensorDataset(torch.from_numpy(X[77:]), torch.from_numpy(y[77:]))
    generator = torch.Generator().manual_seed(5)
    return DataLoader(train, batch_size=16, shuffle=True, generator=generator), DataLoader(test, batch_size=16)


def texts() -> tuple[pl.DataFrame, pl.DataFrame]:
    chosen = np.random.default_rng(3).integers(0, 40, (90, 12))
    rows = [" ".join(f"word{word}" for word in words[: 3 + place % 9]) for place, words in enumerate(chosen)]
    return pl.DataFrame({"review": rows}), pl.DataFrame({"label": ["ab"[int(words[0] < 20)] for words in chosen]})


def data_sets() -> tuple[Any, Any]:
    """Data sets, not loaders: the order is ours."""
    X, y = table()
    return Augmented(X[:77], y[:77]), TensorDataset(torch.from_numpy(X[77:]), torch.from_numpy(y[77:]))


@dataclass(frozen=True)
class Training:
    """One row of the table: data, as often as asked for, and the options of `fit`."""

    data: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    network: Callable[[], nn.Module] | None = None
    instance: bool = False  # give `fit` a module that nobody can make again, not a factory

    def networks(self, seed: int) -> dict[str, Any]:
        if self.network is None or not self.instance:
            return {"network": self.network} if self.network else {}
        torch.manual_seed(seed)
        return {"network": self.network()}


TRAININGS = {
    "mlp, dropout, adamw, one cycle, early stopping": Training(table, {
        "network": "mlp", "dropout": 0.3, "optimizer": "adamw", "learning_rate": 0.01, "schedule": "one_cycle", "patience": 1, "epochs": 4,
    }),
    "cnn, batch normalisation, momentum": Training(
        images, {"optimizer": "momentum", "learning_rate": 0.05, "epochs": 3}, ConvolutionalWithNormalisation
    ),
    "range test, clipping, l1": Training(
        regression, {"network": "mlp", "learning_rate": "auto", "clip": 1.0, "l1": 0.001, "epochs": 3, "optimizer": "adam"}
    ),
    "cnn by name, augmentation": Training(
        images, {"network": "cnn", "augment": "alternating_flip,shift,cutout,mixup", "learning_rate": 0.01, "epochs": 2}
    ),
    "whitened_cnn, muon, bfloat16": Training(
        images, {"network": "whitened_cnn", "network_options": {"filters": (4, 8)}, "precision": "bfloat16",
                 "augment": "alternating_flip,shift", "epochs": 2},
    ),
    "every generator": Training(table, {"learning_rate": 0.02, "epochs": 3, "optimizer": "sgd", "schedule": "cosine"}, Noisy),
    "a module with weights of its own, range test": Training(
        table, {"epochs": 2, "optimizer": "adamw", "schedule": "warmup"}, Noisy, instance=True
    ),
    "the user's own loader": Training(loaders, {"network": "mlp", "learning_rate": 0.02, "epochs": 3, "dropout": 0.2}),
    "a loader with its own generator": Training(loaders_with_a_generator, {"network": "mlp", "learning_rate": 0.02, "epochs": 2}),
    "the user's own data set": Training(
        data_sets, {"network": "mlp", "learning_rate": 0.02, "epochs": 2, "clip": 0.5, "augment": "mixup:1"}
    ),
    "texts, token dropout": Training(texts, {"network_options": {"embedding_size": 8, "filters": 4, "ngrams": 1}, "epochs": 2}),
}  # fmt: skip
EVERY_STEP = {  # a checkpoint after every step: every state is resumed from
    "batch_size": 16, "checkpoint_interval": 0.0, "baselines": False, "report": False,
}  # fmt: skip


def fit(name: str, folder: str, options: Mapping[str, Any] | None = None) -> None:
    """Train row `name` into `folder`."""
    training = TRAININGS[name]
    pellucid.fit(training.data(), directory=folder, **{**training.options, **EVERY_STEP, **training.networks(seed=1), **(options or {})})


def fit_signalled(name: str, folder: str, number: int, where: str) -> None:
    """The same, with a signal to itself in a training step, in the range test, or while the scores are measured; as in a terminal."""
    from pellucid.training import decisions
    from pellucid.training.loop import Loop
    from pellucid.training.session import Session

    place: tuple[Any, str, int] = {
        "step": (Loop, "_count", 7),
        "range test": (decisions, "range_test", 1),
        "scores": (Session, "_finish", 1),
    }[where]
    owner, method, call = place
    original, calls = getattr(owner, method), 0

    def signalled(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(number)
        return original(*arguments, **named)

    setattr(owner, method, signalled)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    fit(name, folder)


def the_run(folder: Path) -> Path | None:
    """The run in `folder`; None where the training was killed before there was one."""
    runs = [path.parent for path in folder.glob("*/run.json")]
    assert len(runs) <= 1
    return runs[0] if runs else None


def go_on(name: str, folder: str) -> None:
    """What a person does after a crash: resume, or where there is no run yet, fit again."""
    # a new process starts with other random states than the killed one had
    torch.manual_seed(random.randrange(10**6))
    np.random.seed(random.randrange(10**6))
    path = the_run(Path(folder))
    if path is None:
        fit(name, folder)
    elif not (path / "records" / "summary.json").exists():
        training = TRAININGS[name]
        pellucid.load(path, **training.networks(seed=2)).resume(training.data())


def outcome(folder: Path) -> dict[str, Any]:
    """All that must be equal: the weights' bytes, the rows and the scores; times are not, nor the name of the run in the weights' file."""
    path = the_run(folder)
    assert path is not None
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    assert not [name for name in files(path) if name.endswith(".tmp")]
    records = {name: json.loads((path / "records" / f"{name}.json").read_text()) for name in ("scores", "findings")}
    state, about = RunDirectory.open(path).load_weights()
    weights = {name: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value for name, value in state.items()}
    return {"weights": {**weights, "about": about}, "rows": rows, "records": records}
