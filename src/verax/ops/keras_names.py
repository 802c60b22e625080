"""Functions whose names or arguments in ``keras.ops`` differ from those of jax: their Keras forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from verax import activations

__all__ = ["FUNCTIONS", "NOT_OFFERED", "SIGNATURES"]


def _each(names: str, parameters: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), parameters)


#: name -> Keras' parameters in Keras' order. A bare name is passed on by position; ``name=`` by keyword, and
#: ``name=other`` under the keyword jax uses. What is not listed has the same parameters in both.
SIGNATURES: dict[str, str] = {
    **_each(
        "add subtract multiply divide true_divide floor_divide mod power maximum minimum equal not_equal greater "
        "greater_equal less less_equal logical_and logical_or logical_xor logaddexp logaddexp2 arctan2 hypot dot vdot "
        "inner outer kron matmul nextafter",
        "x1 x2",
    ),
    **_each(
        "all any amax amin argmax argmin mean median std sum var ptp nanmax nanmin nanmean nanmedian nanstd nansum "
        "nanvar nanprod nanargmax nanargmin logsumexp",
        "x axis= keepdims=",
    ),
    "append": "x1 x2 axis=",
    "argsort": "x axis=",
    "array_split": "x indices_or_sections axis=",
    "average": "x axis= weights=",
    "broadcast_to": "x shape",
    "clip": "x x_min x_max",
    "concatenate": "xs axis=",
    "count_nonzero": "x axis=",
    "cumprod": "x axis= dtype=",
    "cumsum": "x axis= dtype=",
    "diag": "x k=",
    "diagonal": "x offset= axis1= axis2=",
    "dstack": "xs",
    "expand_dims": "x axis",
    "flip": "x axis=",
    "full_like": "x fill_value dtype=",
    "hstack": "xs",
    "isclose": "x1 x2 rtol= atol= equal_nan=",
    "isin": "x1 x2 assume_unique= invert=",
    "max": "x axis= keepdims= initial=",
    "min": "x axis= keepdims= initial=",
    "moveaxis": "x source destination",
    "nan_to_num": "x nan= posinf= neginf=",
    "ndim": "x",
    "negative": "x",
    "one_hot": "x num_classes axis= dtype=",
    "ones_like": "x dtype=",
    "percentile": "x q axis= method= keepdims=",
    "prod": "x axis= keepdims= dtype=",
    "quantile": "x q axis= method= keepdims=",
    "ravel": "x",
    "repeat": "x repeats axis=",
    "reshape": "x newshape",
    "roll": "x shift axis=",
    "round": "x decimals=",
    "searchsorted": "sorted_sequence values side=",
    "size": "x",
    "sort": "x axis=",
    "split": "x indices_or_sections axis=",
    "squeeze": "x axis=",
    "stack": "x axis=",
    "stop_gradient": "variable",
    "swapaxes": "x axis1 axis2",
    "take": "x indices axis=",
    "take_along_axis": "x indices axis=",
    "tensordot": "x1 x2 axes=",
    "tile": "x repeats",
    "trace": "x offset= axis1= axis2=",
    "transpose": "x axes=",
    "tril": "x k=",
    "triu": "x k=",
    "vstack": "xs",
    "where": "condition x1 x2",
    "zeros_like": "x dtype=",
}

#: Names that jax has with another meaning than Keras', and that are not written here.
NOT_OFFERED = frozenset({"conv", "conv_transpose", "while_loop"})


def cast(x: Any, dtype: Any) -> jax.Array:
    """``x`` in another dtype."""
    return jnp.asarray(x).astype(dtype)


def saturate_cast(x: Any, dtype: Any) -> jax.Array:
    """``x`` in another dtype, clipped to its range first."""
    x = jnp.asarray(x)
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        # The largest integers are no exact floats: compare with the nearest ones below.
        low, high = (np.asarray(n).astype(x.dtype) for n in (info.min, info.max))
        if jnp.issubdtype(x.dtype, jnp.floating) and float(high) > info.max:
            high = np.nextafter(high, np.asarray(0, x.dtype))
        x = jnp.clip(x, low, high)
    return x.astype(dtype)


def convert_to_tensor(x: Any, dtype: Any = None) -> jax.Array:
    """``x`` as an array."""
    return jnp.asarray(x, dtype)


def divide_no_nan(x1: Any, x2: Any) -> jax.Array:
    """``x1 / x2``, 0 where ``x2`` is 0; the gradient is 0 there too."""
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    safe = jnp.where(x2 == 0, jnp.ones_like(x2), x2)
    quotient = x1 / safe
    return jnp.where(x2 == 0, jnp.zeros_like(quotient), quotient)


def get_item(x: Any, key: Any) -> jax.Array:
    """``x[key]``."""
    return x[key]


def leaky_relu(x: Any, negative_slope: float = 0.2) -> jax.Array:
    """``x`` where positive, ``negative_slope * x`` elsewhere."""
    return jax.nn.leaky_relu(x, negative_slope)


def moments(x: Any, axes: Any, keepdims: bool = False) -> tuple[jax.Array, jax.Array]:
    """Mean and (biased) variance over ``axes``."""
    axes = tuple(axes) if isinstance(axes, (list, tuple)) else axes
    return jnp.mean(x, axes, keepdims=keepdims), jnp.var(x, axes, keepdims=keepdims)


def multi_hot(inputs: Any, num_classes: int, axis: int = -1, dtype: Any = "float32") -> jax.Array:
    """1 for each class that occurs along the last axis of ``inputs`` (batch, n)."""
    hot = jax.nn.one_hot(inputs, num_classes, dtype=dtype, axis=axis)
    return jnp.max(hot, axis=1 if jnp.ndim(inputs) > 1 else 0)


def normalize(x: Any, axis: int = -1, order: int = 2, epsilon: float = 1e-7) -> jax.Array:
    """``x`` divided by its norm along an axis, or by ``epsilon`` where that is larger."""
    return x / jnp.maximum(jnp.linalg.norm(x, order, axis, keepdims=True), epsilon)


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> jax.Array:
    """``x`` with elements before and after each axis."""
    if constant_values is None:
        return jnp.pad(x, pad_width, mode)
    return jnp.pad(x, pad_width, mode, constant_values=constant_values)


def scatter(indices: Any, values: Any, shape: tuple[int, ...]) -> jax.Array:
    """Zeros of ``shape``, with ``values`` added at ``indices`` (n, rank)."""
    indices, values = jnp.asarray(indices), jnp.asarray(values)
    return jnp.zeros(shape, values.dtype).at[tuple(jnp.moveaxis(indices, -1, 0))].add(values)


def scatter_update(inputs: Any, indices: Any, updates: Any) -> jax.Array:
    """``inputs`` with ``updates`` at ``indices`` (n, rank)."""
    return jnp.asarray(inputs).at[tuple(jnp.moveaxis(jnp.asarray(indices), -1, 0))].set(updates)


def slice_(inputs: Any, start_indices: Sequence[int], shape: Sequence[int]) -> jax.Array:
    """The block of ``shape`` that begins at ``start_indices``."""
    return lax.dynamic_slice(inputs, start_indices, shape)


def slice_update(inputs: Any, start_indices: Sequence[int], updates: Any) -> jax.Array:
    """``inputs`` with ``updates`` as the block that begins at ``start_indices``."""
    return lax.dynamic_update_slice(inputs, updates, start_indices)


def top_k(x: Any, k: int) -> tuple[jax.Array, jax.Array]:
    """The ``k`` largest values along the last axis, sorted, and where they stand."""
    values, indices = lax.top_k(x, k)
    return values, indices


def in_top_k(targets: Any, predictions: Any, k: int) -> jax.Array:
    """Whether each target (batch,) is among the ``k`` largest predictions (batch, classes); ties count."""
    own = jnp.take_along_axis(predictions, jnp.asarray(targets)[:, None], axis=-1)
    return jnp.sum(predictions > own, axis=-1) < k


def logdet(x: Any) -> jax.Array:
    """The logarithm of the determinant's absolute value."""
    return jnp.linalg.slogdet(x)[1]


