"""The classic image project in plain PyTorch: a small convolutional network on CIFAR-10, its accuracy in all and per class.

python examples/cifar10_classic.py --epochs 2 --data-dir FOLDER      (where cifar-10-binary.tar.gz is, or shall be put)
"""

import argparse

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pellucid.data import read


class Images(Dataset):
    def __init__(self, part: str, options: argparse.Namespace) -> None:
        samples = read("cifar10", data_dir=options.data_dir)  # uint8 (60000, 3, 32, 32), and the class of each
        chosen = torch.from_numpy(samples.fixed_parts == part).nonzero().flatten()[: options.samples]
        self.images, self.labels = torch.from_numpy(samples.inputs)[chosen], torch.from_numpy(samples.targets)[chosen]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return (self.images[index] / 255 - 0.5) / 0.5, self.labels[index]


def build() -> nn.Module:
    first = (nn.Conv2d(3, 32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2))  # (N, 32, 16, 16)
    second = (nn.Conv2d(32, 64, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2))  # (N, 64, 8, 8)
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(64 * 8 * 8, 128), nn.ReLU(), nn.Linear(128, 10))


def train(network: nn.Module, loader: DataLoader, epochs: int) -> list[float]:
    losses, criterion = [0.0] * epochs, nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(epochs):
        for images, labels in loader:
            loss = criterion(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[epoch] += loss.item() * len(labels)
    return [loss / len(loader.dataset) for loss in losses]


parser = argparse.ArgumentParser()
for name, kind, default in (("--data-dir", str, None), ("--epochs", int, 2), ("--samples", int, 50_000)):
    parser.add_argument(name, type=kind, default=default)
if __name__ == "__main__":
    options = parser.parse_args()
    torch.manual_seed(0)
    network, test = build(), Images("test", options)
    print("loss of each epoch", train(network, DataLoader(Images("train", options), batch_size=64, shuffle=True), options.epochs))
    with torch.no_grad():
        right = torch.cat([network(images).argmax(dim=1) == labels for images, labels in DataLoader(test, batch_size=64)])
    for label in range(10):
        print(f"accuracy of class {label}: {right[test.labels == label].float().mean():.3f}")
    print(f"test accuracy {right.float().mean():.3f}")
