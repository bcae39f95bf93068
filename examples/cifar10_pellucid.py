"""The classic image project by pellucid.fit: the same batches as in cifar10_classic.py, and so the same losses, to the last bit.

python examples/cifar10_pellucid.py --epochs 2 --data-dir FOLDER      (where cifar-10-binary.tar.gz is, or shall be put)
"""

import copy
import json
from functools import partial

import torch
from cifar10_classic import Images, build, parser, train
from torch.utils.data import DataLoader, Dataset

import pellucid


def shuffled(images: Dataset) -> DataLoader:
    return DataLoader(images, batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(0))


options = parser.parse_args()
images, test = Images("train", options), Images("test", options)
torch.manual_seed(0)
network = build()
losses = train(copy.deepcopy(network), shuffled(images), options.epochs)  # in plain PyTorch

run = pellucid.fit(
    (shuffled(images), DataLoader(test, batch_size=64)),
    network=network,
    loss="cross_entropy",
    optimizer=partial(torch.optim.SGD, momentum=0.9),
    learning_rate=0.01,
    weight_decay=0.0,
    schedule="constant",
    epochs=options.epochs,
    augment="none",
    label_smoothing=0.0,
    precision="float32",
    validation=0,
    baselines=False,  # no decision tree on pixels here
)
for row, loss in zip(run.history, losses, strict=True):
    print(f"epoch {row['epoch']}: loss {row['train']['running_loss']!r} by pellucid.fit, {loss!r} by the plain loop")
    assert row["train"]["running_loss"] == loss
print(f"{len(losses)} losses equal bit for bit")
evaluation = json.loads((run.directory / "records" / "evaluation.json").read_text(encoding="utf-8"))
for row in evaluation["parts"]["test"]["per_class"]:
    print(f"accuracy of class {row['name']}: {row['recall']['value']:.3f}")
print(f"test accuracy {run.metrics['test']['accuracy']:.3f}")
