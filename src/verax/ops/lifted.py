"""Functions of arrays made to work on variables and symbolic tensors too, under Keras' names and with its arguments."""

from __future__ import annotations

import contextlib
import difflib
import functools
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError
from verax.frame.settings import floatx
from verax.frame.symbolic import is_symbolic, symbolic_call
from verax.frame.variable import Variable
from verax.ops.keras_names import FLOW, FUNCTIONS, PLAINLY
from verax.ops.signatures import PLAIN, signature_of, words

__all__ = ["as_arrays", "find", "lift_function", "look_up", "names"]

_ROOMS: tuple[ModuleType, ...] = (jnp, jax.nn, jax.lax)

#: Parameters that take lists of arrays, and parameters that take arrays: nested lists of numbers will do.
_SEQUENCES = frozenset({"xs", "choicelist", "condlist"})
_ARRAYS = frozenset(
    {"x", "x1", "x2", "y", "a", "array", "indices", "bins", "values", "sorted_sequence", "q", "weights"}
)
#: Functions whose ``x`` is itself a list of arrays.
_LISTS = frozenset({"stack"})

#: What makes a float of an integer: one of the default float dtype.
_TO_FLOAT = frozenset(
    words(
        "angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh average cbrt ceil cos cosh deg2rad divide exp "
        "exp2 expm1 fabs floor heaviside hypot i0 log log10 log1p log2 logaddexp logaddexp2 mean median nanmean "
        "nanmedian nanpercentile nanquantile nanstd nanvar percentile quantile rad2deg reciprocal sin sinc sinh sqrt "
        "std tan tanh true_divide var"
    )
)
#: What makes arrays of the default float dtype, where no dtype is given.
_MAKES_FLOAT = frozenset({"empty", "eye", "full", "identity", "ones", "tri", "zeros"})
#: Windows of signals: always of the default float dtype.
_WINDOWS = frozenset({"bartlett", "blackman", "hamming", "hanning", "kaiser"})


def find(name: str) -> Callable[..., Any] | None:
    """The lifted function of this name, or None: Keras' forms first, then jax.numpy, jax.nn, jax.lax."""
    if name.startswith("_"):
        return None
    if name in PLAINLY:
        return PLAINLY[name]
    if name in FUNCTIONS:
        return lift_function(FUNCTIONS[name], name)
    for room in _ROOMS:
        function: Any = getattr(room, name, None)
        if _is_function(function):
            return lift_function(_as_keras(function, name) if name in PLAIN else function, name)
    return None


@functools.cache
def _found(name: str) -> Callable[..., Any] | None:
    return find(name)


def look_up(name: str, where: str, among: Collection[str] | None = None) -> Callable[..., Any]:
    """The function of this name for a module's attribute, made once; the nearest names are in the error."""
    function = _found(name) if among is None or name in among else None
    if function is None:
        near = difflib.get_close_matches(name, among or names(), n=3, cutoff=0.6)
        hint = " Did you mean " + " or ".join(repr(n) for n in near) + "?" if near else ""
        raise AttributeError(f"{where} has no function {name!r}.{hint}")
    return function


def names() -> list[str]:
    """Every name that ``find`` finds."""
    found = {*FUNCTIONS, *PLAIN, *PLAINLY}
    for room in _ROOMS:
        found |= {n for n in dir(room) if not n.startswith("_") and _is_function(getattr(room, n, None))}
    return sorted(found)


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, (type, ModuleType)) and hasattr(value, "__name__")


def _as_keras(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``function`` with Keras' parameters, by position or by name; further keywords of jax's pass through."""
    signature = signature_of(name)
    parameters = signature.parameters
    convert = {p: _converter(name, p) for p in parameters}
    placed = [p for p, parameter in parameters.items() if parameter.default is parameter.empty]

    @functools.wraps(function)
    def renamed(*args: Any, **kwargs: Any) -> Any:
        own = {k: v for k, v in kwargs.items() if k in parameters}
        try:
            bound = signature.bind(*args, **own)
        except TypeError as error:
            raise TypeError(f"ops.{name}{signature}: {error}") from None
        bound.apply_defaults()
        given = {p: convert[p](value) for p, value in bound.arguments.items()}
        _settle_dtypes(name, given)
        positional = [given.pop(p) for p in placed]
        extra = {k: v for k, v in kwargs.items() if k not in parameters}
        out = function(*positional, **given, **extra)
        return out.astype(floatx()) if name in _WINDOWS else out

    setattr(renamed, "__signature__", signature)  # noqa: B010 (functions have no such attribute in their type)
    return renamed


def _converter(name: str, parameter: str) -> Callable[[Any], Any]:
    if parameter in _SEQUENCES or (name in _LISTS and parameter == "x"):
        return lambda values: [as_arrays(v) for v in values] if isinstance(values, (list, tuple)) else values
    if parameter in _ARRAYS:
        return as_arrays
    return lambda value: value


def as_arrays(value: Any) -> Any:
    """Nested lists of numbers, and what offers itself as an array, as an array; numbers and arrays stay as they are."""
    if isinstance(value, (list, tuple)) or (
        hasattr(value, "__array__") and not isinstance(value, (jax.Array, np.ndarray, np.generic))
    ):
        return jnp.asarray(value)
    return value


def _settle_dtypes(name: str, given: dict[str, Any]) -> None:
    """Choose the dtypes that Keras chooses by its default float dtype, where jax would choose by its own rules."""
    if name in _MAKES_FLOAT:
        given["dtype"] = given["dtype"] or floatx()
    elif name in _TO_FLOAT:
        for parameter in ("x", "x1", "x2", "weights"):
            value = given.get(parameter)
            if value is not None and not isinstance(value, (bool, int, float, complex)):
                given[parameter] = _float(value)


def _float(value: Any) -> Any:
    dtype = jnp.result_type(value)
    return value if jnp.issubdtype(dtype, jnp.inexact) else jnp.asarray(value).astype(floatx())


def _as_keras_promotes() -> AbstractContextManager[Any]:
    """Within, dtypes promote and ranks broadcast: Keras' operations say so, whatever jax is set to elsewhere."""
    settings: Any = jax.config
    if settings.jax_numpy_dtype_promotion == "standard" and settings.jax_numpy_rank_promotion == "allow":
        return contextlib.nullcontext()
    both = contextlib.ExitStack()
    both.enter_context(jax.numpy_dtype_promotion("standard"))
    both.enter_context(jax.numpy_rank_promotion("allow"))
    return both


def lift_function(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``function``, on arrays, variables (their values), and symbolic tensors (one more call in the graph)."""

    @functools.wraps(function)
    def on_arrays(*args: Any, **kwargs: Any) -> Any:
        with _as_keras_promotes() if name not in FLOW else contextlib.nullcontext():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def lifted(*args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs), is_leaf=_is_ours)
        if any(is_symbolic(leaf) for leaf in leaves):
            return symbolic_call(on_arrays, args, kwargs)
        if any(isinstance(leaf, Variable) for leaf in leaves):
            args, kwargs = jax.tree.map(_value, (args, kwargs), is_leaf=_is_ours)
        return on_arrays(*args, **kwargs)

    for made in (on_arrays, lifted):
        made.__name__ = made.__qualname__ = name
    return lifted


def _is_ours(leaf: Any) -> bool:
    return is_symbolic(leaf) or isinstance(leaf, Variable)


def _value(leaf: Any) -> Any:
    if is_symbolic(leaf):
        raise InputError("An operation was called.", received=repr(leaf))
    return leaf.value if isinstance(leaf, Variable) else leaf
