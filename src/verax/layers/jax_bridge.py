"""Functions and modules of other JAX libraries as layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError
from verax.frame.policy import is_float
from verax.frame.seeds import next_key
from verax.frame.variable import Variable
from verax.layers.base import Layer, LayerArguments, layer_registry

__all__ = ["FlaxLayer", "JaxLayer"]

#: What a layer's functions may take.
_CALL = ("params", "state", "rng", "inputs", "training")
_INIT = ("rng", "inputs", "training")


@layer_registry.add
class JaxLayer(Layer):
    """A function of arrays with parameters of its own as a layer, as Haiku, Equinox or plain JAX have it.

    ``call_fn`` takes some of these, in any order: ``params`` (what gradients reach), ``state`` (what a training pass
    replaces), ``rng`` (a key in training, else None), ``inputs``, ``training`` (a bool). It returns the outputs, or
    (outputs, new state) where it takes a ``state``. Both are structures of arrays, any pytree of jax, so an Equinox
    module too: ``JaxLayer(lambda params, inputs: jax.vmap(params)(inputs), params=module)``. Each array becomes a
    weight, named ``variable``, ``variable_1`` ... in the structure's order. Leaves that are no numbers (functions,
    strings) stay as they are.

    Differs from Keras: integers among the parameters are not trained (there training fails).

    ``init_fn``, where there is no value for either, makes the parameters, or (parameters, state) where ``call_fn``
    takes a state; it takes some of ``rng``, ``inputs`` (ones, with 1 for an unknown size), ``training`` (True).

    Args:
        call_fn: What the layer computes.
        init_fn: What makes its values; None where ``params`` or ``state`` are given.
        params, state: Structures of arrays to start from. They are no part of the configuration.
        seed: Another seed gives other values and draws for the same global seed; None for those of the global one.
        native_serialization_platforms: None: it says how Keras exports to TensorFlow.

    Raises:
        InputError: A function that takes something else, or no inputs; values that nothing makes; a new state of
            another structure.

    >>> def call_fn(params, inputs):
    ...     return inputs @ params["w"] + params["b"][None]
    >>> layer = JaxLayer(call_fn, params={"w": jnp.ones((3, 2)), "b": jnp.zeros(2)})
    >>> layer(jnp.ones((1, 3))).tolist(), [w.shape for w in layer.weights]
    ([[3.0, 3.0]], [(2,), (3, 2)])
    """

    def __init__(
        self,
        call_fn: Callable[..., Any],
        init_fn: Callable[..., Any] | None = None,
        params: Any = None,
        state: Any = None,
        seed: int | None = None,
        native_serialization_platforms: None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        if native_serialization_platforms is not None:
            raise InputError(
                f"{type(self).__name__} was made.",
                received=f"native_serialization_platforms={native_serialization_platforms!r}",
                because="it says how Keras exports to TensorFlow, and nothing is exported here",
            )
        self.call_fn = call_fn
        self.init_fn = init_fn
        self.seed = seed
        self._takes = _taken(call_fn, "call_fn", _CALL)
        self._init_takes = () if init_fn is None else _taken(init_fn, "init_fn", _INIT)
        self._params, self._state = _Structure(), _Structure()
        some = params is not None or state is not None
        if not some and init_fn is None and {"params", "state"} & set(self._takes):
            raise InputError(
                f"{type(self).__name__} was made.",
                received="neither init_fn nor params nor state",
                because=f"call_fn takes {' and '.join(n for n in ('params', 'state') if n in self._takes)}",
                do="Give init_fn, or the values themselves.",
            )
        self._first = (params, state) if some else None
        if some:
            self.build((None,))
            self._first = None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments without the values."""
        return {name: value for name, value in super().get_config().items() if name not in ("params", "state")}

    def build(self, input_shape: Any) -> None:
        """Make a weight of each array."""
        params, state = self._first or self._initial(input_shape)
        self._params = self._weights(params, trainable=True)
        self._state = self._weights(state, trainable=False)

    def call(self, inputs: Any, training: bool) -> Any:
        """What ``call_fn`` makes of ``inputs``."""
        offered = {
            "params": self._params.values,
            "state": self._state.values,
            "rng": lambda: self.call_rng(self.draw_key(self.seed) if training else None),
            "inputs": lambda: inputs,
            "training": lambda: training,
        }
        output = self.call_fn(*(offered[name]() for name in self._takes))
        if "state" in self._takes:
            output, state = output
            self._state.assign(state, f"{type(self).__name__} {self.name!r} was called.")
        return output

    def call_rng(self, key: jax.Array | None) -> Any:
        """What ``call_fn`` gets as ``rng``."""
        return key

    def init_rng(self, key: jax.Array) -> Any:
        """What ``init_fn`` gets as ``rng``."""
        return key

    def _initial(self, input_shape: Any) -> tuple[Any, Any]:
        if self.init_fn is None:
            return None, None
        shapes = jax.tree.map(_known, input_shape, is_leaf=_is_shape)
        offered = {
            "rng": lambda: self.init_rng(next_key() if self.seed is None else jax.random.key(self.seed)),
            "inputs": lambda: jax.tree.map(jnp.ones, shapes, is_leaf=_is_shape),
            "training": lambda: True,
        }
        made = self.init_fn(*(offered[name]() for name in self._init_takes))
        return made if "state" in self._takes else (made, None)

    def _weights(self, values: Any, *, trainable: bool) -> _Structure:
        leaves, tree = jax.tree.flatten(values)
        return _Structure([self._weight(leaf, trainable) for leaf in leaves], tree)

    def _weight(self, leaf: Any, trainable: bool) -> Any:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise InputError(
                f"{type(self).__name__} {self.name!r} keeps its values.",
                received="a key among them",
                because="weights are numbers",
                do="Take rng in call_fn, or keep jax.random.key_data(key).",
            )
        if not isinstance(leaf, (jax.Array, np.ndarray, np.generic, bool, int, float)):
            return leaf
        array = jnp.asarray(leaf)
        dtype = None if is_float(array.dtype) else array.dtype.name
        return self.add_weight(array.shape, lambda shape, dtype: array, dtype, trainable and dtype is None)


