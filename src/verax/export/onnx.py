"""Models as ONNX, through jax2onnx."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import InputError, MissingExtraError
from verax.export.archive import Served, traced
from verax.export.signature import signature_of
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

    def function(*args: Any) -> tuple[Any, ...]:
        return tuple(run(weights, list(args), 0))

    shapes = [
        jax.ShapeDtypeStruct(_axes(i, leaf["shape"]), jnp.dtype(leaf["dtype"]))  # names stand for open sizes
        for i, leaf in enumerate(leaves)
    ]
    options: dict[str, Any] = {} if opset is None else {"opset": opset}
    path = Path(filepath)
    said = _distinct([leaf["name"] or f"input_{i}" for i, leaf in enumerate(leaves)], names)
    try:
        with traced_for("onnx"):
            made = convert(
                function, inputs=shapes, model_name=model.name, input_names=said[0], output_names=said[1], **options
            )
    except Exception as error:  # jax2onnx raises almost every class there is
        received = " ".join(str(error).split())[:400]
        do = "Export as 'stablehlo', or say all sizes in input_signature."
        raise InputError(asked, received=received, because="jax2onnx cannot convert it", do=do) from error
    with written_whole(path) as file:
        file.write(made.SerializeToString())


def _axes(leaf: int, shape: list[int | None]) -> tuple[Any, ...]:
    return tuple("batch" if n is None and a == 0 else f"dim_{leaf}_{a}" if n is None else n for a, n in enumerate(shape))


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
