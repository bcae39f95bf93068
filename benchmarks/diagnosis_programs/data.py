"""The data of the programs, small enough that a whole training takes a second or two: (train, test), each (inputs, targets).

Inputs are standardised, targets are classes (N,), 0 or 1 as a column (N, 1), or standardised values (N, 1). What stands in the shared
folder is research data; the rest comes with scikit-learn.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Part = tuple[Tensor, Tensor]
Parts = tuple[Part, Part]
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def split(inputs: Tensor, targets: Tensor, train: int, test: int, *, seed: int = 0) -> Parts:
    """Disjoint random parts of `train` and `test` samples."""
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    first, second = order[:train], order[train : train + test]
    return (inputs[first], targets[first]), (inputs[second], targets[second])


def standardised(parts: Parts, *, targets: bool = False) -> Parts:
    """Each column with the training part's mean 0 and deviation 1."""
    (inputs, labels), (test_inputs, test_labels) = parts
    mean, deviation = inputs.mean(0), inputs.std(0).clamp(min=1e-6)
    low, wide = (labels.mean(0), labels.std(0)) if targets else (0, 1)
    return (
        ((inputs - mean) / deviation, (labels - low) / wide if targets else labels),
        ((test_inputs - mean) / deviation, (test_labels - low) / wide if targets else test_labels),
    )


def _tensors(table: Any, targets: Any, dtype: torch.dtype) -> Part:
    return torch.tensor(np.asarray(table), dtype=torch.float32), torch.tensor(np.asarray(targets), dtype=dtype)


def embedded(name: str) -> tuple[Any, Any]:
    import sklearn.datasets

    return getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)


def columns(file: str, *, header: bool) -> list[list[str]]:
    with (SHARED / "tabular" / file).open(encoding="utf-8") as lines:
        rows = [row for row in csv.reader(lines) if row]
    return rows[1:] if header else rows


@cache
def wine() -> Parts:
    return standardised(split(*_tensors(*embedded("wine"), torch.long), 120, 58))


@cache
def breast_cancer() -> Parts:
    inputs, targets = _tensors(*embedded("breast_cancer"), torch.float32)
    return standardised(split(inputs, targets[:, None], 380, 189))


@cache
def housing() -> Parts:
    rows = [[float(cell) for cell in row[:9]] for row in columns("california_housing.csv", header=True) if all(row[:9])]
    table = torch.tensor(rows)
    rooms, bedrooms, people, homes = table[:, 3], table[:, 4], table[:, 5], table[:, 6]
    inputs = torch.stack(
        [table[:, 0], table[:, 1], table[:, 2], rooms / homes, bedrooms / homes, (people / homes).clamp(max=10), table[:, 7]], 1
    )
    return standardised(split(inputs, table[:, 8:9], 1600, 800), targets=True)


@cache
def wheat() -> Parts:
    rows = columns("wheat-seeds.csv", header=False)
    inputs = torch.tensor([[float(cell) for cell in row[:-1]] for row in rows])
    return standardised(split(inputs, torch.tensor([int(row[-1]) - 1 for row in rows]), 140, 69))


@cache
def adult() -> Parts:
    """Numbers, and marital status, education and sex as columns of 0 and 1; the target: more than 50,000 dollars."""
    rows = [[cell.strip() for cell in row] for row in columns("adult-train.csv", header=False)[:6000]]
    rows = [row for row in rows if len(row) == 15]
    numbers = torch.tensor([[float(row[place]) for place in (0, 4, 10, 11, 12)] for row in rows])
    numbers[:, 2:4] = torch.log1p(numbers[:, 2:4])
    kinds = [sorted({row[place] for row in rows}) for place in (5, 6, 9)]
    coded = torch.tensor(
        [
            [
                float(row[place] == value)
                for place, values in zip((5, 6, 9), kinds, strict=True)
                for value in values
                if value != "Armed-Forces"
            ]
            for row in rows
        ]
    )
    targets = torch.tensor([[float(row[-1].startswith(">"))] for row in rows])
    return standardised(split(torch.cat([numbers, coded], 1), targets, 1500, 1000))


@cache
def miles_per_gallon() -> Parts:
    rows = torch.tensor([[float(cell) for cell in row] for row in columns("auto-mpg.csv", header=True)])
    return standardised(split(rows[:, 1:], rows[:, :1], 300, 92), targets=True)


@cache
def digits(*, flat: bool) -> Parts:
    inputs, targets = _tensors(*embedded("digits"), torch.long)
    inputs = (inputs - 4.9) / 6.0
    return split(inputs if flat else inputs.reshape(-1, 1, 8, 8), targets, 1000, 500)


def idx(folder: str, name: str) -> np.ndarray:
    with gzip.open(SHARED / folder / f"{name}.gz", "rb") as file:
        raw = file.read()
    sizes = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


@cache
def small_images(folder: str) -> Parts:
    """Grey images averaged to 14 x 14 pixels."""
    images, labels = idx(folder, "t10k-images-idx3-ubyte"), idx(folder, "t10k-labels-idx1-ubyte")
    inputs = F.avg_pool2d(torch.tensor(images[:, None] / 255.0, dtype=torch.float32), 2)
    return split((inputs - inputs.mean()) / inputs.std(), torch.tensor(labels.astype(np.int64)), 1200, 600)


def series(name: str, part: str) -> list[tuple[list[list[float]], int]]:
    """Samples of a .ts file: channels of numbers, and the class."""
    found = []
    for line in (SHARED / "timeseries" / f"{name}_{part}.ts").read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "@#":
            *channels, label = line.split(":")
            found.append(([[float(cell) for cell in channel.split(",")] for channel in channels], int(label)))
    return found


