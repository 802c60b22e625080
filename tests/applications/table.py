"""What every network of keras.applications is made of, in table.json, because building them all takes minutes.

    python -m tests.applications.table

A row has the function's arguments and defaults; the name, the address and the hash of its two files of weights; the
layers with ImageNet's weights, where they are not those without; and of the network with its head and of the one
without, the output's shape, the numbers of parameters, and four hexadecimal digits for each layer: of its class, its
name, the shapes of its outputs and of its weights (all those of the headless one hashed again). Weights start at zero
on both sides: nothing here depends on their values.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.applications.side_by_side import undrawn

__all__ = ["DIGITS", "TABLE", "asked_for", "digits", "lines", "row", "rows", "short"]

TABLE = Path(__file__).with_name("table.json")
#: So many digits tell of one layer.
DIGITS = 4


def rows() -> dict[str, dict[str, Any]]:
    """The table, as it is kept."""
    return json.loads(TABLE.read_text())


def lines(model: Any) -> list[str]:
    """Each layer in words: class, name, shapes of outputs and of weights."""
    outputs = _outputs(model)
    return [
        f"{type(layer).__name__} {layer.name} {sorted(outputs[layer.name])} {[tuple(w.shape) for w in layer.weights]}"
        for layer in model.layers
    ]


def _outputs(model: Any) -> dict[str, set[str]]:
    """layer -> the shapes of what it returned: Keras' layers know, and here the graph does."""
    found: dict[str, set[str]] = {layer.name: set() for layer in model.layers}
    if not hasattr(model.outputs[0], "node"):
        for layer in model.layers:
            found[layer.name].add(str(tuple(layer.output.shape)))
        return found
    stack, seen = list(model.outputs), set[int]()
    while stack:
        tensor = stack.pop()
        if tensor.node is None or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if tensor.name in found:
            found[tensor.name].add(str(tuple(tensor.shape)))
        stack.extend(tensor.node.inputs())
    return found


def digits(model: Any) -> str:
    """A few digits for each layer."""
    return "".join(hashlib.sha256(line.encode()).hexdigest()[:DIGITS] for line in lines(model))


def one(model: Any) -> dict[str, Any]:
    """A network's part of a row."""
    shape = model.output_shape
    return {
        "name": model.name,
        "output": list(shape),
        "parameters": model.count_params(),
        "trainable": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "layers": digits(model),
    }


def row(function: Any, library: Any, parts: Sequence[str] = ("whole", "bare")) -> dict[str, Any]:
    """What is to be compared of a function of ``applications``."""
    found: dict[str, Any] = {
        "arguments": [[p.name, repr(p.default)] for p in inspect.signature(function).parameters.values()]
    }
    for part in parts:
        library.utils.clear_session(free_memory=False)
        arguments = {} if part == "whole" else {"include_top": False, "pooling": "avg"}
        found[part] = one(function(weights=None, **arguments))
    if "bare" in parts:
        found["bare"]["layers"] = short(found["bare"]["layers"])
    return found


def short(layers: str) -> str:
    """The digits of all layers as one number."""
    return hashlib.sha256(layers.encode()).hexdigest()[:16]


class Fetched(Exception):  # noqa: N818 (what happened, and no error)
    """In the place of a download."""


def asked_for(patch: pytest.MonkeyPatch, holder: Any, function: Any, **arguments: Any) -> list[str | None]:
    """Name, address and hash of the file that a function asks for where nothing has been fetched."""

    def get(fname: str, origin: str, *, cache_subdir: str, file_hash: str | None = None) -> str:
        assert cache_subdir == "models"
        raise Fetched(fname, origin, file_hash)

    with patch.context() as inner:
        inner.setattr(holder, "get_file", get)
        with pytest.raises(Fetched) as caught:
            function(weights="imagenet", **arguments)
    return list(caught.value.args)


def main() -> None:
    """Write the table from real Keras."""
    with undrawn() as keras, pytest.MonkeyPatch.context() as patch:
        from keras.src.utils import file_utils

        found: dict[str, Any] = {}
        for name in sorted(n for n in dir(keras.applications) if n[0].isupper()):
            function = getattr(keras.applications, name)
            found[name] = row(function, keras)
            found[name]["files"] = [asked_for(patch, file_utils, function, include_top=top) for top in (True, False)]
            with patch.context() as inner:
                inner.setattr(file_utils, "get_file", lambda *args, **kwargs: "")
                inner.setattr(keras.Model, "load_weights", lambda *args, **kwargs: None)
                keras.utils.clear_session(free_memory=False)
                pretrained = digits(function(weights="imagenet"))
            if pretrained != found[name]["whole"]["layers"]:
                found[name]["pretrained"] = short(pretrained)
            print(f"{name:20}{found[name]['whole']['parameters']:>14,}", flush=True)
    text = ",\n".join(f' "{name}": {json.dumps(found[name])}' for name in found)
    TABLE.write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
