"""oneDNN's convolutions and products of matrices, which jaxlib brings along for x86 and does not use by itself.

XLA's compiler for CPUs makes a call of oneDNN of a custom call with the right name and description. That is not a
documented interface, and a description that it does not expect ends the process. So it is used with those versions of
jaxlib alone whose form was tested, and where a small convolution and a small product come out right at first use; all
else takes lax. Both operations are primitives of JAX, so that they can be differentiated, mapped, and compiled for
another platform; there, and mapped, they are lax's.

Convolutions by channel are lax's always: at (4, 7, 24), a window of 7 with stride 3 and padding (5, 6), oneDNN writes
beyond its memory. ``tests/fence`` runs the others with every array between two pages that may not be touched.
"""

from __future__ import annotations

import functools
import json
import math
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from verax.frame.placement import places
from verax.frame.speed import fast_kernels, runs_here

__all__ = ["convolution", "matmul", "suits_convolution", "suits_matmul"]

#: The versions of jaxlib whose form of a description is the one below. To try another, add it and run
#: tests/ops/test_onednn.py, which ends with its process where the form is another one, and ``python -m tests.fence``.
_VERSIONS = frozenset({"0.10.2"})

#: Below so many multiplications a call costs more than it saves; of a convolution, a sixteenth of them.
_LEAST = 1 << 23


def suits_matmul(a: jax.Array, b: jax.Array, *, turn_a: bool = False, turn_b: bool = False) -> bool:
    """Whether ``matmul`` takes these two, and is likely to be faster than lax.

    Args:
        a, b: Matrices.
        turn_a, turn_b: As for ``matmul``.
    """
    # Asked first: in a program that is written to a file, sizes are left open and cannot be compared.
    if not _available() or a.ndim != 2 or b.ndim != 2 or not a.dtype == b.dtype == jnp.float32:
        return False
    m, k, n = _sizes(a, b, turn_a, turn_b)
    # A tall factor turned on its side, with few columns: the one shape at which oneDNN was found slower.
    return m * k * n >= _LEAST and not (turn_a and m < 32)


def suits_convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    *,
    bias: jax.Array | None = None,
    turned: bool = False,
) -> bool:
    """Whether ``convolution`` takes these, and is likely to be faster than lax. Arguments as for ``convolution``."""
    rank, given = len(strides), (x, kernel) if bias is None else (x, kernel, bias)
    if not _available() or rank > 3 or any(a.dtype != jnp.float32 for a in given):
        return False
    if x.shape[-1] != kernel.shape[-1 if turned else -2]:
        return False  # in groups
    spans = [(k - 1) * d for k, d in zip(kernel.shape[:rank], dilation, strict=True)]
    each = zip(x.shape[1:-1], spans, pads, strict=True)
    if any(n <= span or not 0 <= min(pair) <= max(pair) <= span for n, span, pair in each):
        return False
    outputs = _outputs(x.shape[1:-1], kernel.shape[:rank], strides, pads, dilation)
    return x.shape[0] * math.prod(outputs) * kernel.size >= _LEAST // 16


def matmul(a: jax.Array, b: jax.Array, *, turn_a: bool = False, turn_b: bool = False) -> jax.Array:
    """The product of two matrices of float32, either of them transposed first: (m, k) times (k, n) is (m, n)."""
    return _matmul.bind(a, b, turn_a=turn_a, turn_b=turn_b)


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    *,
    bias: jax.Array | None = None,
    turned: bool = False,
) -> jax.Array:
    """The convolution of (rows, *sizes, channels) with (*window, channels, filters), all float32.

    It has no derivative: those of a convolution are written in ``verax.ops.convolution_forms``.

    Args:
        x, kernel: What is convolved.
        bias: (filters,), added to each position; None for none.
        strides, dilation: Of the window, one for each size.
        pads: (before, after) of each size.
        turned: Whether the kernel is given as (*window, filters, channels).
    """
    ints = [tuple(map(int, of)) for of in (strides, dilation)]
    around = tuple((int(a), int(b)) for a, b in pads)
    arrays = (x, kernel) if bias is None else (x, kernel, bias)
    return _convolution.bind(*arrays, strides=ints[0], pads=around, dilation=ints[1], turned=bool(turned))


# ---- when it can be used ---------------------------------------------------------------------------------------------


def _available() -> bool:
    # A program that holds such a call cannot be written to a file, nor be divided over devices.
    return fast_kernels() and runs_here() and places() is None and _works()


@functools.cache
def _works() -> bool:
    if metadata.version("jaxlib") not in _VERSIONS or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    a = np.arange(6, dtype="float32").reshape(2, 3) - 2
    x, kernel = np.arange(16, dtype="float32").reshape(1, 4, 4, 1), np.arange(4, dtype="float32").reshape(2, 2, 1, 1)
    how = {"strides": (1, 1), "pads": ((0, 1), (1, 0)), "dilation": (1, 1), "turned": True}
    bias = np.ones(1, "float32")
    try:
        with jax.ensure_compile_time_eval():
            product = jax.jit(functools.partial(_call_matmul, turn_a=True, turn_b=False))(a, a)
            convolved = jax.jit(functools.partial(_call_convolution, **how))(x, kernel, bias)
            plain = _plain_convolution(jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(bias), **how)
            return bool((np.asarray(product) == a.T @ a).all() and (np.asarray(convolved) == np.asarray(plain)).all())
    except Exception:
        return False


# ---- the calls -------------------------------------------------------------------------------------------------------


