"""Model: a layer that is trained, measured and asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from verax.errors import InputError, UnknownNameError
from verax.frame.current import active_frame
from verax.frame.custom_objects import custom_object_scope
from verax.frame.graph import Graph
from verax.frame.registry import Registry
from verax.frame.serialized import serialize_keras_object
from verax.frame.symbolic import SymbolicTensor, infer_spec, is_symbolic
from verax.layers import Layer
from verax.model import summary, weights
from verax.model.configuration import functional_config, functional_parts, is_functional
from verax.model.learner import Learner
from verax.model.structure import match_inputs

__all__ = ["Model", "model_registry"]

model_registry = Registry("model")


class Model(Learner):
    """A model: functional (``Model(inputs, outputs)``), or a subclass with a ``call``.

    Args:
        inputs: A symbolic tensor, or a list or dict of them, made with ``Input``.
        outputs: Symbolic tensors made from them by calling layers.
        name, trainable, dtype, remat: As in ``Layer``.

    >>> import numpy as np, verax
    >>> verax.utils.set_random_seed(0)
    >>> x = verax.Input((2,))
    >>> model = verax.Model(x, verax.layers.Dense(1)(x))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> history = model.fit(np.ones((4, 2)), np.ones(4), epochs=2, verbose=0)
    >>> history.history["loss"][1] < history.history["loss"][0]
    True
    """

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        remat: bool | None = None,
    ):
        super().__init__(name=name, trainable=trainable, dtype=dtype, remat=remat)
        if (inputs is None) != (outputs is None):
            raise InputError(
                "A functional model is made of inputs and outputs.",
                received="only " + ("outputs" if inputs is None else "inputs"),
                do="Pass both, or subclass Model and define call.",
            )
        if inputs is not None:
            self._model.graph = Graph.between(inputs, outputs)
            self._model.inputs = inputs
            self._core.built = True

    # ---- as a layer ----------------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of a shape, without data: ``model.build((None, 8))``."""
        if active_frame() is not None:
            return  # called by the frame: the layers build themselves as ``call`` runs

        def is_shape(value: Any) -> bool:
            return isinstance(value, tuple) and all(n is None or isinstance(n, int) for n in value)

        self.prepare(
            jax.tree.map(lambda s: SymbolicTensor((None, *s[1:]), self.compute_dtype), input_shape, is_leaf=is_shape)
        )

    build.traces = True  # type: ignore[attr-defined]

    def call(self, inputs: Any) -> Any:
        """Run the graph."""
        if self._model.graph is None:
            return super().call(inputs)
        return self._model.graph.run(match_inputs(self, self._model.graph.inputs, inputs))

    def children(self) -> Iterator[tuple[str, str, Any]]:
        """The graph's layers by name, then what attributes hold."""
        if self._model.graph is not None:
            for i, layer in enumerate(self._model.graph.layers):
                yield layer.name, str(i), layer
        yield from super().children()

    @property
    def layers(self) -> list[Layer]:
        """The layers directly below."""
        return [child for _, _, child in self.children() if isinstance(child, Layer)]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by name or by position."""
        layers = self.layers
        if index is not None:
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise UnknownNameError.among(f"layer of {self.name!r}", name, [layer.name for layer in layers])

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs the model was made or built with."""
        return jax.tree.leaves(self._model.inputs, is_leaf=is_symbolic)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs of a functional model."""
        graph = self._model.graph
        return [] if graph is None else jax.tree.leaves(graph.outputs, is_leaf=is_symbolic)

    @property
    def input(self) -> Any:
        """The symbolic inputs, in the structure given."""
        return self._model.inputs

    @property
    def output(self) -> Any:
        """The symbolic outputs of a functional model, in the structure given."""
        return None if self._model.graph is None else self._model.graph.outputs

    @property
    def input_shape(self) -> Any:
        """The shape of the input, or their structure."""
        return jax.tree.map(lambda t: t.shape, self._model.inputs, is_leaf=is_symbolic)

    @property
    def output_shape(self) -> Any:
        """The shape of the output, or their structure."""
        graph = self._model.graph
        outputs = graph.outputs if self._is_functional and graph else infer_spec(self, (self._model.inputs,), {})
        return jax.tree.map(lambda t: t.shape, outputs, is_leaf=is_symbolic)

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print the layers: output shape, parameters, whether they are trained, what in them depends on the mode."""
        summary.show(self, print_fn)

    # ---- as a configuration --------------------------------------------------------------------------------------

    @property
    def _is_functional(self) -> bool:
        """Whether inputs and outputs are all there is to say of it."""
        return self._model.graph is not None and is_functional(type(self), Model)

    @property
    def _described_as(self) -> tuple[str, str] | None:
        """(module, class) in a configuration, where they are not the class's own."""
        return ("keras.src.models.functional", "Functional") if self._is_functional and type(self) is Model else None

    def get_config(self) -> dict[str, Any]:
        """A functional model's layers and how they are called, in Keras' form; else the constructor's arguments."""
        if not self._is_functional:
            return super().get_config()
        assert self._model.graph is not None
        return functional_config(self.name, self.trainable, self._model.graph)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """A new model, with new weights, of a configuration that ``get_config`` gave: Keras' or ours.

        Args:
            config: The configuration.
            custom_objects: name -> class or function, for what is not of Verax and not registered.
        """
        with custom_object_scope(custom_objects):
            if not {"layers", "input_layers", "output_layers"} <= config.keys():
                return super().from_config(config)
            inputs, outputs = functional_parts(config)
            model = cls(inputs, outputs, name=config.get("name"))
            if config.get("trainable") is False:
                model.trainable = False
            return model

    def to_json(self, **kwargs: Any) -> str:
        """The model's configuration, and how it was compiled, as JSON: what ``models.model_from_json`` reads.

        Args:
            kwargs: Of ``json.dumps``, such as ``indent``.
        """
        return json.dumps(serialize_keras_object(self), **kwargs)

    # ---- weights on disk -----------------------------------------------------------------------------------------

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write all weights to a ``.npz`` file, path by path; the old file or the new one, never a mix."""
        weights.save(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath: Any) -> None:
        """Read weights written by ``save_weights``; nothing is changed when one does not fit."""
        weights.load(self, filepath)


model_registry.add(Model, "Functional")
