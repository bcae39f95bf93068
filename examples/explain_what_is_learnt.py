"""Are learnt features better than those that people made? Linear models on raw pixels, on HOG and on each layer of a small network.

python examples/explain_what_is_learnt.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import pellucid

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # (1797, 1, 8, 8)
classes = torch.tensor(digits.target)
known, asked = slice(0, 900), slice(900, None)  # the network has not seen what the features are judged on
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
)  # fmt: skip
optimizer = torch.optim.Adam(model.parameters(), 0.002)
for _ in range(12):
    for rows in torch.randperm(900).split(50):
        optimizer.zero_grad()
        F.cross_entropy(model(images[known][rows]), classes[known][rows]).backward()
        optimizer.step()

features = pellucid.features(model, images[asked], "0")
print(features)
print("unit 3 is excited most by the digits", classes[asked][features.exciting(unit=3).samples].tolist())
probes = features.probes(classes[asked])
print(probes)
print(f"best layer: {probes.best.score:.3f}")
features.to_html("features.html", probes=probes)
