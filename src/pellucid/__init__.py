"""Pellucid: train a neural network on your own data, and see through it.

The names below are imported when first used: `import pellucid` itself loads neither torch nor anything heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what the lazy names are, for type checkers and editors
    from pellucid.core import errors
    from pellucid.derivation.check_rule import check_rule
    from pellucid.derivation.derive import derive
    from pellucid.diagnosis.diagnose import diagnose
    from pellucid.diagnosis.experiments.experiment import Experiment
    from pellucid.diagnosis.watch.watcher import watch
    from pellucid.explanation.certify import certify
    from pellucid.explanation.explain import explain
    from pellucid.explanation.features.features import features
    from pellucid.explanation.importance import importance
    from pellucid.training.estimators import NetworkClassifier, NetworkRegressor
    from pellucid.training.fit import fit
    from pellucid.training.run import Run, load

__version__ = "0.1.0"

_HOME = {  # public name -> the module it lives in
    "fit": "pellucid.training.fit",
    "load": "pellucid.training.run",
    "Run": "pellucid.training.run",
    "NetworkClassifier": "pellucid.training.estimators",
    "NetworkRegressor": "pellucid.training.estimators",
    "derive": "pellucid.derivation.derive",
    "check_rule": "pellucid.derivation.check_rule",
    "watch": "pellucid.diagnosis.watch.watcher",
    "Experiment": "pellucid.diagnosis.experiments.experiment",
    "diagnose": "pellucid.diagnosis.diagnose",
    "certify": "pellucid.explanation.certify",
    "explain": "pellucid.explanation.explain",
    "importance": "pellucid.explanation.importance",
    "features": "pellucid.explanation.features.features",
    "errors": "pellucid.core.errors",
}
__all__ = [
    "Experiment",
    "NetworkClassifier",
    "NetworkRegressor",
    "Run",
    "certify",
    "check_rule",
    "derive",
    "diagnose",
    "errors",
    "explain",
    "features",
    "fit",
    "importance",
    "load",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    value = module if name == "errors" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
