"""Every public function of ``keras.ops``: there, with Keras' parameters, values, dtypes and gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.rows import ROWS, Row
from tests.oracle import oracle
from verax import layers, ops
from verax.frame.graph import Graph

with oracle() as _keras:
    NAMES = sorted(n for n in dir(_keras.ops) if not n.startswith("_") and inspect.isfunction(getattr(_keras.ops, n)))
    NAMESPACES = {
        room: sorted(n for n in dir(getattr(_keras.ops, room)) if not n.startswith("_"))
        for room in ("linalg", "nn", "numpy")
    }

#: Control flow and what takes functions: tests of their own, below.
FUNCTIONS = {
    *("associative_scan", "cond", "custom_gradient", "fori_loop", "map"),
    *("scan", "switch", "vectorize", "vectorized_map", "while_loop"),
}

IDS = [f"{row.name}-{i}" for i, row in enumerate(ROWS)]


def is_float(leaf: Any) -> bool:
    return isinstance(leaf, (np.ndarray, jax.Array)) and jnp.issubdtype(leaf.dtype, jnp.floating)


def call(module: Any, row: Row, args: Any = None, kwargs: Any = None) -> Any:
    return getattr(module, row.name)(
        *(row.args if args is None else args), **(row.kwargs if kwargs is None else kwargs)
    )


def assert_same(got: Any, expected: Any, tolerance: float = 1e-5) -> None:
    ours, theirs = jax.tree.leaves(got), jax.tree.leaves(expected)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, (str, bool)):
            assert a == b
            continue
        assert np.shape(a) == np.shape(b)
        assert jnp.result_type(a) == jnp.result_type(b)
        np.testing.assert_allclose(
            np.asarray(a, None if jnp.result_type(a) != jnp.bfloat16 else "float32"),
            np.asarray(b, None if jnp.result_type(b) != jnp.bfloat16 else "float32"),
            rtol=tolerance,
            atol=tolerance,
        )


def test_there_is_a_row_for_every_name():
    assert len(NAMES) > 300
    assert {row.name for row in ROWS} | FUNCTIONS == set(NAMES)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_values_as_in_keras(row: Row):
    if same_program(row):
        return
    with oracle() as keras:
        expected = values(keras.ops, row)
    assert_same(values(ops, row), expected)


def values(module: Any, row: Row) -> Any:
    if not row.jit:
        return call(module, row)
    return compute(*on_arrays(module, row, jax.tree.leaves((row.args, dict(row.kwargs)))))


def compute(run: Callable[[list[Any]], Any], arrays: list[Any]) -> Any:
    """The result, from one program made quickly: small arrays need no fast one."""
    quick = {"xla_backend_optimization_level": "0", "xla_llvm_disable_expensive_passes": True}
    return jax.jit(run).lower(arrays).compile(quick)(arrays)


def same_program(row: Row) -> bool:
    """Whether Keras and we trace to the very same program, so that values and gradients need no computing."""
    if not row.jit or row.name == "jvp":
        return False
    with oracle() as keras:
        return program(keras.ops, row) == program(ops, row)


def program(module: Any, row: Row) -> tuple[str, list[Any]]:
    run, values = on_arrays(module, row, jax.tree.leaves((row.args, dict(row.kwargs))))
    traced = jax.make_jaxpr(run)(values)
    return str(traced), [np.asarray(c).tobytes() for c in traced.consts]


def on_arrays(module: Any, row: Row, leaves: list[Any]) -> tuple[Callable[[list[Any]], Any], list[Any]]:
    """The row's call as a function of its arrays, and those: ``leaves`` stand for its arguments."""
    treedef = jax.tree.structure((row.args, dict(row.kwargs)))
    where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]

    def run(values: list[Any]) -> Any:
        filled = list(leaves)
        for i, value in zip(where, values, strict=True):
            filled[i] = value
        args, kwargs = jax.tree.unflatten(treedef, filled)
        return call(module, row, args, kwargs)

    return run, [leaves[i] for i in where]


def differentiable(row: Row) -> bool:
    return row.gradient and any(is_float(leaf) for leaf in jax.tree.leaves((row.args, dict(row.kwargs))))


def gradients(module: Any, row: Row) -> Any:
    leaves, treedef = jax.tree.flatten((row.args, dict(row.kwargs)))
    where = [i for i, leaf in enumerate(leaves) if is_float(leaf)]

    def total(values: list[Any]) -> Any:
        filled = list(leaves)
        for i, value in zip(where, values, strict=True):
            filled[i] = value
        args, kwargs = jax.tree.unflatten(treedef, filled)
        outputs = [y for y in jax.tree.leaves(call(module, row, args, kwargs)) if is_float(y)]
        return sum(jnp.sum(jnp.sin(y.astype("float32") + 0.3)) for y in outputs)

    return compute(jax.grad(total), [jnp.asarray(leaves[i]) for i in where])


