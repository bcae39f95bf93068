"""Train on arrays you already have: NumPy here; torch tensors, polars and pandas frames work the same way.

python examples/fit_your_arrays.py
"""

from __future__ import annotations

from sklearn.datasets import load_wine

import pellucid


def main() -> None:
    bunch = load_wine()
    inputs, targets = bunch.data, bunch.target  # (178, 13) float64: thirteen chemical measurements; (178,): the cultivar

    # No scaling by hand: it is fitted on the training part alone, stored with the run, and applied again in predict.
    run = pellucid.fit(inputs, targets, network="mlp", epochs=40)

    score = next(score for score in run.scores["test"] if score.name == "accuracy")
    assert score.interval is not None
    print(f"test accuracy {score.value:.3f}, 95 % interval [{score.interval.low:.3f}, {score.interval.high:.3f}], {score.samples} samples")

    predictions = run.predict(inputs[:3])
    print("first three samples:", predictions.labels, predictions.probabilities.max(axis=1).round(3))

    # The run is a directory; any later program opens it by its path.
    again = pellucid.load(run.directory)
    assert again.metrics == run.metrics
    print("kept in", run.directory)


if __name__ == "__main__":
    main()
