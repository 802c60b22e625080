"""The tensors in a call's arguments, and what stands for them on a tape that was cut out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from verax.torch.state import version_of

__all__ = ["Constant", "Parameter", "Ref", "leaves", "mapped", "writes"]


@dataclass(frozen=True)
class Ref:
    """A tensor that a note of the tape made: the note's place, and which of its tensors."""

    node: int
    leaf: int


@dataclass(frozen=True)
class Constant:
    """A tensor that came from outside, and which version of it: a change in place can be seen."""

    tensor: torch.Tensor
    version: int

    @property
    def changed(self) -> bool:
        """Whether it has been written over since."""
        return version_of(self.tensor) != self.version


@dataclass(frozen=True)
class Parameter:
    """A tensor that is trained: it is used with the value it has when the tape is run."""

    tensor: torch.Tensor


def writes(name: str) -> bool:
    """Whether a function of this name writes into its first argument.

    >>> [writes(name) for name in ("div_", "__itruediv__", "__setitem__", "div", "__int__", "__invert__", "_amp_x_")]
    [True, True, True, False, False, False, True]
    """
    if name.startswith("__"):
        return name == "__setitem__" or name in _IN_PLACE
    return name.endswith("_")


_IN_PLACE = frozenset(
    [
        "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__idiv__", "__imod__", "__ipow__",
        "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__",
    ]
)  # fmt: skip


def leaves(structure: Any, kind: Any = torch.Tensor) -> list[Any]:
    """Everything of a kind in lists, tuples, dicts and dataclasses, in order.

    >>> leaves({"a": [1, (2,)], "b": 3}, int)
    [1, 2, 3]
    """
    found: list[Any] = []
    _collect(structure, kind, found)
    return found


_BARE = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, slice})


def _collect(structure: Any, kind: Any, found: list[Any]) -> None:
    if isinstance(structure, kind):
        found.append(structure)
    elif type(structure) in _BARE:
        return
    elif isinstance(structure, (list, tuple)):
        for inner in structure:
            _collect(inner, kind, found)
    elif isinstance(structure, Mapping):
        for inner in structure.values():
            _collect(inner, kind, found)
    elif hasattr(structure, "__dataclass_fields__") and not isinstance(structure, type):
        for name in structure.__dataclass_fields__:
            _collect(getattr(structure, name, None), kind, found)


def mapped(structure: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure of what ``change`` makes of its tensors (and of what stands for them).

    >>> mapped({"a": [1, (2,)]}, lambda leaf: leaf)
    {'a': [1, (2,)]}
    """
    if isinstance(structure, (torch.Tensor, Ref, Constant, Parameter)):
        return change(structure)
    if isinstance(structure, tuple):
        inner = [mapped(each, change) for each in structure]
        return type(structure)(*inner) if hasattr(structure, "_fields") else tuple(inner)
    if isinstance(structure, list):
        return [mapped(each, change) for each in structure]
    if isinstance(structure, dict):
        return {key: mapped(each, change) for key, each in structure.items()}
    return structure
