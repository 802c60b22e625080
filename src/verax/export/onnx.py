"""Models as ONNX, through jax2onnx."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from verax.errors import InputError, MissingExtraError, StateError
from verax.export.archive import Served, traced
from verax.export.programs import refused, schemes
from verax.export.signature import Leaf, signature_of
from verax.export.structure import leaves_of
from verax.frame.files import written_whole
from verax.frame.speed import traced_for
from verax.frame.tree import Tree
from verax.layers import Layer

__all__ = ["write_onnx"]


def write_onnx(
    model: Layer, inputs: Any, names: tuple[str, ...], filepath: str | os.PathLike[str], opset: int | None, asked: str
) -> None:
    """Write a model as ONNX: sizes that are left open are dynamic axes, the weights are in the file.

    Args:
        model: A built model.
        inputs: The structure of its inputs: symbolic tensors.
        names: Of the outputs.
        filepath: Where.
        opset: The version of ONNX' operators; what jax2onnx writes by default when None.
        asked: What messages begin with.

    Raises:
        MissingExtraError: jax2onnx is not installed.
        InputError: The model uses an operation that jax2onnx does not know.
    """
    if find_spec("jax2onnx") is None:
        raise MissingExtraError(
            asked,
            because="ONNX is written with jax2onnx, which is not installed",
            do="pip install 'verax[onnx]'. jax2onnx 0.17 needs orbax-checkpoint below 0.11.37: it does not install "
            "beside verax[checkpoint], so give it an environment of its own.",
        )
    convert: Any = importlib.import_module("jax2onnx").to_onnx
    arguments = signature_of([inputs], asked)
    leaves = leaves_of(arguments)
    served = Served(model, [model])
    weights = [jnp.asarray(v.value) for v, _ in Tree.of(served).variables.values()]
    run = traced(served, arguments, {})
    closed, specs = _jaxpr(lambda inputs: run(weights, inputs, 0), leaves, asked)
    options: dict[str, Any] = {} if opset is None else {"opset": opset}
    said = _distinct([leaf["name"] or f"input_{i}" for i, leaf in enumerate(leaves)], names)
    try:
        made = convert(
            lambda *args: tuple(_run(closed.jaxpr, closed.consts, args)),
            inputs=specs,
            model_name=model.name,
            input_names=said[0],
            output_names=said[1],
            **options,
        )
    except Exception as error:  # jax2onnx raises almost every class there is
        received = " ".join(str(error).split())[:400]
        do = "Export as 'stablehlo', or say all sizes in input_signature."
        raise InputError(asked, received=received, because="jax2onnx cannot convert it", do=do) from error
    with written_whole(filepath) as file:
        file.write(made.SerializeToString())


def _jaxpr(function: Callable[[list[Any]], Any], leaves: list[Any], asked: str) -> tuple[Any, list[Any]]:
    """The function in primitives, traced before jax2onnx puts its own in the place of jax.numpy's."""
    forms = [Leaf(leaf["name"], tuple(leaf["shape"]), leaf["dtype"]) for leaf in leaves]
    first: Exception | None = None
    for scheme in schemes(forms):
        specs, _ = scheme.specs(forms)
        try:
            with traced_for("onnx"):
                return jax.make_jaxpr(lambda *inputs: function(list(inputs)))(*specs), specs
        except StateError:
            raise
        except Exception as error:
            first = first or error
    assert first is not None
    raise refused(asked, forms, first) from first


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Run a jaxpr, calls written out, and each primitive in the form that jax2onnx converts to one of ONNX Runtime."""
    values: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        given = [read(v) for v in equation.invars]
        name, params = equation.primitive.name, equation.params
        inner = params.get("jaxpr") if name in ("jit", "pjit", "closed_call", "remat", "checkpoint") else None
        inner = params.get("call_jaxpr") if name in ("custom_jvp_call", "custom_vjp_call") else inner
        if inner is not None:
            made = _run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given)
        elif name in ("reduce_window_max", "reduce_window_sum"):
            made = [_pooled(equation.primitive, given[0], params)]
        else:
            bound: Any = equation.primitive.get_bind_params(params)
            functions, bound = bound if isinstance(bound, tuple) else ((), bound)  # before jax 0.10 a pair
            made = equation.primitive.bind(*functions, *given, **bound)
            made = made if equation.primitive.multiple_results else [made]
        values.update(zip(equation.outvars, made, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _pooled(primitive: Any, x: Any, params: Mapping[str, Any]) -> Any:
    """A reduction over windows, with all axes that no window moves over as one: ONNX Runtime pools over three."""
    per_axis = {k: tuple(v) for k, v in params.items() if isinstance(v, (tuple, list)) and len(v) == x.ndim}
    plain = zip(per_axis["window_dimensions"], per_axis["window_strides"], per_axis["padding"], strict=True)
    fixed = [axis for axis, (w, s, p) in enumerate(plain) if w == 1 and s == 1 and tuple(p) == (0, 0)]
    moved = [axis for axis in range(x.ndim) if axis not in fixed]
    order = [*fixed, *moved]
    front = [x.shape[axis] for axis in fixed]
    whole = jax.lax.transpose(x, order)
    whole = jax.lax.reshape(whole, (math.prod(front), *whole.shape[len(fixed) :]))
    ones = {"window_dimensions": 1, "window_strides": 1, "padding": (0, 0), "base_dilation": 1, "window_dilation": 1}
    made = primitive.bind(
        whole, **{**params, **{k: (ones[k], *(v[axis] for axis in moved)) for k, v in per_axis.items()}}
    )
    made = jax.lax.reshape(made, (*front, *made.shape[1:]))
    return jax.lax.transpose(made, [order.index(axis) for axis in range(x.ndim)])


def _distinct(inputs: list[str], outputs: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs, none of them twice: ONNX has one table for all."""
    taken: set[str] = set()

    def free(name: str) -> str:
        made, n = name, 1
        while made in taken:
            made, n = f"{name}_{n}", n + 1
        taken.add(made)
        return made

    return [free(name) for name in inputs], [free(name) for name in outputs]
