"""Data: whatever the user has, read, checked, split and made ready for a network.

    source --read--> Samples --prepare--> Prepared(train, validation, test, ledger, preprocessing)

The names below are imported when first used, so that a command that needs no data loads none of this.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.data.description import describe
    from pellucid.data.kinds import DataKind, PreprocessingKind, data_kind, preprocessing_kind
    from pellucid.data.ledger import Ledger
    from pellucid.data.preparation import prepare
    from pellucid.data.samples import Prepared, Quarantined, Samples
    from pellucid.data.sources import read, read_new, read_reference, restore

_HOME = {  # public name -> the module it lives in
    "DataKind": "kinds",
    "Ledger": "ledger",
    "Prepared": "samples",
    "PreprocessingKind": "kinds",
    "Quarantined": "samples",
    "Samples": "samples",
    "data_kind": "kinds",
    "describe": "description",
    "prepare": "preparation",
    "preprocessing_kind": "kinds",
    "read": "sources",
    "read_new": "sources",
    "read_reference": "sources",
    "restore": "sources",
}
__all__ = [
    "DataKind",
    "Ledger",
    "Prepared",
    "PreprocessingKind",
    "Quarantined",
    "Samples",
    "data_kind",
    "describe",
    "prepare",
    "preprocessing_kind",
    "read",
    "read_new",
    "read_reference",
    "restore",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pellucid.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pellucid.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
