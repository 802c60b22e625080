"""Faults are collected while a part is tried, and told together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

__all__ = ["CheckError", "Faults", "difference"]


class CheckError(AssertionError):
    """A part does not keep what Verax relies on.

    Attributes:
        faults: name of a fault -> what was seen and what to do, in the order they were found.
    """

    def __init__(self, checked: str, faults: dict[str, str]):
        self.faults = faults
        told = "\n".join(f"  {name}: {what}" for name, what in faults.items())
        super().__init__(f"{checked} has {len(faults)} fault{'s' if len(faults) > 1 else ''}.\n{told}")


class Faults:
    """What was found so far; ``raise_if_any`` tells it.

    Args:
        checked: What is being checked, for the message.
    """

    def __init__(self, checked: str):
        self.checked = checked
        self.found: dict[str, str] = {}

    def add(self, name: str, what: str, do: str) -> None:
        """Note a fault; the first of a name is kept."""
        self.found.setdefault(name, f"{what}. {do}")

    @contextmanager
    def trying(self, name: str, what: str, do: str) -> Iterator[None]:
        """An exception in this block is a fault of this name."""
        try:
            yield
        except Exception as error:
            said = str(error).strip().splitlines() or [""]
            self.add(name, f"{what}: {type(error).__name__}: {said[0].rstrip('.')}", do)

    def raise_if_any(self) -> None:
        """Raise ``CheckError`` where something was found."""
        if self.found:
            raise CheckError(self.checked, self.found)

    def check_config(self, part: Any, same: Callable[[Any], str]) -> None:
        """The configuration is plain data, and makes a part that does the same.

        Args:
            part: What has ``get_config`` and ``from_config``.
            same: From the part made anew to how it differs, "" where it does not.
        """
        keep = "Keep every constructor argument in get_config, as a number, string, list or dict"
        with self.trying("config", "no equal part can be made from its configuration", keep + "."):
            config = part.get_config()
            json.dumps(config)
            found = same(type(part).from_config(config))
            if found:
                self.add("config", f"made anew from its configuration it differs: {found}", keep + ".")


def difference(a: Any, b: Any, tolerance: float) -> str:
    """How two structures of arrays differ, "" where they agree within ``tolerance`` (relative and absolute).

    >>> difference(np.float32([1, 2]), np.float32([1, 2.5]), 1e-3)
    '0.5 at most'
    """
    one, two = jax.tree.leaves(a), jax.tree.leaves(b)
    if len(one) != len(two):
        return f"{len(one)} arrays against {len(two)}"
    for x, y in zip(map(np.asarray, one), map(np.asarray, two), strict=True):
        if x.shape != y.shape:
            return f"shape {x.shape} against {y.shape}"
        if x.dtype.kind in "OUS" or not x.size:
            continue
        x, y = x.astype("float64"), y.astype("float64")
        if not np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True):
            if (np.isnan(x) != np.isnan(y)).any():
                return "NaN in one of them"
            return f"{np.nanmax(np.abs(x - y)):.3g} at most"
    return ""