class _Structure:
    """A structure of weights, and of leaves that are none."""

    def __init__(self, leaves: list[Any] | None = None, tree: Any = None):
        self.leaves = leaves or []
        self.tree = jax.tree.structure(None) if tree is None else tree

    def values(self) -> Any:
        return self.tree.unflatten([leaf.value if isinstance(leaf, Variable) else leaf for leaf in self.leaves])

    def assign(self, values: Any, asked: str) -> None:
        """Set the weights to new values of the same structure."""
        leaves, tree = jax.tree.flatten(values)
        if tree != self.tree:
            raise InputError(
                asked,
                received=f"a new state of structure {tree}",
                because=f"its state has the structure {self.tree}",
                do="Return the state in the structure it came in.",
            )
        for variable, value in zip(self.leaves, leaves, strict=True):
            if isinstance(variable, Variable):
                variable.assign(value)


@layer_registry.add
class FlaxLayer(JaxLayer):
    """A module of Flax (``flax.linen``) as a layer.

    The collection ``params`` is what gradients reach; all others (``batch_stats``, ...) are state, which a training
    pass replaces. Where the method takes ``training``, the module is told the mode. Draws come from the stream
    ``dropout``. Whatever has ``init`` and ``apply`` of this form will do: this layer imports nothing.

    A module of ``flax.nnx`` is a ``JaxLayer`` of what ``nnx.split`` makes of it::

        graph, params, state = nnx.split(module, nnx.Param, ...)

        def call_fn(params, state, inputs, training):
            module = nnx.merge(graph, params, state)
            module.train() if training else module.eval()
            outputs = module(inputs)
            return outputs, nnx.split(module, nnx.Param, ...)[2]

        layer = verax.layers.JaxLayer(call_fn, params=params, state=state)

    Args:
        module: The module.
        method: Which of its methods computes: a name, a method, or None for ``__call__``.
        variables: Collection -> structure of arrays, to start from; None to call the module's ``init``. They are no
            part of the configuration.

    Raises:
        InputError: No module of Flax.
    """

    def __init__(
        self,
        module: Any,
        method: Any = None,
        variables: Mapping[str, Any] | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        if not (callable(getattr(module, "init", None)) and callable(getattr(module, "apply", None))):
            raise InputError(
                "FlaxLayer was made.",
                received=f"{module!r} of type {type(module).__name__}",
                because="it wraps a module of flax.linen, which has init and apply",
                do="For a flax.nnx module use JaxLayer, as FlaxLayer's documentation shows.",
            )
        self.module = module
        self.method = method
        told = getattr(module, method) if isinstance(method, str) else method or type(module).__call__
        params, state = (None, None) if variables is None else _parted(variables)

        def apply(params: Any, state: Any, rng: Any, inputs: Any, **mode: bool) -> tuple[Any, Any]:
            # All collections but the parameters may change, and come back.
            output, changed = module.apply(
                {**params, **state}, inputs, rngs=rng, method=method, mutable=list(state), **mode
            )
            return output, {**state, **changed}

        def init(rng: Any, inputs: Any, **mode: bool) -> tuple[Any, Any]:
            return _parted(module.init(rng, inputs, method=method, **mode))

        def apply_in_mode(params: Any, state: Any, rng: Any, inputs: Any, training: bool) -> tuple[Any, Any]:
            return apply(params, state, rng, inputs, training=training)

        def init_in_mode(rng: Any, inputs: Any, training: bool) -> tuple[Any, Any]:
            return init(rng, inputs, training=training)

        def apply_alone(params: Any, state: Any, rng: Any, inputs: Any) -> tuple[Any, Any]:
            return apply(params, state, rng, inputs)

        def init_alone(rng: Any, inputs: Any) -> tuple[Any, Any]:
            return init(rng, inputs)

        modal = "training" in inspect.signature(told).parameters
        functions = (apply_in_mode, init_in_mode) if modal else (apply_alone, init_alone)
        super().__init__(*functions, params, state, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments without the values; a method of the module by its name."""
        config = {name: value for name, value in super().get_config().items() if name != "variables"}
        if getattr(config.get("method"), "__self__", None) is self.module:
            config["method"] = config["method"].__name__
        return config

    def call_rng(self, key: jax.Array | None) -> Any:
        """The streams of draws: none in inference."""
        return {} if key is None else {"dropout": key}

    def init_rng(self, key: jax.Array) -> Any:
        """The streams from which first values are drawn."""
        params, dropout = jax.random.split(key)
        return {"params": params, "dropout": dropout}


def _parted(variables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The collection of parameters, and all others."""
    params = {name: values for name, values in variables.items() if name == "params"}
    return params, {name: values for name, values in variables.items() if name != "params"}


def _taken(function: Callable[..., Any], argument: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names of what ``function`` takes, checked."""
    names = tuple(inspect.signature(function).parameters)
    if "inputs" not in names or not set(names) <= set(known):
        raise InputError(
            f"{argument} was given.",
            received=f"a function of ({', '.join(names)})",
            because=f"it takes inputs, and may take {', '.join(n for n in known if n != 'inputs')}",
            do="Name its parameters so.",
        )
    return names


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(n is None or isinstance(n, int) for n in cast("tuple[Any]", value))


def _known(shape: Any) -> tuple[int, ...]:
    return tuple(1 if n is None else n for n in shape)
