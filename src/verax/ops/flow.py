"""Control flow, transformations and reductions over segments, under Keras' names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from verax.errors import InputError
from verax.frame.variable import Variable

__all__ = [
    "associative_scan",
    "cond",
    "custom_gradient",
    "fori_loop",
    "jvp",
    "map_",
    "scan",
    "segment_max",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "stop_gradient",
    "switch",
    "vectorize",
    "vectorized_map",
    "while_loop",
]


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """``true_fn()`` or ``false_fn()``, by a scalar that may be traced; both return the same shapes and dtypes."""
    return lax.cond(pred, true_fn, false_fn)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """``branches[index](*operands)``; an index outside is clipped."""
    return lax.switch(index, branches, *operands)


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    maximum_iterations: int | None = None,
) -> Any:
    """``loop_vars = body(*loop_vars)`` as long as ``cond(*loop_vars)`` holds.

    Args:
        cond: Takes the loop's variables, returns a boolean scalar.
        body: Takes them, returns them: as many, of the same shapes and dtypes.
        loop_vars: A tuple or list of values, or a single one.
        maximum_iterations: At most this many turns; None for no limit.

    Returns:
        The variables after the last turn, as a tuple, or a single one.

    >>> int(while_loop(lambda n: n < 10, lambda n: n * 2, jnp.array(3)))
    12
    """
    several = isinstance(loop_vars, (tuple, list))

    def go_on(carry: tuple[Any, tuple[Any, ...]]) -> Any:
        turn, values = carry
        more = cond(*values)
        return more if maximum_iterations is None else jnp.logical_and(more, turn < maximum_iterations)

    def once(carry: tuple[Any, tuple[Any, ...]]) -> tuple[Any, tuple[Any, ...]]:
        turn, values = carry
        after = body(*values)
        return turn + 1, tuple(after) if several else (after,)

    values = tuple(loop_vars) if several else (loop_vars,)
    _, ended = lax.while_loop(go_on, once, (jnp.zeros((), "int32"), values))
    return ended if several else ended[0]


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """``value = body_fun(i, value)`` for i from ``lower`` to ``upper`` - 1."""
    return lax.fori_loop(lower, upper, body_fun, init_val)


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """``carry, y = f(carry, x)`` for each x along the first axis of ``xs``: the last carry and all y, stacked."""
    if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
        raise InputError(
            "ops.scan was called.", received=f"unroll={unroll!r}", because="it is a positive int or a bool"
        )
    return lax.scan(f, init, xs, length, reverse, unroll)


def associative_scan(f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All partial results of an associative ``f`` along an axis, in logarithmically many steps."""
    return lax.associative_scan(f, elems, reverse, axis)


def map_(f: Callable[[Any], Any], xs: Any) -> Any:
    """``f`` of each element along the first axis, one after the other."""
    return lax.map(f, xs)


def vectorized_map(function: Callable[..., Any], elements: Any) -> Any:
    """``function`` of each element along the first axis, all at once."""
    return jax.vmap(function)(elements)


def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None) -> Callable[..., Any]:
    """``pyfunc`` over whole arrays, as ``jnp.vectorize`` makes it."""
    return jnp.vectorize(pyfunc, excluded=excluded or frozenset(), signature=signature)


def stop_gradient(variable: Any) -> Any:
    """``variable``, through which no gradient goes."""
    return lax.stop_gradient(variable)


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """``fun(*primals)`` and its derivative along ``tangents``; a third value, where ``fun`` returns (value, aux)."""
    return jax.jvp(fun, tuple(primals), tuple(tangents), has_aux=has_aux)


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a gradient of its own: ``f`` returns its value and a function upstream gradient -> gradients.

    >>> @custom_gradient
    ... def doubled(x):
    ...     return 2 * x, lambda upstream: 10 * upstream
    >>> float(doubled(3.0)), float(jax.grad(doubled)(3.0))
    (6.0, 10.0)
    """
    made = jax.custom_gradient(f)

    def value(leaf: Any) -> Any:
        return leaf.value if isinstance(leaf, Variable) else leaf

    def with_own_gradient(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = jax.tree.map(value, (args, kwargs), is_leaf=lambda leaf: isinstance(leaf, Variable))
        return made(*args, **kwargs)

    return with_own_gradient


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> jax.Array:
    """The sum of the rows of each segment; under jit ``num_segments`` must be given."""
    return jax.ops.segment_sum(*_segments(data, segment_ids), num_segments, indices_are_sorted=sorted)


def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> jax.Array:
    """The maximum of the rows of each segment."""
    return jax.ops.segment_max(*_segments(data, segment_ids), num_segments, indices_are_sorted=sorted)


def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> jax.Array:
    """The minimum of the rows of each segment."""
    return jax.ops.segment_min(*_segments(data, segment_ids), num_segments, indices_are_sorted=sorted)


def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> jax.Array:
    """The product of the rows of each segment."""
    return jax.ops.segment_prod(*_segments(data, segment_ids), num_segments, indices_are_sorted=sorted)


def _segments(data: Any, segment_ids: Any) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(data), jnp.asarray(segment_ids)
