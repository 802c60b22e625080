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
from verax.layers import Layer, layer_registry
from verax.model import exporting, files, summary
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
            self._model.built_with = input_shape
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

    def stored_parts(self) -> Iterator[tuple[str, Any]]:
        """The graph's layers, its Inputs among them, then what attributes hold."""
        graph = self._model.graph
        if graph is not None:
            starts = [t.node.target for t in jax.tree.leaves(graph.inputs, is_leaf=is_symbolic)]
            inside = {id(layer) for layer in graph.layers}
            yield "layers", [*(s for s in starts if id(s) not in inside), *graph.layers]
        yield from super().stored_parts()

    def _listed_parts(self) -> dict[str, Any]:
        return {"layers": self.layers} if self._model.graph is None else {}

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
        return jax.tree.leaves(self.input, is_leaf=is_symbolic)

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
        return jax.tree.map(lambda t: t.shape, self.input, is_leaf=is_symbolic)

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

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Write the whole model to a ``.keras`` file, which ``verax.saving.load_model`` and Keras' load: see
        ``verax.saving.save_model``."""
        files.save_model(self, filepath, overwrite, zipped, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Write all weights to a file; its suffix says in which form: see ``verax.saving.save_weights``."""
        files.save_weights(self, filepath, overwrite, max_shard_size)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Set all weights to those of a file; nothing is changed when one does not fit: see
        ``verax.saving.load_weights``."""
        files.load_weights(self, filepath, skip_mismatch, **kwargs)

    # ---- as a file that predicts by itself -----------------------------------------------------------------------

    def export(
        self, filepath: Any, format: str = "stablehlo", verbose: Any = None, input_signature: Any = None, **kwargs: Any
    ) -> None:
        """Write the model's predictions as a file that needs neither its code nor its layers.

        Args:
            filepath: Where; what is there is replaced when the new file is whole.
            format: ``"stablehlo"``: read by ``verax.load_exported``, for CPUs, GPUs and TPUs in one file. ``"onnx"``:
                read by ONNX Runtime and others; needs the extra ``onnx``.
            verbose: Whether to print what was written; None does.
            input_signature: What the model takes, where that is not what it was built for: an ``InputSpec``, a
                symbolic tensor or an array for each input, in the model's structure. Sizes that are None stay open.
            kwargs: Of ``"stablehlo"``: ``platforms``, some of "cpu", "cuda", "rocm", "tpu" (the first, second and last
                when not given). Of ``"onnx"``: ``opset_version``.

        The file holds inference: dropout and noise are off, batch normalization uses its averages, and preprocessing
        layers of the model are part of it. What is drawn or kept from batch to batch begins each call anew.

        Raises:
            UnknownNameError, InputError: A format or option that there is not; sizes that have to be said; a model that
                calls back to Python.
            DtypeError: An input is text.
            MissingExtraError: The library that writes the format is not installed.

        Differs from Keras: ``format`` is ``"stablehlo"``, not ``"tf_saved_model"``: Verax does without TensorFlow.
        """
        exporting.export(self, filepath, format, verbose, input_signature, kwargs)


model_registry.add(Model, "Functional")
layer_registry.add(Model, "Functional")  # wrappers take models too
