"""Models made from models: with new weights, on other inputs, with other layers in the place of some; or from JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import jax

from verax.errors import InputError
from verax.frame.graph import Graph
from verax.frame.serialized import deserialize_keras_object
from verax.frame.symbolic import SymbolicTensor, is_symbolic, symbolic_call
from verax.layers import Input, InputLayer, Layer
from verax.model.model import Model
from verax.model.sequential import Sequential

__all__ = ["clone_model", "model_from_config", "model_from_json"]


def clone_model(
    model: Any,
    input_tensors: Any = None,
    clone_function: Callable[[Layer], Layer] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Any:
    """A new model like ``model``, with new layers and new weights; compiled as it is, if it is.

    Args:
        model: A functional model, a ``Sequential``, or any model whose configuration makes it again.
        input_tensors: Symbolic tensors to build on, in the structure of ``model.input``; new Inputs when None.
        clone_function: layer -> the layer that takes its place, called once for each layer, Inputs excepted; by default
            a new layer of the same configuration. ``lambda layer: layer`` shares all layers.
        call_function: (layer, *args, **kwargs) -> output, called in the place of the layer, in functional models.
        recursive: Whether models inside are cloned layer by layer too, with the same functions.

    Raises:
        InputError: A function or inputs for a model of neither kind; ``call_function`` for a ``Sequential``; inputs of
            another structure.

    >>> model = verax.Sequential([verax.Input((4,)), verax.layers.Dense(3, name="d")])
    >>> clone_model(model).get_layer("d").units, clone_model(model).get_layer("d") is model.get_layer("d")
    (3, False)
    """
    clone = _Clone(clone_function or _again, call_function, recursive)
    asked = f"clone_model was called on {model.name!r}."
    if isinstance(model, Sequential):
        if call_function is not None:
            raise InputError(
                asked,
                received="call_function",
                because="a Sequential's layers are listed, and not called, when it is made",
                do="Use clone_function, or a functional model.",
            )
        made = clone.sequential(model, input_tensors)
    elif model._is_functional:
        made = clone.functional(model, input_tensors)
    else:
        if input_tensors is not None or clone_function is not None or call_function is not None:
            raise InputError(
                asked,
                received=f"a {type(model).__name__}, with other inputs or functions",
                because="how it calls its layers is in its own code",
                do="Clone it as it is; define get_config for that.",
            )
        made = type(model).from_config(model.get_config())
    compiled = model._model.compiled
    if compiled is not None:
        made.compile(
            type(compiled.optimizer).from_config(compiled.optimizer.get_config()),
            loss=compiled.loss,
            loss_weights=compiled.loss_weights,
            metrics=compiled.metrics,
            weighted_metrics=compiled.weighted_metrics,
            run_eagerly=compiled.run_eagerly,
        )
    return made


def _again(layer: Layer) -> Layer:
    return type(layer).from_config(layer.get_config())


class _Clone:
    """One cloning: each layer is cloned once, however often it is called."""

    def __init__(
        self,
        clone_function: Callable[[Layer], Layer],
        call_function: Callable[..., Any] | None,
        recursive: bool,
    ):
        self.function = clone_function
        self.call = call_function or (lambda layer, *args, **kwargs: layer(*args, **kwargs))
        self.recursive = recursive
        self._made: dict[int, Any] = {}

    def layer(self, layer: Any) -> Any:
        if not isinstance(layer, Layer):
            return layer  # a function
        if id(layer) not in self._made:
            inner = self.recursive and isinstance(layer, Model)
            if inner and isinstance(layer, Sequential):
                made: Any = self.sequential(layer, None)
            elif inner and getattr(layer, "_is_functional", False):
                made = self.functional(layer, None)
            else:
                made = self.function(layer)
            self._made[id(layer)] = made
        return self._made[id(layer)]

    def sequential(self, model: Sequential, inputs: Any) -> Sequential:
        given = jax.tree.leaves(inputs, is_leaf=is_symbolic)
        if len(given) > 1 or not all(map(is_symbolic, given)):
            raise InputError(
                f"clone_model was called on {model.name!r}.",
                received=f"input_tensors={inputs!r}",
                because="a Sequential has one input, a symbolic tensor",
                do="Pass one that Input returned.",
            )
        layers = [self.layer(layer) for layer in model.layers]
        start = model._start
        if given:
            first = given[0]
            if not isinstance(first.node.target, InputLayer):
                first = Input(batch_shape=first.shape, dtype=first.dtype)
            start = first
        elif start is not None:
            start = _like(start)
        made = Sequential([*([] if start is None else [start]), *layers], name=model.name)
        if not model.trainable:
            made.trainable = False
        return made

    def functional(self, model: Any, inputs: Any) -> Model:
        graph: Graph = model._model.graph
        if inputs is None:
            inputs = jax.tree.map(_like, graph.inputs, is_leaf=is_symbolic)
        elif jax.tree.structure(inputs, is_leaf=is_symbolic) != jax.tree.structure(graph.inputs, is_leaf=is_symbolic):
            raise InputError(
                f"clone_model was called on {model.name!r}.",
                received=f"input_tensors={inputs!r}",
                because=f"the model's inputs are {graph.inputs!r}",
                do="Pass symbolic tensors in that structure.",
            )
        outputs = graph.run(inputs, self._call)
        return type(model)(inputs, outputs, name=model.name)

    def _call(self, target: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(target, Layer):
            return self.call(self.layer(target), *args, **kwargs)
        return symbolic_call(target, args, kwargs)


def _like(tensor: SymbolicTensor) -> SymbolicTensor:
    return Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The model that ``model.to_json()``, ours or Keras', wrote, with new weights; compiled, if it was.

    Args:
        json_string: The JSON.
        custom_objects: name -> class or function, for what is not of Verax and not registered.

    >>> model = verax.Sequential([verax.Input((4,)), verax.layers.Dense(3)], name="small")
    >>> model_from_json(model.to_json()).name
    'small'
    """
    return model_from_config(json.loads(json_string), custom_objects)


def model_from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The model of a description of it: ``{"class_name": ..., "config": ...}``."""
    return deserialize_keras_object({"module": "keras.models", **config}, custom_objects)