@pytest.mark.parametrize("row", [r for r in ROWS if differentiable(r)], ids=lambda row: row.name)
def test_gradients_as_in_keras(row: Row):
    if same_program(row):
        return
    with oracle() as keras:
        shapes = jax.eval_shape(lambda: call(keras.ops, row))
        if not any(jnp.issubdtype(y.dtype, jnp.floating) for y in jax.tree.leaves(shapes)):
            return
        expected = gradients(keras.ops, row)
    assert_same(gradients(ops, row), expected, 1e-4)


def in_dtype(row: Row, dtype: str) -> list[Any]:
    """The row's leaves with another dtype for each float array, or for integers where there is none."""
    leaves = jax.tree.leaves((row.args, dict(row.kwargs)))
    chosen = [is_float(leaf) for leaf in leaves]
    if not any(chosen):
        chosen = [isinstance(leaf, np.ndarray) and leaf.dtype == "int32" for leaf in leaves]
    plain = [np.nan_to_num(leaf) if c and is_float(leaf) else leaf for leaf, c in zip(leaves, chosen, strict=True)]
    return [leaf.astype(dtype) if c else leaf for leaf, c in zip(plain, chosen, strict=True)]


#: The first row of each name that may be called in other dtypes.
IN_DTYPES = list({row.name: row for row in reversed(ROWS) if row.dtypes}.values())


@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8", "int8", "bfloat16", "float16"])
@pytest.mark.parametrize("row", IN_DTYPES, ids=lambda row: row.name)
def test_dtypes_as_in_keras(row: Row, dtype: str):
    leaves = in_dtype(row, dtype)

    def spec(module: Any) -> Any:
        run, values = on_arrays(module, row, leaves)
        made = jax.eval_shape(run, values) if row.jit else run(values)
        return [(y.shape, y.dtype) for y in jax.tree.leaves(made)]

    with oracle() as keras:
        try:
            expected = spec(keras.ops)
        except Exception:
            return  # Keras does not take this dtype
    assert spec(ops) == expected


@pytest.mark.parametrize("row", [r for r in ROWS if r.jit], ids=lambda row: row.name)
def test_on_symbolic_tensors(row: Row):
    """The shape of one call in a graph, and the same shape when the graph runs."""
    leaves, treedef = jax.tree.flatten((row.args, dict(row.kwargs)))
    where = [i for i, leaf in enumerate(leaves) if is_float(leaf) and leaf.ndim]
    if not where or callable(row.args[0] if row.args else None):
        return
    inputs = [layers.Input(batch_shape=leaves[i].shape) for i in where]
    filled = list(leaves)
    for i, symbol in zip(where, inputs, strict=True):
        filled[i] = symbol
    args, kwargs = jax.tree.unflatten(treedef, filled)
    made = call(ops, row, args, kwargs)
    ran = jax.eval_shape(Graph.between(inputs, made).run, [jnp.asarray(leaves[i]) for i in where])
    expected = jax.eval_shape(lambda: call(ops, row))
    for symbol, a, b in zip(
        *(jax.tree.leaves(t, is_leaf=lambda s: hasattr(s, "node")) for t in (made, ran, expected)), strict=True
    ):
        assert symbol.shape == a.shape == b.shape
        assert symbol.dtype == a.dtype == b.dtype


#: name -> parameters of Keras' that ours has not, and why.
NOT_TAKEN = {
    "layer_normalization": ({"kwargs"}, "ours names the one it takes, rms_scaling"),
    "multi_hot": ({"kwargs"}, "an old name of num_classes"),
}


def takes(function: Callable[..., Any]) -> dict[str, Any]:
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_as_in_keras(name: str):
    with oracle() as keras:
        theirs = takes(getattr(keras.ops, name))
    ours = takes(getattr(ops, name))
    missing, _ = NOT_TAKEN.get(name, (set(), ""))
    assert [n for n in theirs if n not in missing] == [n for n in ours if n in theirs]
    for n in set(theirs) - missing:
        one, two = theirs[n].default, ours[n].default
        assert one == two or (one is inspect.Parameter.empty and two is not one) or name in DEFAULTS, (n, one, two)
        assert theirs[n].kind == ours[n].kind, n
    extra = [n for n in ours if n not in theirs]
    assert all(ours[n].default is not inspect.Parameter.empty for n in extra)


#: Defaults that are another value for the same behaviour.
DEFAULTS = {"multi_hot": "num_classes has no default here: None is an error there"}


@pytest.mark.parametrize("room", NAMESPACES)
def test_namespaces_as_in_keras(room: str):
    ours = getattr(ops, room)
    assert [n for n in dir(ours) if not n.startswith("_")] == NAMESPACES[room]
    assert all(getattr(ours, n) is getattr(ops, n) for n in NAMESPACES[room])
    with pytest.raises(AttributeError, match=f"verax.ops.{room} has no function"):
        ours.nothing_like_it
