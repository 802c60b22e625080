"""Layers around other layers: their base, and ``TimeDistributed``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError
from verax.frame.current import active_frame
from verax.frame.lift import is_built
from verax.frame.steps import scan_layers
from verax.layers.base import InputSpec, Layer, LayerArguments, layer_registry

__all__ = ["TimeDistributed", "Wrapper", "WrapperArguments", "as_layer", "build_inside", "copied"]


class WrapperArguments(LayerArguments, total=False):
    """What the constructor of a layer around others takes besides its own arguments: see ``Layer``."""

    activity_regularizer: Any


def as_layer(value: Any, asked: str) -> Any:
    """``value`` as a layer: one already, or the dictionary that ``get_config`` of another layer, or Keras', holds.

    Raises:
        InputError: Anything else.
    """
    if isinstance(value, Mapping):
        return layer_registry.deserialize(cast("Mapping[str, Any]", value))
    if not isinstance(value, Layer):
        raise InputError(
            asked, received=f"{value!r} of type {type(value).__name__}", because="it wraps a layer", do="Pass a layer."
        )
    return value


def copied(value: Any) -> Any:
    """A layer like ``value``, with weights of its own; what has no configuration stays as it is."""
    return type(value).from_config(value.get_config()) if hasattr(value, "get_config") else value


def deserialized(value: Any, custom_objects: Mapping[str, Callable[..., Any]] | None) -> Any:
    """A part of a configuration as an object: from its dictionary, or a copy where the configuration holds a layer."""
    if isinstance(value, Mapping):
        return layer_registry.deserialize(cast("Mapping[str, Any]", value), custom_objects)
    if isinstance(value, (list, tuple)):
        return [deserialized(one, custom_objects) for one in cast("list[Any]", value)]
    return copied(value)


def build_inside(layer: Any, shape: Any) -> None:
    """Build a layer that stands in another one, for that one's ``build``; undone with it where the call fails."""
    if not isinstance(layer, Layer) or layer.built:
        return
    frame = active_frame()
    if frame is not None:
        frame.built.append((layer, layer.rebuildable()))
    layer.build(shape)
    layer.built = True


class Wrapper(Layer):
    """The base of layers around one other layer.

    Args:
        layer: The layer, kept in the attribute of this name.

    Raises:
        InputError: Not a layer.
    """

    #: The constructor's arguments that are layers.
    wraps: tuple[str, ...] = ("layer",)

    def __init__(self, layer: Any, **kwargs: Unpack[WrapperArguments]):
        super().__init__(**kwargs)
        self.layer: Any = as_layer(layer, f"{type(self).__name__} {self.name!r} was made.")

    def build(self, input_shape: Any) -> None:
        """Build the layer inside."""
        build_inside(self.layer, input_shape)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Callable[..., Any]] | None = None
    ) -> Any:
        """A new wrapper around new layers, from a configuration of ours or of Keras.

        Args:
            config: What ``get_config`` gave.
            custom_objects: class name -> class, for layers inside that Verax does not know.
        """
        inside = {key: deserialized(config[key], custom_objects) for key in cls.wraps if config.get(key) is not None}
        return super().from_config({**config, **inside})


@layer_registry.add
class TimeDistributed(Wrapper):
    """Applies a layer to each step of a sequence: ``y[:, t] = layer(x[:, t])``.

    (batch, time, ...) -> (batch, time, ...), for each array that the layer returns. Every step is a call of its own:
    with draws of its own, with statistics of its own batch of rows, and moving averages that go from step to step.
    Where no step can tell (layers of Verax without a state, a penalty or a function of a person's own), all steps
    are computed as rows of one call.

    A mask (batch, time) is passed on to the output; one of more axes is also given to the layer, step by step, where
    its ``call`` takes a mask.

    Differs from Keras: a mask (batch, time), which says nothing about the inside of a step, is not given to the layer;
    the layer's activity regularizer counts (Keras drops it), summed over the steps.

    Args:
        layer: The layer. Its weights do not depend on the step.

    Raises:
        ShapeError: An input of fewer than three axes; a mask that does not fit it.

    >>> TimeDistributed(verax.layers.Dense(2))(jnp.ones((8, 5, 3))).shape
    (8, 5, 2)
    """

    supports_masking = True
    input_spec = InputSpec(min_ndim=3)

    @property
    def stateful(self) -> bool:
        """Whether the layer keeps a state for each row."""
        return getattr(self.layer, "stateful", False)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the layer inside for a step."""
        if len(input_shape) < 3:
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called.",
                received=f"an input of shape {input_shape}",
                because="it needs at least 3 axes (batch, time, ...)",
                do="Add the missing axis, or call the layer inside by itself.",
            )
        super().build((input_shape[0], *input_shape[2:]))

    def call(self, inputs: jax.Array, mask: Any = None) -> Any:
        """The layer's outputs for each step of ``inputs`` (batch, time, ...), along a second axis."""
        if mask is not None and tuple(mask.shape[:2]) != tuple(inputs.shape[:2]):
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called with a mask.",
                received=f"a mask of shape {tuple(mask.shape)} for an input of shape {tuple(inputs.shape)}",
                because="the first two axes of both are the rows and the steps",
                do="Pass a mask (batch, time) or (batch, time, ...).",
            )
        asks = "mask" in inspect.signature(type(self.layer).call).parameters
        inner = mask if asks and mask is not None and mask.ndim > 2 else None
        if _alike(self.layer):
            rows = inputs.shape[:2]
            one = inner if inner is None else inner.reshape(-1, *inner.shape[2:])
            flat = self._at(inputs.reshape(-1, *inputs.shape[2:]), one)
            return jax.tree.map(lambda y: y.reshape(*rows, *y.shape[1:]), flat)
        if not is_built(self.layer):  # no layer is built inside of a scan
            self._at(inputs[:, 0], None if inner is None else inner[:, 0])
        steps = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (inputs, inner))
        _, outputs = scan_layers(lambda none, at: (none, self._at(*at)), None, steps, [self.layer])
        return jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), outputs)

    def _at(self, x: jax.Array, mask: jax.Array | None) -> Any:
        return self.layer(x) if mask is None else self.layer(x, mask=mask)


def _alike(layer: Layer) -> bool:
    """Whether steps may be rows of one call: no layer inside sees more than a row, or counts its calls."""

    def plain(one: Any) -> bool:
        room = type(one).__module__
        known = room.startswith("verax.layers.") or room == "verax.model.sequential"
        return known and type(one).__name__ != "Lambda" and one._core.activity_regularizer is None

    seen: set[int] = set()

    def visit(one: Any) -> bool:
        if id(one) in seen or not isinstance(one, Layer):
            return True
        seen.add(id(one))
        return plain(one) and all(visit(child) for _, _, child in one.children())

    return visit(layer) and all(v.trainable for v in layer.variables)
