"""Activations: functions of one array, element by element where no axis is named.

Arrays of any float dtype keep it; integers become float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from verax.frame.links import note_link
from verax.frame.registry import Registry
from verax.frame.settings import floatx
from verax.frame.speed import fast_kernels

__all__ = [
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]


def _float(x: Any) -> jax.Array:
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(floatx())


# -- probabilities -------------------------------------------------------------------------------------------------


def softmax(x: Any, axis: int = -1) -> jax.Array:
    """eˣ / Σ eˣ along ``axis``: probabilities of exclusive classes.

    Over the last axis of a model, the frame notes ``x`` as the logits, from which a crossentropy can be computed.

    >>> softmax([0.0, 0.0]).tolist()
    [0.5, 0.5]
    """
    x = _float(x)
    output = jax.nn.softmax(x, axis=axis)
    if axis in (-1, x.ndim - 1):
        note_link(output, "softmax", x)
    return output


def log_softmax(x: Any, axis: int = -1) -> jax.Array:
    """x − ln Σ eˣ along ``axis``.

    >>> print(f"{log_softmax([0.0, 0.0])[0]:.4f}")
    -0.6931
    """
    return jax.nn.log_softmax(_float(x), axis=axis)


def sigmoid(x: Any) -> jax.Array:
    """1 / (1 + e⁻ˣ): the probability of yes. In a model, the frame notes ``x`` as its logits.

    >>> sigmoid(0.0).item()
    0.5
    """
    x = _float(x)
    output = jax.nn.sigmoid(x)
    note_link(output, "sigmoid", x)
    return output


def log_sigmoid(x: Any) -> jax.Array:
    """−ln(1 + e⁻ˣ).

    >>> log_sigmoid(-100.0).item()
    -100.0
    """
    return jax.nn.log_sigmoid(_float(x))


def sparsemax(x: Any, axis: int = -1) -> jax.Array:
    """The point of the probability simplex nearest to x along ``axis``: max(x − τ, 0), with τ such that it sums to 1.

    Source: Martins & Astudillo (2016), *From softmax to sparsemax*.

    Differs from Keras: it sums to 1 (in Keras 3.15 τ is wrong where more than one entry is positive).

    >>> sparsemax([2.0, 1.5, 0.0]).tolist()
    [0.75, 0.25, 0.0]
    """
    x = jnp.moveaxis(_float(x), axis, -1)
    falling = jnp.sort(x, axis=-1, descending=True)
    rank = jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
    # The largest k entries are in the support if the k-th exceeds the τ that these k alone would give.
    size = jnp.sum(falling > (jnp.cumsum(falling, axis=-1) - 1.0) / rank, axis=-1, keepdims=True)
    total = jnp.sum(jnp.where(rank <= size.astype(x.dtype), falling, 0.0), axis=-1, keepdims=True)
    return jnp.moveaxis(jnp.maximum(x - (total - 1.0) / size.astype(x.dtype), 0.0), -1, axis)


def sparse_sigmoid(x: Any) -> jax.Array:
    """(x + 1) / 2 kept within [0, 1].

    >>> sparse_sigmoid([-2.0, 0.5]).tolist()
    [0.0, 0.75]
    """
    return jax.nn.sparse_sigmoid(_float(x))


def hard_sigmoid(x: Any) -> jax.Array:
    """x / 6 + 1/2 kept within [0, 1].

    >>> hard_sigmoid([-4.0, 0.0, 1.5]).tolist()
    [0.0, 0.5, 0.75]
    """
    return jax.nn.hard_sigmoid(_float(x))


# -- rectifiers ----------------------------------------------------------------------------------------------------


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> jax.Array:
    """x above ``threshold``, at most ``max_value``; ``negative_slope``·(x − threshold) below.

    >>> relu([-2.0, 1.0, 9.0], negative_slope=0.5, max_value=6.0).tolist()
    [-1.0, 1.0, 6.0]
    """
    x = _float(x)
    if negative_slope == 0 and threshold == 0 and max_value is None:
        return jax.nn.relu(x)
    output = jax.nn.relu(x) if threshold == 0 else jnp.where(x > threshold, x, 0.0)
    if max_value is not None:
        output = jnp.minimum(output, max_value)
    return output if negative_slope == 0 else output + negative_slope * jnp.minimum(x - threshold, 0.0)


def relu6(x: Any) -> jax.Array:
    """x kept within [0, 6].

    >>> relu6([-1.0, 3.0, 9.0]).tolist()
    [0.0, 3.0, 6.0]
    """
    return jax.nn.relu6(_float(x))


def leaky_relu(x: Any, negative_slope: float = 0.2) -> jax.Array:
    """x where positive, ``negative_slope``·x elsewhere.

    >>> leaky_relu([-1.0, 1.0], negative_slope=0.5).tolist()
    [-0.5, 1.0]
    """
    return jax.nn.leaky_relu(_float(x), negative_slope)


def elu(x: Any, alpha: float = 1.0) -> jax.Array:
    """x where positive, α·(eˣ − 1) elsewhere.

    >>> print(f"{elu(-1.0):.4f}")
    -0.6321
    """
    return jax.nn.elu(_float(x), alpha)


def celu(x: Any, alpha: float = 1.0) -> jax.Array:
    """x where positive, α·(eˣᐟᵅ − 1) elsewhere.

    >>> print(f"{celu(-1.0, alpha=2.0):.4f}")
    -0.7869
    """
    return jax.nn.celu(_float(x), alpha)


def selu(x: Any) -> jax.Array:
    """1.0507·x where positive, 1.0507·1.6733·(eˣ − 1) elsewhere: keeps mean 0 and variance 1 over many layers.

    Source: Klambauer et al. (2017), *Self-normalizing neural networks*.

    >>> print(f"{selu(1.0):.4f}")
    1.0507
    """
    return jax.nn.selu(_float(x))


def threshold(x: Any, threshold: float, default_value: float) -> jax.Array:
    """x where greater than ``threshold``, ``default_value`` elsewhere.

    >>> threshold([0.0, 2.0], 1.0, -1.0).tolist()
    [-1.0, 2.0]
    """
    return jnp.where((x := _float(x)) > threshold, x, jnp.asarray(default_value, x.dtype))


# -- smooth gates --------------------------------------------------------------------------------------------------


def gelu(x: Any, approximate: bool = False) -> jax.Array:
    """x·Φ(x), Φ the normal distribution function; or its tanh form, if ``approximate``.

    Source: Hendrycks & Gimpel (2016), *Gaussian error linear units*.

    >>> print(f"{gelu(1.0):.4f} {gelu(1.0, approximate=True):.4f}")
    0.8413 0.8412
    """
    x = _float(x)
    if approximate:
        return jax.nn.gelu(x, approximate)
    # Far to the left Φ changes by x² times what its argument is rounded by: at -4 in bfloat16, by 3 %.
    wide = x if x.dtype == jnp.float64 else x.astype(jnp.float32)
    if not fast_kernels():
        return jax.nn.gelu(wide, approximate).astype(x.dtype)
    # jax.nn.gelu takes erfc, which XLA on a CPU computes in several passes over memory; erf is one.
    return (0.5 * wide * (1.0 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)


def silu(x: Any) -> jax.Array:
    """x·sigmoid(x), also known as swish.

    >>> print(f"{silu(1.0):.4f}")
    0.7311
    """
    return jax.nn.silu(_float(x))


def hard_silu(x: Any) -> jax.Array:
    """x·hard_sigmoid(x), also known as hard_swish.

    >>> hard_silu([1.5, 5.0]).tolist()
    [1.125, 5.0]
    """
    return jax.nn.hard_silu(_float(x))


def mish(x: Any) -> jax.Array:
    """x·tanh(ln(1 + eˣ)).

    >>> print(f"{mish(1.0):.4f}")
    0.8651
    """
    return jax.nn.mish(_float(x))


def glu(x: Any, axis: int = -1) -> jax.Array:
    """a·sigmoid(b), with a and b the two halves of x along ``axis``, which becomes half as long.

    >>> glu([3.0, 0.0]).tolist()
    [1.5]
    """
    return jax.nn.glu(_float(x), axis)


def softplus(x: Any) -> jax.Array:
    """ln(1 + eˣ).

    >>> print(f"{softplus(0.0):.4f}")
    0.6931
    """
    return jax.nn.softplus(_float(x))


def squareplus(x: Any, b: float = 4) -> jax.Array:
    """(x + √(x² + b)) / 2.

    >>> squareplus(0.0).item()
    1.0
    """
    return jax.nn.squareplus(_float(x), float(b))


def sparse_plus(x: Any) -> jax.Array:
    """0 up to −1, (x + 1)²/4 between −1 and 1, x from 1.

    >>> sparse_plus([-2.0, 0.0, 2.0]).tolist()
    [0.0, 0.25, 2.0]
    """
    return jax.nn.sparse_plus(_float(x))


# -- odd functions and the rest ------------------------------------------------------------------------------------


def tanh(x: Any) -> jax.Array:
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ).

    >>> print(f"{tanh(1.0):.4f}")
    0.7616
    """
    return jnp.tanh(_float(x))


