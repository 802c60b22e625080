"""How a loop is compiled: the options of this backend, and one program for each set of shapes."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from verax.engine import memory
from verax.frame import cache
from verax.frame.speed import fast_kernels

__all__ = ["Programs", "compiler_options"]

#: On a CPU XLA hands convolutions to YNNPACK, which is several times slower at them than Eigen; at reductions and at
#: products with a transposed matrix it is several times faster. See docs/performance.md.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


def compiler_options() -> dict[str, str]:
    """Options for ``jax.jit`` on this backend; none where the fast kernels are off or jaxlib does not know them."""
    return _accepted() if fast_kernels() else {}


@functools.cache
def _accepted() -> dict[str, str]:
    # The option is experimental: a jaxlib that does not know it refuses to compile, so it is tried on nothing first.
    try:
        jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
    except Exception:
        return {}
    return dict(_CPU)


class Programs:
    """A function, compiled once for each set of shapes it is called with; several threads may ask at once.

    Args:
        function: A pure function of arrays.
        donate: Whether the memory of the first argument may be used for the result: after a call the arrays passed
            there are gone. A function that calls back to the host is not given them: where a callback fails there is
            no result, and nothing would be left.

    >>> import jax.numpy as jnp
    >>> double = Programs(lambda x: 2 * x)
    >>> double(jnp.ones(2)).tolist(), double(jnp.ones(3)).tolist(), len(double)
    ([2.0, 2.0], [2.0, 2.0, 2.0], 2)
    """

    def __init__(self, function: Callable[..., Any], *, donate: bool = False):
        self.donate = donate
        options = compiler_options()
        self._plain = jax.jit(function, compiler_options=options)
        self._donating = jax.jit(function, compiler_options=options, donate_argnums=0)
        self.seconds = 0.0  # what the dearest of the compilations took
        self._ready: dict[Any, Any] = {}
        self._locks: dict[Any, threading.Lock] = {}

    def __call__(self, *arguments: Any) -> Any:
        """The function's result."""
        return self.prepare(*arguments)(*arguments)

    def __len__(self) -> int:
        return len(self._ready)

    def prepare(self, *arguments: Any) -> Callable[..., Any]:
        """Compile for arguments of these shapes (arrays, or ``jax.ShapeDtypeStruct``) unless that was done before.

        Returns:
            The function to call with such arguments.
        """
        form = _form(arguments)
        found = self._ready.get(form)
        if found is None:
            with self._locks.setdefault(form, threading.Lock()):  # whoever comes second waits for the first
                found = self._ready.get(form)
                if found is None:
                    found = self._ready[form] = self._compile(arguments)
        return found

    def _compile(self, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        cache.begin()
        began = time.perf_counter()
        # What is compiled here ahead of time, jax.jit finds when it is called.
        jitted = self._plain
        traced = jitted.trace(*arguments)
        if self.donate and not any(_calls_back(traced.jaxpr.jaxpr)):
            jitted = self._donating
            traced = jitted.trace(*arguments)
        compiled = traced.lower().compile()
        self.seconds = max(self.seconds, time.perf_counter() - began)
        memory.suit(compiled)
        return jitted


def _form(arguments: Any) -> Any:
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple(map(_shape, leaves))


def _shape(leaf: Any) -> Any:
    try:
        return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)
    except AttributeError:  # a Python number
        return jax.typeof(leaf)


def _calls_back(jaxpr: Any) -> Iterator[bool]:
    for equation in jaxpr.eqns:
        if "callback" in equation.primitive.name:
            yield True
        for value in equation.params.values():
            for item in value if isinstance(value, (list, tuple)) else (value,):
                inner = getattr(item, "jaxpr", item)
                if hasattr(inner, "eqns"):
                    yield from _calls_back(inner)
