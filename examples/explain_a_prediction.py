"""Why does a network say so, and can the explanation be trusted? On data whose answer is known to lie in two of ten columns.

python examples/explain_a_prediction.py

The same for your own run:  pellucid explain runs/RUN --row 17 --output why.html
"""

import torch
from torch import nn
from torch.nn import functional as F

import pellucid

torch.manual_seed(0)
names = [f"column {number}" for number in range(10)]
X = torch.randn(1000, 10)
y = (2 * X[:, 3] + X[:, 7] > 0).long()  # columns 3 and 7 decide, 3 twice as much; the others say nothing
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=1e-3)
for _ in range(300):
    optimizer.zero_grad()
    F.cross_entropy(model(X), y).backward()
    optimizer.step()

explanation = pellucid.explain(model, X[:16], data=X, baseline="mean")  # the method is chosen by the kind of data, and said
share = explanation.attributions.abs().mean(dim=0) / explanation.attributions.abs().mean(dim=0).sum()
for column in share.argsort(descending=True)[:3].tolist():
    print(f"{names[column]}: {share[column]:.3f} of all contributions")
print(f"columns that decide: {share[3] + share[7]:.3f} of all contributions")
print(explanation.certificate)

foreign = torch.randn(16, 10)  # attributions that somebody made up are tested in the same way
print("made up: trust", pellucid.certify(model, X[:16], foreign, data=X, baseline="mean").trust)
explanation.to_html("explanation.html", names=names, classes=["no", "yes"])