def hard_tanh(x: Any) -> jax.Array:
    """x kept within [−1, 1].

    >>> hard_tanh([-2.0, 0.5]).tolist()
    [-1.0, 0.5]
    """
    return jax.nn.hard_tanh(_float(x))


def tanh_shrink(x: Any) -> jax.Array:
    """x − tanh(x).

    >>> print(f"{tanh_shrink(1.0):.4f}")
    0.2384
    """
    return (x := _float(x)) - jnp.tanh(x)


def softsign(x: Any) -> jax.Array:
    """x / (1 + |x|).

    >>> softsign(-1.0).item()
    -0.5
    """
    return jax.nn.soft_sign(_float(x))


def soft_shrink(x: Any, threshold: float = 0.5) -> jax.Array:
    """x moved towards 0 by ``threshold``, and 0 within it.

    >>> soft_shrink([-2.0, 0.25, 2.0]).tolist()
    [-1.5, 0.0, 1.5]
    """
    return (x := _float(x)) - jnp.clip(x, -threshold, threshold)


def hard_shrink(x: Any, threshold: float = 0.5) -> jax.Array:
    """x where |x| exceeds ``threshold``, 0 elsewhere.

    >>> hard_shrink([-2.0, 0.25]).tolist()
    [-2.0, 0.0]
    """
    return jnp.where(jnp.abs(x := _float(x)) > threshold, x, 0.0)


