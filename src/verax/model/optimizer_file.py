"""The optimizer's state in files of Keras' form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from verax.formats.hdf5 import Contents

__all__ = ["place", "read"]

_INSIDE = "optimizer/vars"


def place(model: Any, arrays: dict[str, np.ndarray[Any, Any]], groups: dict[str, dict[str, Any]]) -> None:
    """Add the state of a compiled model's optimizer, where it has one."""


def read(model: Any, contents: Contents) -> None:
    """Set the optimizer's state to that of a file, where there is one."""