def _call_matmul(a: Any, b: Any, *, turn_a: bool, turn_b: bool) -> jax.Array:
    def factor(turned: bool) -> dict[str, Any]:
        return {"tensor": {"dimensions": ["2", "1"] if turned else ["1", "2"]}}

    m, _, n = _sizes(a, b, turn_a, turn_b)
    about = {"lhs": factor(turn_a), "rhs": factor(turn_b), "result": factor(False)}
    return _call("__onednn$matmul", {"onednn_matmul_config": about}, (m, n), a, b)


def _call_convolution(
    x: Any, kernel: Any, *bias: Any, strides: Any, pads: Any, dilation: Any, turned: bool
) -> jax.Array:
    rank = len(strides)
    inputs, filters = (rank + 1, rank) if turned else (rank, rank + 1)

    def texts(numbers: Sequence[int]) -> list[str]:
        return [str(n) for n in numbers]

    place = {"batch_dim": "0", "feature_dim": str(rank + 1), "spatial_dims": texts(range(1, rank + 1))}
    data = {"dims": str(rank + 2), "data": place}
    spots = {
        "input_feature_dim": str(inputs),
        "output_feature_dim": str(filters),
        "spatial_dims": texts(range(rank)),
    }
    window = {
        "size": texts(kernel.shape[:rank]),
        "pad_left": texts([a for a, _ in pads]),
        "pad_right": texts([b for _, b in pads]),
        "strides": texts(strides),
        "window_dilations": texts(dilation),
    }
    about = {
        "dims": str(rank + 2), "input": data, "output": data, "window": window, "feature_groups": "1",
        "kernel": {"dims": str(rank + 2), "filter": spots}, "fusions": {"ops": ["BIAS"] if bias else []},
    }  # fmt: skip
    outputs = _outputs(x.shape[1:-1], kernel.shape[:rank], strides, pads, dilation)
    shape = (x.shape[0], *outputs, kernel.shape[filters])
    return _call("__onednn$convolution", {"onednn_conv_config": about}, shape, x, kernel, *bias)


def _call(target: str, about: dict[str, Any], shape: tuple[int, ...], *arrays: Any) -> jax.Array:
    spec = jax.ShapeDtypeStruct(shape, jnp.float32)
    call = jax.ffi.ffi_call(target, spec, custom_call_api_version=1, legacy_backend_config=json.dumps(about))
    return call(*arrays)


def _sizes(a: Any, b: Any, turn_a: bool, turn_b: bool) -> tuple[int, int, int]:
    (k, m), n = a.shape if turn_a else a.shape[::-1], b.shape[0 if turn_b else 1]
    return m, k, n


def _outputs(sizes: Any, window: Any, strides: Any, pads: Any, dilation: Any) -> list[int]:
    each = zip(sizes, window, strides, pads, dilation, strict=True)
    return [(n + sum(pair) - (k - 1) * d - 1) // s + 1 for n, k, s, pair, d in each]


# ---- the primitives --------------------------------------------------------------------------------------------------


def _plain_matmul(a: jax.Array, b: jax.Array, *, turn_a: bool, turn_b: bool) -> jax.Array:
    return lax.dot_general(a, b, (((0 if turn_a else 1,), (1 if turn_b else 0,)), ((), ())))


def _plain_convolution(
    x: jax.Array, kernel: jax.Array, *bias: jax.Array, strides: Any, pads: Any, dilation: Any, turned: bool
) -> jax.Array:
    sizes = "DHW"[-len(strides) :]
    numbers = (f"N{sizes}C", f"{sizes}{'OI' if turned else 'IO'}", f"N{sizes}C")
    y = lax.conv_general_dilated(x, kernel, strides, pads, rhs_dilation=dilation, dimension_numbers=numbers)
    return y + bias[0].reshape(*(1,) * (y.ndim - 1), -1) if bias else y


def _primitive(name: str, call: Any, plain: Any) -> Primitive:
    """One that is ``call`` on a CPU, and ``plain`` on other platforms and where it is mapped."""
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(call, static_argnames=_STATIC[name]))

    def abstract(*arrays: Any, **how: Any) -> Any:
        found = jax.eval_shape(functools.partial(plain, **how), *arrays)
        return arrays[0].update(shape=found.shape, dtype=found.dtype, weak_type=False)

    def batched(arrays: Any, axes: Any, **how: Any) -> Any:
        return jax.vmap(functools.partial(plain, **how), axes)(*arrays), 0

    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(call, multiple_results=False), platform="cpu")
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=False))
    return primitive


_STATIC = {
    "onednn_matmul": ("turn_a", "turn_b"),
    "onednn_convolution": ("strides", "pads", "dilation", "turned"),
}
_matmul = _primitive("onednn_matmul", _call_matmul, _plain_matmul)
_convolution = _primitive("onednn_convolution", _call_convolution, _plain_convolution)


def _from_left(ct: Any, a: Any, b: Any, *, turn_a: bool, turn_b: bool) -> jax.Array:
    if turn_a:
        return matmul(b, ct, turn_a=turn_b, turn_b=True)
    return matmul(ct, b, turn_b=not turn_b)


def _from_right(ct: Any, a: Any, b: Any, *, turn_a: bool, turn_b: bool) -> jax.Array:
    if turn_b:
        return matmul(ct, a, turn_a=True, turn_b=turn_a)
    return matmul(a, ct, turn_a=not turn_a)


ad.defbilinear(_matmul, _from_left, _from_right)
