"""Watching a training by Keras 3 on the torch backend: one line before `fit`. Keras updates the weights itself, without a torch optimizer:
gradients and versions of the weights are read instead.

Needs the package keras. The learning rate is far too high on purpose: the watcher says so.
Run it: python examples/watch_keras.py
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from sklearn.datasets import load_digits

import pellucid


def train(watch=pellucid.watch):
    """Three epochs on the digits; gives the model and the watcher."""
    keras.utils.set_random_seed(0)
    inputs, targets = load_digits(return_X_y=True)
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(30.0), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False
    )
    watcher = watch(model)  # a Keras model on this backend is a torch module
    model.fit((inputs / 16).astype(np.float32), targets, batch_size=32, epochs=3, verbose=0)
    return model, watcher


if __name__ == "__main__":
    _, watcher = train()
    print(watcher.report())
    print("found:", ", ".join(finding.symptom for finding in watcher.findings))
    watcher.close()
