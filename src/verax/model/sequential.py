"""Sequential: one layer after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax

from verax.errors import InputError
from verax.frame.symbolic import SymbolicTensor, is_symbolic
from verax.layers import Input, InputLayer, Layer
from verax.model.model import Model
from verax.model.structure import match_inputs

__all__ = ["Sequential"]


class Sequential(Model):
    """A model that runs its layers one after another.

    Args:
        layers: Layers; the first may be an ``Input``, or have an ``input_shape``: the weights are then made at once,
            otherwise when the first data come.
        trainable, name, remat: As in ``Layer``.

    >>> import verax
    >>> model = Sequential([verax.Input((4,)), verax.layers.Dense(3), verax.layers.Dense(1)])
    >>> model.count_params()
    19
    """

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None, remat: bool | None = None):
        super().__init__(name=name, trainable=trainable, remat=remat)
        self._layers: list[Layer] = []
        self._start: Any = None  # the Input, where one is declared
        self._end: Any = None
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Append a layer."""
        del rebuild  # Keras' argument; weights are made as soon as shapes are known, and never twice
        if is_symbolic(layer):
            layer = layer.node.target
        if isinstance(layer, InputLayer):
            if self._layers or self._model.inputs is not None:
                raise InputError(
                    f"An Input was added to {self.name!r}.",
                    because="an Input comes first, and once",
                    do="Put it first.",
                )
            self._begin(layer.output)
            return
        if not isinstance(layer, Layer):
            raise InputError(
                f"A layer was added to {self.name!r}.",
                received=f"{type(layer).__name__} {layer!r}",
                do="Add a Layer; wrap a function in layers.Lambda.",
            )
        if any(layer.name == other.name for other in self._layers):
            raise InputError(
                f"A layer was added to {self.name!r}.",
                received=f"the name {layer.name!r}, which it already has",
                do="Give each layer a name of its own.",
            )
        if not self._layers and self._model.inputs is None:
            shape = layer._core.declared_shape
            if shape is not None:
                self._begin(Input(shape[1:], dtype=None))
            elif isinstance(layer, Model) and layer._model.inputs is not None:
                start = layer._model.inputs
                if is_symbolic(start):
                    self._begin(Input(batch_shape=start.shape, dtype=start.dtype))
        if self._end is not None:
            self._end = layer(self._end)
        self._layers.append(layer)
        self._changed()

    def pop(self, rebuild: bool = True) -> Layer | None:
        """Remove and return the last layer."""
        del rebuild
        if not self._layers:
            return None
        layer = self._layers.pop()
        if self._model.inputs is not None:
            self._end = self._model.inputs
            for other in self._layers:
                self._end = other(self._end)
        self._changed()
        return layer

    def call(self, inputs: Any) -> Any:
        """Run the layers in order."""
        x = inputs if self._start is None else match_inputs(self, self._start, inputs)[0]
        for layer in self._layers:
            x = layer(x)
        return x

    def children(self) -> Iterator[tuple[str, str, Any]]:
        """The layers by name, and by position for draws."""
        for i, layer in enumerate(self._layers):
            yield layer.name, str(i), layer

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic output, once the input's shape is known."""
        return [] if self._end is None else jax.tree.leaves(self._end, is_leaf=is_symbolic)

    @property
    def output(self) -> Any:
        """The symbolic output, once the input's shape is known."""
        return self._end

    @property
    def built(self) -> bool:
        """Whether all layers are."""
        return self._core.built or (bool(self._layers) and all(layer.built for layer in self._layers))

    @built.setter
    def built(self, value: bool) -> None:
        self._core.built = value

    def _begin(self, start: SymbolicTensor) -> None:
        self._model.inputs = self._start = self._end = start

    def _changed(self) -> None:
        self._model.outputs = None
        self._model.programs.clear()
        if self._model.compiled is not None:
            self._model.compiled.objectives.clear()
