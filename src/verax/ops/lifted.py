"""Functions of arrays made to work on variables and symbolic tensors too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import InputError
from verax.frame.symbolic import is_symbolic, symbolic_call
from verax.frame.variable import Variable
from verax.ops.keras_names import FUNCTIONS, NOT_OFFERED, SIGNATURES

__all__ = ["find", "lift_function", "names"]

_ROOMS: tuple[ModuleType, ...] = (jnp, jax.nn, jax.lax)


def find(name: str) -> Callable[..., Any] | None:
    """The lifted function of this name, or None: Keras' forms first, then jax.numpy, jax.nn, jax.lax."""
    if name.startswith("_") or name in NOT_OFFERED:
        return None
    if name in FUNCTIONS:
        return lift_function(FUNCTIONS[name], name)
    for room in _ROOMS:
        function: Any = getattr(room, name, None)
        if _is_function(function):
            return lift_function(_as_keras(function, name) if name in SIGNATURES else function, name)
    return None


def names() -> list[str]:
    """Every name that ``find`` finds."""
    found = set(FUNCTIONS)
    for room in _ROOMS:
        found |= {n for n in dir(room) if not n.startswith("_") and _is_function(getattr(room, n, None))}
    return sorted(found - NOT_OFFERED)


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, (type, ModuleType)) and hasattr(value, "__name__")


def _as_keras(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``function`` with Keras' parameters, by position or by name; further keywords of jax's pass through."""
    words = SIGNATURES[name].split()
    parameters = [word.partition("=")[0] for word in words]
    placed = {p for p, word in zip(parameters, words, strict=True) if "=" not in word}

    @functools.wraps(function)
    def renamed(*args: Any, **kwargs: Any) -> Any:
        if len(args) > len(parameters):
            raise TypeError(f"ops.{name}({', '.join(parameters)}) takes {len(parameters)} arguments, not {len(args)}")
        given = dict(zip(parameters, args, strict=False))
        if twice := given.keys() & kwargs.keys():
            raise TypeError(f"ops.{name}() got argument {min(twice)!r} twice")
        given |= kwargs
        if missing := [p for p in parameters if p in placed and p not in given]:
            raise TypeError(f"ops.{name}({', '.join(parameters)}) misses {', '.join(missing)}")
        positional = [given.pop(p) for p in parameters if p in placed]
        return function(*positional, **given)

    return renamed


def lift_function(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``function``, on arrays, variables (their values), and symbolic tensors (one more call in the graph)."""

    @functools.wraps(function)
    def lifted(*args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs), is_leaf=_is_ours)
        if any(is_symbolic(leaf) for leaf in leaves):
            return symbolic_call(function, args, kwargs)
        if any(isinstance(leaf, Variable) for leaf in leaves):
            args, kwargs = jax.tree.map(_value, (args, kwargs), is_leaf=_is_ours)
        return function(*args, **kwargs)

    lifted.__name__ = lifted.__qualname__ = name
    return lifted


def _is_ours(leaf: Any) -> bool:
    return is_symbolic(leaf) or isinstance(leaf, Variable)


def _value(leaf: Any) -> Any:
    if is_symbolic(leaf):
        raise InputError("An operation was called.", received=repr(leaf))
    return leaf.value if isinstance(leaf, Variable) else leaf
