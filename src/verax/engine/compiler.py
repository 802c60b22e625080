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
#: products with a transposed matrix it is several times faster. Products in one piece with what surrounds them make
#: attention faster, and a product with its bias slower. See docs/performance.md.
_OPTION = "xla_cpu_experimental_ynn_fusion_type"
_TO_YNNPACK = {True: "DOT", False: "INDIVIDUAL_DOT"}


def compiler_options(*, attends: bool = True) -> dict[str, str]:
    """Options for ``jax.jit`` on this backend; none where the fast kernels are off or jaxlib does not know them.

    Args:
        attends: Whether the program has products with axes of batches, as attention has.
    """
    return _accepted(attends) if fast_kernels() else {}


@functools.cache
def _accepted(attends: bool) -> dict[str, str]:
    # The option is experimental: a jaxlib that does not know it refuses to compile, so it is tried on nothing first.
    kinds = (_TO_YNNPACK[attends], "REDUCE")
    options = {_OPTION: ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in kinds)}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except Exception:
        return {}
    return options


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
        self._function = function
        self._jitted: dict[tuple[bool, bool], Any] = {}
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
        equations = list(_equations(jax.jit(self._function).trace(*arguments).jaxpr.jaxpr))
        donate = self.donate and not any("callback" in e.primitive.name for e in equations)
        jitted = self._jit(donate, attends=any(map(_has_batches, equations)))
        # What is compiled here ahead of time, jax.jit finds when it is called.
        compiled = jitted.trace(*arguments).lower().compile()
        self.seconds = max(self.seconds, time.perf_counter() - began)
        memory.suit(compiled)
        return jitted

    def _jit(self, donate: bool, *, attends: bool) -> Any:
        found = self._jitted.get((donate, attends))
        if found is None:
            options = compiler_options(attends=attends)
            found = jax.jit(self._function, compiler_options=options, donate_argnums=0 if donate else ())
        return self._jitted.setdefault((donate, attends), found)  # of two threads, one


def _form(arguments: Any) -> Any:
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple(map(_shape, leaves))


def _shape(leaf: Any) -> Any:
    try:
        return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)
    except AttributeError:  # a Python number
        return jax.typeof(leaf)


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for item in value if isinstance(value, (list, tuple)) else (value,):
                inner = getattr(item, "jaxpr", item)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _has_batches(equation: Any) -> bool:
    return equation.primitive.name == "dot_general" and bool(equation.params["dimension_numbers"][1][0])
