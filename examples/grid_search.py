"""Choose a network's settings by cross-validation, with scikit-learn's own tools: a pipeline and a grid search.

python examples/grid_search.py
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from pellucid import NetworkClassifier


def main() -> None:
    X, y = load_breast_cancer(return_X_y=True)  # (569, 30) measurements; (569,): 0 malignant, 1 benign
    X[::50, 3] = np.nan  # some were never made
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)

    # The values that fill the gaps are learnt again in every fold: the pipeline sees to it. Scaling is the network's own affair.
    pipeline = make_pipeline(SimpleImputer(strategy="median"), NetworkClassifier(epochs=20, random_state=0))
    grid = {
        "networkclassifier__network_options": [{"hidden": (16,)}, {"hidden": (64, 64)}],
        "networkclassifier__weight_decay": [0.01, 0.5],
    }
    search = GridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss").fit(X, y)  # n_jobs=2 for two processes

    for mean, spread, settings in zip(
        search.cv_results_["mean_test_score"], search.cv_results_["std_test_score"], search.cv_results_["params"], strict=True
    ):
        chosen = ", ".join(f"{name.removeprefix('networkclassifier__')}={value}" for name, value in settings.items())
        print(f"log loss {-mean:.3f} (standard deviation over folds {spread:.3f})  {chosen}")

    # The test samples have had no part in the choice.
    print(f"test accuracy {(search.predict(X_test) == y_test).mean():.3f} with {search.best_params_}")


if __name__ == "__main__":
    main()
