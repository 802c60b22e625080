"""Dense, Embedding and the small layers every model begins with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from verax import activations, constraints, initializers, regularizers
from verax.errors import DataError, InputError, ShapeError
from verax.frame.serialized import revived
from verax.layers.base import InputSpec, Layer, LayerArguments, along_axis, as_float, layer_registry
from verax.ops.contraction import product
from verax.ops.stretching import stretch, widened

__all__ = ["Activation", "Dense", "Embedding", "Identity", "Lambda", "Masking"]


@layer_registry.add
class Dense(Layer):
    """An affine map of the last axis: ``activation(x @ kernel + bias)``.

    ``x`` (batch, ..., features) -> (batch, ..., units). Weights: ``kernel`` (features, units), ``bias`` (units,).
    Integer inputs are cast to the compute dtype.

    Args:
        units: The size of the last axis of the output.
        activation: A name, a function, or None for the identity.
        use_bias: Whether a bias is added.
        kernel_initializer, bias_initializer: Where the weights start.
        kernel_regularizer, bias_regularizer, activity_regularizer: Penalties.
        kernel_constraint, bias_constraint: What is applied to the weights after each update.

    Raises:
        ShapeError: When the input has one axis only, or another number of features than the layer was built for.

    >>> layer = Dense(2, kernel_initializer="ones")
    >>> layer(np.float32([[1, 2, 3]])).tolist()
    [[6.0, 6.0]]
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units < 1:
            raise InputError("Dense was made.", received=f"units={units!r}", because="units is a positive integer")
        self.units = int(units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec = InputSpec(min_ndim=2)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel and the bias."""
        _need_axes(self, input_shape, 2)
        self.kernel = self.add_weight(
            (input_shape[-1], self.units),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
        self.input_spec = InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def call(self, x: jax.Array) -> jax.Array:
        """Map ``x`` (batch, ..., features) to (batch, ..., units)."""
        x = product(as_float(self, x), self.kernel.value)
        if self.bias is not None:
            x = x + stretch(along_axis(self.bias.value, x.ndim, -1), x)
        return x if self.activation is None else self.activation(x)


def _need_axes(layer: Layer, shape: tuple[int | None, ...], n: int) -> None:
    # ``build`` may run before the input is checked; a shape without features would fail with a bare IndexError.
    if len(shape) < n:
        raise ShapeError(
            f"{type(layer).__name__} {layer.name!r} was called.",
            received=f"an input of shape {shape}",
            because=f"it needs at least {n} axes (the first is the batch), and this has {len(shape)}",
            do="Add the missing axis: x[..., None] for one feature, or x[None] for a batch of one.",
        )


@layer_registry.add
class Activation(Layer):
    """An activation function as a layer; the shape stays.

    Args:
        activation: A name or a function.

    >>> Activation("relu")(np.float32([-1, 2])).tolist()
    [0.0, 2.0]
    """

    supports_masking = True

    def __init__(self, activation: Any, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, x: jax.Array) -> jax.Array:
        """Apply the activation to ``x``."""
        return self.activation(x)


@layer_registry.add
class Identity(Layer):
    """What it is called on, unchanged."""

    supports_masking = True

    def call(self, x: Any) -> Any:
        """Return ``x``."""
        return x


@layer_registry.add
class Lambda(Layer):
    """A function of arrays as a layer.

    Differs from Keras: the output's shape comes from tracing the function; ``output_shape``, where given, is checked
    against it.

    Args:
        function: A function ``x -> array``. It may take ``mask``; it must not hold variables of its own.
        output_shape: The shape of one output row, to be checked; None to take what comes.
        mask: The mask of the output: an array, or a function ``(inputs, mask) -> mask``.
        arguments: Further keyword arguments of the function.

    >>> Lambda(lambda x: x * 2)(np.float32([1, 2])).tolist()
    [2.0, 4.0]
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: tuple[int | None, ...] | None = None,
        mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        self.function = function
        self.output_shape = None if output_shape is None else tuple(output_shape)
        self.mask = mask
        self.arguments = dict(arguments or {})
        self.supports_masking = mask is not None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """A new layer; a function's name is looked up among those that are registered, and custom objects."""
        return super().from_config({key: revived(value) for key, value in config.items()})

    def call(self, x: Any, mask: Any = None) -> Any:
        """Apply the function to ``x``."""
        further = {"mask": mask} if _takes_mask(self.function) and "mask" not in self.arguments else {}
        output = self.function(x, **further, **self.arguments)
        if self.output_shape is not None:
            row = tuple(output.shape[1:])
            if len(row) != len(self.output_shape) or any(
                want is not None and want != have for want, have in zip(self.output_shape, row, strict=True)
            ):
                raise ShapeError(
                    f"Lambda {self.name!r} was called.",
                    received=f"rows of shape {row} from its function",
                    because=f"output_shape says {self.output_shape}",
                    do="Leave output_shape out: the shape is found by tracing the function.",
                )
        return output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask given to the constructor."""
        return self.mask(inputs, mask) if callable(self.mask) else self.mask


def _takes_mask(function: Callable[..., Any]) -> bool:
    try:
        return "mask" in inspect.signature(function).parameters
    except ValueError:  # some built-in functions have no signature
        return False


@layer_registry.add
class Masking(Layer):
    """Marks steps whose features all equal ``mask_value``, and sets them to 0.

    ``x`` (batch, time, features) -> the same shape; mask (batch, time), True where a step counts.

    Args:
        mask_value: The value that marks a step as absent.
    """

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def call(self, x: jax.Array) -> jax.Array:
        """Set masked steps to 0."""
        counts = jnp.any(x != jnp.asarray(self.mask_value, x.dtype), axis=-1, keepdims=True)
        return jnp.where(counts, x, jnp.zeros_like(x))

    def compute_mask(self, inputs: jax.Array, mask: Any = None) -> jax.Array:
        """True where any feature of ``inputs`` differs from the mask value."""
        return jnp.any(inputs != jnp.asarray(self.mask_value, inputs.dtype), axis=-1)


@layer_registry.add
class Embedding(Layer):
    """A table of vectors, looked up by index.

    Indices (batch, ...), integers in [0, input_dim) -> (batch, ..., output_dim). Weight: ``embeddings``
    (input_dim, output_dim). With ``mask_zero`` the mask is ``indices != 0``.

    An index out of range raises ``DataError`` where the indices are values (an eager call). Inside a compiled program,
    which cannot raise, its vector is NaN, so that the loss says so.

    Differs from Keras: a negative index is out of range too (Keras on JAX takes the table from its end).

    Args:
        input_dim: The number of indices.
        output_dim: The size of a vector.
        embeddings_initializer, embeddings_regularizer, embeddings_constraint: As for any weight.
        mask_zero: Whether index 0 is padding, masked out for the layers that follow.
        weights: The table to start from, an array (or a list of it); it is no part of the configuration.

    >>> Embedding(3, 2, embeddings_initializer="ones")(np.array([[0, 2]])).shape
    (1, 2, 2)
    """

    autocast = False  # indices given as floats must not be rounded to a half-precision compute dtype
    supports_masking = False

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        for name, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
                because = "it is a positive integer"
                raise InputError(f"{type(self).__name__} was made.", received=f"{name}={size!r}", because=because)
        self.input_dim = int(input_dim)
        self.output_dim = int(output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        if weights is not None:
            self.build((None,))
            self.set_weights(weights if isinstance(weights, (list, tuple)) else [weights])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments without ``weights``."""
        return {name: value for name, value in super().get_config().items() if name != "weights"}

    def build(self, input_shape: Any) -> None:
        """Make the table."""
        self.embeddings = self.add_weight(
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
            autocast=False,  # a few rows are cast, not the table, and their gradients are summed in its dtype
            name="embeddings",
        )

    def call(self, indices: jax.Array) -> jax.Array:
        """Look ``indices`` (batch, ...) up."""
        indices = indices.astype("int32")
        out_of_range = (indices < 0) | (indices >= self.input_dim)
        if not isinstance(indices, Tracer) and bool(jnp.any(out_of_range)):
            worst = int(jnp.max(indices)) if int(jnp.max(indices)) >= self.input_dim else int(jnp.min(indices))
            raise DataError(
                f"Embedding {self.name!r} looked up an index.",
                received=f"index {worst}, in an input of shape {tuple(indices.shape)}",
                because=f"its table has the indices 0 to {self.input_dim - 1}",
                do=f"Use input_dim of at least {worst + 1}." if worst > 0 else "Use indices from 0 on.",
            )
        rows = jnp.where(out_of_range, self.input_dim, indices)
        found = jnp.take(widened(self.embeddings.value), rows, axis=0, mode="fill", fill_value=jnp.nan)
        return found.astype(self.compute_dtype)

    def compute_mask(self, inputs: jax.Array, mask: Any = None) -> jax.Array | None:
        """True where the index is not 0."""
        return inputs != jnp.zeros((), inputs.dtype) if self.mask_zero else None
