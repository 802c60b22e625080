"""What a function takes, said in any of the ways people say it: specs, symbolic tensors, arrays."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np

from verax.errors import DtypeError, InputError
from verax.export.structure import Description, described
from verax.frame.settings import floatx
from verax.frame.symbolic import is_symbolic
from verax.layers import InputSpec

__all__ = ["Leaf", "signature_of"]


class Leaf(NamedTuple):
    """One input.

    Attributes:
        name: What it is called; empty where nobody said.
        shape: Its sizes, None for those left open.
        dtype: Its dtype's name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def signature_of(structure: Any, asked: str) -> Description:
    """The structure of the inputs as a description whose tensors have names, shapes and dtypes.

    Args:
        structure: Nested lists, tuples and dicts of ``InputSpec``, symbolic tensors, ``jax.ShapeDtypeStruct``, arrays.
        asked: What messages begin with.

    >>> spec = signature_of({"x": InputSpec("uint8", (None, 8, 8, 3))}, "")["items"]["x"]
    >>> spec["shape"], spec["dtype"], spec["name"]
    ([None, 8, 8, 3], 'uint8', 'x')
    """

    def leaf(value: Any, path: str) -> Description | None:
        if not isinstance(value, InputSpec) and not (hasattr(value, "shape") and hasattr(value, "dtype")):
            return None
        bare = is_symbolic(value) and getattr(value, "node", None) is None
        name = "" if bare else getattr(value, "name", None) or ""
        key = path.rpartition("/")[2]
        found = Leaf(name or (f"input_{key}" if key.isdigit() else key), _shape(value, asked), _dtype(value, asked))
        return {"name": found.name, "shape": list(found.shape), "dtype": found.dtype}

    try:
        return described(structure, leaf)
    except InputError as error:
        if type(error) is not InputError:
            raise
        raise InputError(
            asked,
            received=f"input_signature={structure!r}",
            because="it is made of InputSpec, symbolic tensors or arrays, in lists, tuples and dicts",
            do="Say shape and dtype of each input: verax.InputSpec('float32', (None, 8)).",
        ) from error


def _shape(value: Any, asked: str) -> tuple[int | None, ...]:
    shape = value.shape
    if shape is None:
        raise InputError(asked, received=repr(value), because="its shape is unknown", do="Say it: shape=(None, 8).")
    shape = tuple(shape)
    # An array stands for batches of any number of rows.
    return (None, *shape[1:]) if isinstance(value, np.ndarray) or hasattr(value, "devices") else shape


def _dtype(value: Any, asked: str) -> str:
    dtype = value.dtype or floatx()
    try:
        made = jnp.dtype(cast("Any", dtype))
    except TypeError:
        made = None
    if made is None or made.kind in "OSU":
        raise DtypeError(
            asked,
            received=f"an input of dtype {dtype}",
            because="an exported program holds numbers only: text is cut and looked up on the host",
            do="Export the part behind TextVectorization or StringLookup, which takes their integers, and keep the "
            "layer's vocabulary (layer.get_vocabulary()) beside the file to make those.",
        )
    return made.name
