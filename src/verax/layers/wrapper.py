"""The base of layers around another layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack, cast

from verax.errors import InputError
from verax.frame.current import active_frame
from verax.layers.base import Layer, LayerArguments, layer_registry

__all__ = ["Wrapper"]


class Wrapper(Layer):
    """The base of layers around one other layer.

    A subclass says in ``call`` what it does with ``self.layer``; that layer is built for the same input.

    Args:
        layer: The layer, kept in the attribute of this name; or its configuration, as ``get_config`` of a wrapper has
            it.

    Raises:
        InputError: Not a layer.

    >>> class Twice(Wrapper):
    ...     def call(self, x):
    ...         return self.layer(self.layer(x))
    >>> Twice(verax.layers.Rescaling(3.0))(jnp.ones((1, 2))).tolist()
    [[9.0, 9.0]]
    """

    def __init__(self, layer: Any, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        if isinstance(layer, Mapping):
            layer = layer_registry.deserialize(cast("Mapping[str, Any]", layer))
        if not isinstance(layer, Layer):
            raise InputError(
                f"{type(self).__name__} was made.",
                received=f"layer={layer!r} of type {type(layer).__name__}",
                because="it wraps a layer",
                do="Pass a layer.",
            )
        self.layer: Any = layer

    def build(self, input_shape: Any) -> None:
        """Build the layer inside; undone with this one where the call fails."""
        if self.layer.built:
            return
        frame = active_frame()
        if frame is not None:
            frame.built.append((self.layer, self.layer.rebuildable()))
        self.layer.build(input_shape)
        self.layer.built = True