@cache
def italy_power() -> Parts:
    """A day's electricity demand, (N, 24, 1); the class is the season. The official test part is the larger one: 400 of it train."""
    samples = series("ItalyPowerDemand", "TEST")
    return split(
        torch.tensor([channels[0] for channels, _ in samples])[:, :, None], torch.tensor([label - 1 for _, label in samples]), 500, 500
    )


@cache
def vowels() -> Parts:
    """Two Japanese vowels by nine speakers, (N, 20, 12): longer ones are cut, shorter ones filled with 0 in front."""

    def part(name: str) -> Part:
        samples = series("JapaneseVowels", name)
        inputs = torch.zeros(len(samples), 20, 12)
        for place, (channels, _) in enumerate(samples):
            sound = torch.tensor(channels).T[:20]
            inputs[place, 20 - len(sound) :] = sound
        return inputs, torch.tensor([label - 1 for _, label in samples])

    (first, labels), (second, second_labels) = part("TRAIN"), part("TEST")
    parts = split(torch.cat([first, second]), torch.cat([labels, second_labels]), 400, 240)
    return tuple(((inputs - 0.05) / 0.5, labels) for inputs, labels in parts)  # type: ignore[return-value]


@cache
def heartbeats() -> Parts:
    """ECG5000: (N, 1, 70), every second value; normal beats against all others."""
    rows = np.loadtxt(SHARED / "timeseries" / "ECG5000_TRAIN.txt")
    targets = torch.tensor((rows[:, 0] != 1).astype(np.int64))
    return split(torch.tensor(rows[:, None, 1::2], dtype=torch.float32), targets, 350, 150)


@cache
def sunspots() -> Parts:
    """The next month's sunspots from the last 24, (N, 24, 1) -> (N, 1), standardised; the test part is the later one."""
    lines = (SHARED / "timeseries" / "monthly-sunspots.csv").read_text(encoding="utf-8").splitlines()[1:]
    values = torch.tensor([float(line.split(",")[1]) for line in lines])
    values = (values - values[:1600].mean()) / values[:1600].std()
    windows = values.unfold(0, 25, 1)
    inputs, targets = windows[:, :24, None].contiguous(), windows[:, 24:].contiguous()
    return (inputs[0:1576:2], targets[0:1576:2]), (inputs[1600:2600:2], targets[1600:2600:2])


@cache
def temperatures() -> Parts:
    """The next day's lowest temperature from the last 14, as a table (N, 14) -> (N, 1)."""
    lines = (SHARED / "timeseries" / "daily-min-temperatures.csv").read_text(encoding="utf-8").splitlines()[1:]
    values = torch.tensor([float(re.sub(r"[^0-9.]", "", line.split(",")[1])) for line in lines if "," in line])
    values = (values - values[:2400].mean()) / values[:2400].std()
    windows = values.unfold(0, 15, 1)
    return (windows[0:2380:2, :14], windows[0:2380:2, 14:]), (windows[2400::2, :14], windows[2400::2, 14:])


def coded(texts: list[str], length: int, vocabulary: int) -> Tensor:
    """Words as numbers by frequency, (N, length): 0 fills, 1 is a word that is not in the vocabulary."""
    split_texts = [re.findall(r"[a-z']+|[0-9]+|[!?£$]", line.lower()) for line in texts]
    counted = Counter(word for words in split_texts for word in words)
    number = {word: place + 2 for place, (word, _) in enumerate(counted.most_common(vocabulary - 2))}
    codes = torch.zeros(len(texts), length, dtype=torch.long)
    for row, words in enumerate(split_texts):
        found = [number.get(word, 1) for word in words[:length]]
        codes[row, : len(found)] = torch.tensor(found, dtype=torch.long)
    return codes


@cache
def messages(*, column: bool) -> Parts:
    """SMS: spam or not; as many of the one as of the other."""
    lines = [line.split("\t", 1) for line in (SHARED / "sms_spam" / "sms.tsv").read_text(encoding="utf-8").splitlines() if "\t" in line]
    spam, ham = [text for kind, text in lines if kind == "spam"][:700], [text for kind, text in lines if kind == "ham"][:700]
    targets = torch.tensor([1] * len(spam) + [0] * len(ham))
    return split(coded(spam + ham, 24, 1500), targets.float()[:, None] if column else targets, 900, 500)


@cache
def reviews() -> Parts:
    """Sentences of film reviews, for or against; rt_polarity's first 24 words."""
    folder = SHARED / "rt_polarity"
    good, bad = ((folder / f"rt-polarity.{kind}").read_text(encoding="latin-1").splitlines() for kind in ("pos", "neg"))
    texts = good[:2000] + bad[:2000]
    return split(coded(texts, 24, 3000), torch.tensor([1] * 2000 + [0] * 2000), 3000, 1000)


@cache
def promoters() -> Parts:
    """57 bases as four channels, (N, 4, 57): is it a promoter."""
    rows = (SHARED / "uci_promoters" / "promoters.data").read_text(encoding="utf-8").splitlines()
    cells = [row.split(",") for row in rows if row.strip()]
    codes = torch.tensor([["acgt".index(base) for base in cell[2].strip()] for cell in cells])
    targets = torch.tensor([int(cell[0] == "+") for cell in cells])
    return split(F.one_hot(codes, 4).float().transpose(1, 2).contiguous(), targets, 76, 30)