def vectorized_map(function: Callable[..., Any], elements: Any) -> Any:
    """``function`` of each element along the first axis."""
    return jax.vmap(function)(elements)


#: name -> function, for names jax has not, or not in this form.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    getattr(f, "__name__").rstrip("_"): f  # noqa: B009 (jitted functions have names that their type does not say)
    for f in (
        cast,
        saturate_cast,
        convert_to_tensor,
        divide_no_nan,
        get_item,
        leaky_relu,
        moments,
        multi_hot,
        normalize,
        pad,
        scatter,
        scatter_update,
        slice_,
        slice_update,
        top_k,
        in_top_k,
        logdet,
        vectorized_map,
        activations.sigmoid,
        activations.softmax,
        activations.softsign,
        activations.hard_shrink,
        activations.soft_shrink,
        activations.tanh_shrink,
        activations.threshold,
        jnp.linalg.cholesky,
        jnp.linalg.det,
        jnp.linalg.eigh,
        jnp.linalg.inv,
        jnp.linalg.lstsq,
        jnp.linalg.norm,
        jnp.linalg.pinv,
        jnp.linalg.qr,
        jnp.linalg.slogdet,
        jnp.linalg.solve,
        jnp.linalg.svd,
        jax.ops.segment_max,
        jax.ops.segment_min,
        jax.ops.segment_prod,
        jax.ops.segment_sum,
        jax.scipy.special.erfinv,
        jax.scipy.linalg.solve_triangular,
    )
}
