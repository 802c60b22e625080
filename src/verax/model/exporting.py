"""A model on its way into a file that predicts by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import jax

from verax.errors import InputError, NotBuiltError, UnknownNameError
from verax.export.archive import ExportArchive, check_options
from verax.export.onnx import write_onnx
from verax.export.signature import signature_of
from verax.export.structure import filled, leaves_of
from verax.frame.symbolic import SymbolicTensor, is_symbolic

if TYPE_CHECKING:
    from verax.model.model import Model

__all__ = ["FORMATS", "export"]

FORMATS = ("stablehlo", "onnx")
#: Formats of Keras that need another library to write.
_OTHERS = {
    "tf_saved_model": "TensorFlow",
    "litert": "TensorFlow or LiteRT",
    "openvino": "OpenVINO",
    "torch": "PyTorch",
}


def export(
    model: Model, filepath: str | os.PathLike[str], form: str, verbose: Any, signature: Any, options: dict[str, Any]
) -> None:
    """``Model.export``: see there."""
    asked = f"Model {model.name!r} was to be exported."
    if form in _OTHERS:
        raise InputError(
            asked,
            received=f"format={form!r}",
            because=f"that is a format of {_OTHERS[form]}, and Verax has JAX alone",
            do="Use 'stablehlo', which verax.load_exported serves, or 'onnx', which ONNX Runtime, OpenVINO and others "
            "read; or save the model as .keras, load it with Keras and export it there.",
        )
    if form not in FORMATS:
        raise UnknownNameError.among("format to export to", form, FORMATS)
    inputs = _inputs(model, signature, asked)
    outputs = model.prepare(inputs)
    say = verbose is None or bool(verbose)
    if form == "onnx":
        check_options(options, ("opset_version",), form)
        write_onnx(model, inputs, outputs.names, filepath, options.get("opset_version"), asked)
        if say:
            print(f"Exported to {str(filepath)!r}, {os.path.getsize(filepath):,} bytes of ONNX.")
        return
    archive = ExportArchive()
    archive.track(model)
    archive._add("serve", model, [inputs], check_options(options, ("platforms",), form), outputs.names)
    archive.write_out(filepath, verbose=say)


def _inputs(model: Model, signature: Any, asked: str) -> Any:
    """Symbolic inputs, in the structure the model takes."""
    declared = model.input
    if signature is None:
        if declared is None:
            raise NotBuiltError(
                asked,
                because="it has not seen an input, so its shapes are unknown",
                do="Call it once on data, or pass input_signature=verax.InputSpec('float32', (None, 8)).",
            )
        return declared
    listed = isinstance(declared, (list, tuple)) and len(jax.tree.leaves(declared, is_leaf=is_symbolic)) == 1
    if isinstance(signature, (list, tuple)) and len(signature) == 1 and not listed:
        signature = signature[0]  # a list of arguments, as Keras has it: a model takes one
    said = signature_of(signature, asked)
    leaves = leaves_of(said)
    known = jax.tree.leaves(declared, is_leaf=is_symbolic) if declared is not None else []
    nodes = [t.node for t in known] if len(known) == len(leaves) else [None] * len(leaves)
    made = (SymbolicTensor(tuple(d["shape"]), d["dtype"], node) for d, node in zip(leaves, nodes, strict=True))
    return filled(said, made)
