"""A 2-4-1 network by hand in NumPy: XOR, sigmoid in both layers, every gradient by the chain rule: python examples/mlp_by_hand.py

All four gradients agree with `pellucid.derive` to 1e-12 (tests/examples/test_mlp_by_hand.py); mlp_by_hand_broken.py shows the usual faults.
"""

import numpy as np

generator = np.random.default_rng(3)
X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # (4, 2)
Y = np.array([[0.0], [1.0], [1.0], [0.0]])  # (4, 1)
W1, b1 = generator.normal(size=(2, 4)), np.zeros((1, 4))
W2, b2 = generator.normal(size=(4, 1)), np.zeros((1, 1))
learning_rate = 1.0


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def forward(X, W1, b1, W2, b2):
    a1 = sigmoid(X @ W1 + b1)  # (4, 4)
    a2 = sigmoid(a1 @ W2 + b2)  # (4, 1)
    return a1, a2


def loss_of(a2, Y):
    return 0.5 * np.sum((a2 - Y) ** 2)


def gradients(X, Y, W1, b1, W2, b2):
    a1, a2 = forward(X, W1, b1, W2, b2)
    dz2 = (a2 - Y) * a2 * (1 - a2)  # (4, 1): dL/da2 times sigma'(z2)
    dz1 = (dz2 @ W2.T) * a1 * (1 - a1)  # (4, 4): back through W2, times sigma'(z1)
    return {"W1": X.T @ dz1, "b1": dz1.sum(0, keepdims=True), "W2": a1.T @ dz2, "b2": dz2.sum(0, keepdims=True)}


def train(steps=10_000):
    global W1, b1, W2, b2
    for step in range(steps):
        gradient = gradients(X, Y, W1, b1, W2, b2)
        W1, b1 = W1 - learning_rate * gradient["W1"], b1 - learning_rate * gradient["b1"]
        W2, b2 = W2 - learning_rate * gradient["W2"], b2 - learning_rate * gradient["b2"]
        if step % 2000 == 0:
            print(f"step {step}: loss {loss_of(forward(X, W1, b1, W2, b2)[1], Y):.5f}")
    return loss_of(forward(X, W1, b1, W2, b2)[1], Y)


if __name__ == "__main__":
    print(f"final loss {train():.5f}")
    print("outputs", forward(X, W1, b1, W2, b2)[1].round(3).ravel(), "for XOR", Y.ravel())
