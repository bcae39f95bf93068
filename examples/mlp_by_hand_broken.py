"""The faults that networks written by hand have most often, each found and named by `derive`: python examples/mlp_by_hand_broken.py

Targets that are never defined, no derivative of the sigmoid in either layer, hidden weights that are never updated. What is true of the
missing derivative: leaving it out at a sigmoid output alone gives, up to a factor, the gradient of binary cross-entropy, and trains well;
leaving it out in the hidden layer too is no gradient of anything, and does not.
"""

import numpy as np
import torch
from mlp_by_hand import W1, W2, X, Y, b1, b2, forward, loss_of
from torch import nn

import pellucid


def broken_gradients(X, Y, W1, b1, W2, b2):
    a1, a2 = forward(X, W1, b1, W2, b2)
    dz2 = 2 * (a2 - Y)  # fault: sigma'(z2) is missing (and the loss has 1/2, so that the 2 is too much)
    dz1 = dz2 @ W2.T  # fault: sigma'(z1) is missing
    return {"W1": X.T @ dz1, "b1": dz1.sum(0, keepdims=True), "W2": a1.T @ dz2, "b2": dz2.sum(0, keepdims=True)}


def train(W1, b1, W2, b2, hidden_derivative, steps=10_000, learning_rate=0.5):
    """Both layers updated, sigma' left out at the output; at the hidden layer too unless `hidden_derivative`."""
    for _ in range(steps):
        a1, a2 = forward(X, W1, b1, W2, b2)
        dz2 = a2 - Y
        dz1 = dz2 @ W2.T * (a1 * (1 - a1) if hidden_derivative else 1.0)
        W1, b1 = W1 - learning_rate * X.T @ dz1, b1 - learning_rate * dz1.sum(0, keepdims=True)
        W2, b2 = W2 - learning_rate * a1.T @ dz2, b2 - learning_rate * dz2.sum(0, keepdims=True)
    return loss_of(forward(X, W1, b1, W2, b2)[1], Y)


if __name__ == "__main__":
    try:
        loss_of(forward(X, W1, b1, W2, b2)[1], y_true)
    except NameError as error:
        print("the program stops at once:", error)
    network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        for parameter, array in zip(network.parameters(), (W1.T, b1[0], W2.T, b2[0]), strict=True):
            parameter.copy_(torch.tensor(array))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    derivation = pellucid.derive(network, torch.tensor(X), torch.tensor(Y), loss="half_squared_error", optimizer=optimizer)
    wrong = broken_gradients(X, Y, W1, b1, W2, b2)
    print(derivation.check(gradients=wrong))
    print(derivation.check(gradients={"new_W1": W1, "new_W2": W2 - derivation.gradients["2.weight"].T}))
    print(f"sigma' missing at the output alone: loss {train(W1, b1, W2, b2, hidden_derivative=True):.4f}")
    print(f"sigma' missing in both layers:      loss {train(W1, b1, W2, b2, hidden_derivative=False):.4f}")
    assert np.isfinite(derivation.loss.array)
