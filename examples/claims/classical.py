"""Claim: deep learning beats decision trees, support vector machines and random forests.

Measured: test accuracy, a quarter of the samples held out: Pellucid's NetworkClassifier after 15 epochs and scikit-learn's methods, all
else by default (the support vector machine on standardised inputs). "shifted": the digits on a canvas of 8 x 16, each at its own
place; there and on "digits" the network sees images and is a convolutional one. Differences are taken within each seed.

Came out: false on small tables, where nothing is shown between network, SVM and forest; true on images, most where the digits move.

python examples/claims/classical.py
"""

from __future__ import annotations

import numpy as np
from claim import Figures, report
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from pellucid import NetworkClassifier


def tasks(seed: int, quick: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> X (n, features) or (n, 1, height, width), y (n,)"""
    found = {name: load(return_X_y=True) for name, load in (("wine", datasets.load_wine), ("breast cancer", datasets.load_breast_cancer))}
    if quick:
        return found
    digits = datasets.load_digits()
    shifted = np.zeros((len(digits.images), 1, 8, 16))
    for image, place, canvas in zip(digits.images, np.random.default_rng(seed).integers(0, 9, len(shifted)), shifted, strict=True):
        canvas[0, :, place : place + 8] = image
    return found | {"digits": (digits.images[:, None], digits.target), "shifted": (shifted, digits.target)}


def measure(seed: int, quick: bool) -> Figures:
    methods = {
        "network": NetworkClassifier(random_state=seed, epochs=15),
        "decision tree": DecisionTreeClassifier(random_state=seed),
        "SVM": make_pipeline(StandardScaler(), SVC()),
        "random forest": RandomForestClassifier(random_state=seed),
    }
    found: Figures = {name: {} for name in methods}
    for task, (X, y) in tasks(seed, quick).items():
        X, X_test, y, y_test = train_test_split(X.astype(np.float32), y, test_size=0.25, stratify=y, random_state=seed)
        for name, method in methods.items():
            flat = (lambda a: a) if name == "network" else (lambda a: a.reshape(len(a), -1))
            found[name][task] = float(method.fit(flat(X), y).score(flat(X_test), y_test))
    for name in ("SVM", "random forest"):
        found[f"network minus {name}"] = {task: score - found[name][task] for task, score in found["network"].items()}
    return found


if __name__ == "__main__":
    report(measure, seeds=5, script=__file__)
