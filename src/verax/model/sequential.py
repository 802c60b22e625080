"""Sequential: one layer after another."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import jax

from verax.errors import InputError
from verax.frame.custom_objects import custom_object_scope
from verax.frame.registry import described
from verax.frame.serialized import revived
from verax.frame.symbolic import SymbolicTensor, is_symbolic
from verax.layers import Input, InputLayer, Layer, layer_registry
from verax.model.model import Model, model_registry
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

    _apart: ClassVar[frozenset[str]] = Model._apart | {"_layers", "_start", "_end"}

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

    def stored_parts(self) -> Iterator[tuple[str, Any]]:
        """The layers, then what attributes of a subclass hold."""
        yield "layers", self._layers
        yield from super().stored_parts()

    @property
    def _in_a_row(self) -> list[Layer]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._layers

    def _listed_parts(self) -> dict[str, Any]:
        return {}

    @property
    def input(self) -> Any:
        """The symbolic input that was declared; else what the model was built for."""
        return self._model.inputs if self._start is None else self._start

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

    @property
    def _is_functional(self) -> bool:
        return False

    def get_config(self) -> dict[str, Any]:
        """The layers, the Input before them, in Keras' form; of a subclass with other arguments, those."""
        if list(inspect.signature(type(self).__init__).parameters) != list(_PARAMETERS):
            return super().get_config()
        start: Any = self._model.inputs if self._start is None else self._start
        declared = [] if self._start is None else [self._start.node.target]
        config = {"name": self.name, "trainable": self.trainable, "layers": described([*declared, *self._layers])}
        return {**config, **({"build_input_shape": start.shape} if is_symbolic(start) else {})}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """A new model, with new weights, of a configuration that ``get_config`` gave: Keras' or ours."""
        with custom_object_scope(custom_objects):
            if not isinstance(config.get("layers"), (list, tuple)):
                return super().from_config(config)
            layers = [revived({"module": "keras.layers", **layer}) for layer in config["layers"]]
            model = cls(layers, name=config.get("name"))
        shape = config.get("build_input_shape")
        if not model.built and shape and all(n is None or isinstance(n, int) for n in shape):
            model.build(tuple(shape))
        if config.get("trainable") is False:
            model.trainable = False
        return model

    def _begin(self, start: SymbolicTensor) -> None:
        self._model.inputs = self._start = self._end = start

    def _changed(self) -> None:
        self._model.outputs = None
        self._model.programs.clear()
        if self._model.compiled is not None:
            self._model.compiled.objectives.clear()


_PARAMETERS = tuple(inspect.signature(Sequential.__init__).parameters)
model_registry.add(Sequential)
layer_registry.add(Sequential)  # wrappers take models too
