"""``layer.input`` and ``layer.output``: the symbolic tensors of a layer's first place in a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from verax.errors import NotCalledError
from verax.frame.symbolic import is_symbolic

if TYPE_CHECKING:
    from verax.frame.layer import Layer

__all__ = ["OfFirstCall", "note_call"]


def note_call(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """Remember the first call of a layer on symbolic tensors."""
    if layer._core.first_call is None:
        given = [t for t in jax.tree.leaves((args, kwargs), is_leaf=is_symbolic) if is_symbolic(t)]
        layer._core.first_call = {"input": given[0] if len(given) == 1 else given, "output": output}


class OfFirstCall:
    """An attribute that is known once the layer has been called on symbolic tensors; a layer may have another of the
    same name."""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: type[Any] | None = None) -> Any:
        if layer is None:
            return self
        if layer._core.first_call is None:
            raise NotCalledError(
                f"{layer.name!r}.{self.name} was asked for.",
                because="the layer has not been called on a symbolic tensor: it stands in no graph",
                do="Put it into a functional or Sequential model whose input's shape is known.",
            )
        return layer._core.first_call[self.name]
