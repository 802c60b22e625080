"""Which function stands behind each name of ``keras.ops``, and in which namespaces the names are."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from verax import activations
from verax.frame.settings import floatx
from verax.ops import arrays, ctc, flow, linear_algebra, normalizing, plain, signals, windows
from verax.ops.signatures import PLAIN, words

__all__ = ["FLOW", "FUNCTIONS", "LINALG", "NN", "NUMPY", "PLAINLY"]


def _float(function: Callable[..., Any]) -> Callable[[Any], jax.Array]:
    """``function`` of one array, integers made floats first."""

    def of_float(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        return function(x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(floatx()))

    of_float.__doc__ = function.__doc__
    return of_float


def leaky_relu(x: Any, negative_slope: float = 0.2) -> jax.Array:
    """``x`` where positive, ``negative_slope * x`` elsewhere."""
    return jax.nn.leaky_relu(jnp.asarray(x), negative_slope)


def gelu(x: Any, approximate: bool = True) -> jax.Array:
    """x Φ(x), by the tanh formula where ``approximate``."""
    return activations.gelu(x, approximate)


def squareplus(x: Any, b: float = 4) -> jax.Array:
    """(x + √(x² + b)) / 2."""
    return jax.nn.squareplus(jnp.asarray(x), b)


def relu(x: Any) -> jax.Array:
    """max(x, 0)."""
    return jax.nn.relu(jnp.asarray(x))


def hard_tanh(x: Any) -> jax.Array:
    """x kept within [−1, 1]."""
    return jax.nn.hard_tanh(jnp.asarray(x))


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> jax.Array:
    """ln Σ eˣ along an axis."""
    return jax.nn.logsumexp(jnp.asarray(x), axis=axis, keepdims=keepdims)


def _public(room: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions of a module by Keras' names; a name that would hide one of Python's ends in an underscore."""
    return {name.rstrip("_"): getattr(room, name) for name in room.__all__}


_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(activations, name)
        for name in words(
            "celu elu glu hard_shrink hard_sigmoid hard_silu hard_swish log_sigmoid log_softmax relu6 selu sigmoid "
            "silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax swish tanh_shrink "
            "threshold"
        )
    },
    "gelu": gelu,
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "relu": relu,
    "squareplus": squareplus,
}

_ARRAYS, _FLOW, _LINEAR = _public(arrays), _public(flow), _public(linear_algebra)
_WINDOWS, _NORMALIZING = _public(windows), _public(normalizing)
del _WINDOWS["transposed_padding"]

#: name -> function, for names jax has not, or not in this form.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_ACTIVATIONS,
    **_ARRAYS,
    **_FLOW,
    **_LINEAR,
    **_NORMALIZING,
    **_WINDOWS,
    **_public(ctc),
    **_public(signals),
    "logsumexp": logsumexp,
    **{
        name: _float(function)
        for name, function in {
            "erf": jax.scipy.special.erf,
            "erfc": jax.scipy.special.erfc,
            "erfinv": jax.scipy.special.erfinv,
            "rsqrt": jax.lax.rsqrt,
        }.items()
    },
}

#: What asks about arrays and computes nothing: these know variables and symbolic tensors themselves.
PLAINLY: dict[str, Callable[..., Any]] = _public(plain)

#: What takes functions: they follow the promotion rules their writer has set.
FLOW = frozenset(_FLOW) - {"segment_max", "segment_min", "segment_prod", "segment_sum", "stop_gradient"}

#: The namespaces of ``keras.ops``.
LINALG = frozenset({*_LINEAR, "jvp"}) - {"logdet", "slogdet"}
NN = frozenset({*_ACTIVATIONS, *_NORMALIZING, *_WINDOWS, "ctc_decode", "ctc_loss", "normalize", "polar", "psnr"})
NUMPY = frozenset(
    {
        *PLAIN,
        *words(
            "bincount divide_no_nan einsum get_item matmul meshgrid ndim pad round size slogdet unique vectorize view "
            "where"
        ),
    }
)
