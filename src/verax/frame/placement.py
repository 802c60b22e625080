"""On which devices values and rows are: everything on one, unless a distribution is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import jax
from jax import lax
from jax.sharding import NamedSharding
from jax.tree_util import DictKey

__all__ = ["Places", "kept", "places", "put", "set_places", "spread"]

_Tree = TypeVar("_Tree")


class Places(Protocol):
    """Where arrays are: what a distribution tells the frame."""

    def of_rows(self, shape: tuple[int, ...]) -> NamedSharding | None:
        """Where rows of a batch are; None to leave them where they come."""
        ...

    def of_value(self, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """Where a variable is, and what the optimizer keeps for it."""
        ...

    def everywhere(self) -> NamedSharding:
        """A copy on each device."""
        ...


_state: dict[str, Places | None] = {"places": None}


def places() -> Places | None:
    """The distribution that is set."""
    return _state["places"]


def set_places(value: Places | None) -> None:
    """Set it; None: one device."""
    _state["places"] = value


def spread(batch: _Tree) -> _Tree:
    """Inside a program: the rows of a batch divided over the devices."""
    here = places()
    if here is None:
        return batch

    def divided(array: Any) -> Any:
        where = here.of_rows(array.shape)
        return array if where is None else lax.with_sharding_constraint(array, where)

    return jax.tree.map(divided, batch)


def kept(values: _Tree, shapes: Mapping[str, tuple[int, ...]]) -> _Tree:
    """Inside a program: values, and what stands beside them in an optimizer's state, where they belong."""
    return _each(values, shapes, lax.with_sharding_constraint)


def put(values: _Tree, shapes: Mapping[str, tuple[int, ...]]) -> _Tree:
    """Outside of one: the same, by moving them."""
    return _each(values, shapes, jax.device_put)


def _each(values: _Tree, shapes: Mapping[str, tuple[int, ...]], move: Any) -> _Tree:
    here = places()
    if here is None:
        return values

    def one(keys: Any, array: Any) -> Any:
        if not isinstance(array, jax.Array):
            return array
        names = [key.key for key in keys if isinstance(key, DictKey)]
        path = next((name for name in reversed(names) if name in shapes), None)
        belongs = path is not None and shapes[path] == array.shape
        return move(array, here.of_value(str(path), array.shape) if belongs else here.everywhere())

    return jax.tree_util.tree_map_with_path(one, values)