def exponential(x: Any) -> jax.Array:
    """eˣ.

    >>> exponential(0.0).item()
    1.0
    """
    return jnp.exp(_float(x))


def linear(x: Any) -> Any:
    """x itself.

    >>> linear(3)
    3
    """
    return x


swish = silu
hard_swish = hard_silu

# -- names ---------------------------------------------------------------------------------------------------------

_registry = Registry("activation")
for _name in __all__:
    if _name not in ("get", "serialize", "deserialize"):
        _registry.add(globals()[_name], _name)


def get(identifier: Any) -> Callable[..., Any]:
    """The activation that ``identifier`` stands for: a name, a configuration, or any callable; None for :func:`linear`.

    Raises:
        UnknownNameError: A name that is no activation; the nearest are given.

    >>> get("swish") is silu, get(None) is linear
    (True, True)
    """
    return linear if identifier is None else _registry.get(identifier)


def serialize(activation: Callable[..., Any]) -> Any:
    """The name of a function; the configuration of an object that has one.

    >>> serialize(relu)
    'relu'
    """
    return _registry.serialize(activation)


def deserialize(
    config: Mapping[str, Any] | str, custom_objects: Mapping[str, Callable[..., Any]] | None = None
) -> Callable[..., Any]:
    """The activation of what :func:`serialize` returned; ``custom_objects`` gives those that are not Verax's, by name.

    >>> deserialize("relu") is relu
    True
    """
    return _registry.deserialize(config, custom_objects)
