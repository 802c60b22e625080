"""PyTorch models that stay where they are: why the validation number of a person's own loop is not the training number.

Importing this module does not import PyTorch; the first use of a name does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from verax.errors import MissingExtraError

if TYPE_CHECKING:
    from verax.torch.lightning import LightningExplain
    from verax.torch.script import watching
    from verax.torch.trainer import TrainerExplain
    from verax.torch.watcher import Ledger, watch

_NAMES = {
    "Ledger": "verax.torch.watcher",
    "LightningExplain": "verax.torch.lightning",
    "TrainerExplain": "verax.torch.trainer",
    "watch": "verax.torch.watcher",
    "watching": "verax.torch.script",
}

__all__ = ["Ledger", "LightningExplain", "TrainerExplain", "watch", "watching"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'verax.torch' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "verax":
            raise
        asked = f"verax.torch.{name} explains PyTorch models."
        raise MissingExtraError.of(error.name, extra="torch", asked=asked) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
