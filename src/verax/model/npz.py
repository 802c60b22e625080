"""Weights in a file: path by path, written whole or not at all."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from verax.errors import DataError
from verax.frame.files import written_whole
from verax.frame.frame import load_values, values

if TYPE_CHECKING:
    from verax.model.model import Model

__all__ = ["load", "save"]

# Before each path in the file, so that no path can be taken for an argument of numpy.savez.
_PREFIX = "weights/"


def save(model: Model, path: Path) -> None:
    """Write all weights to ``path``, an array for each of their paths."""
    params, state = values(model)
    arrays: dict[str, Any] = {_PREFIX + name: np.asarray(value) for name, value in {**params, **state}.items()}
    with written_whole(path) as file:
        np.savez(file, **arrays)


def load(model: Model, path: Path) -> None:
    """Read weights written by ``save``; all of them, or none when one is missing or of another shape."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # numpy leaves a broken one open
            arrays = {name.removeprefix(_PREFIX): file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"Weights were to be loaded from {path}.", received=str(error), because="it is not a whole .npz file"
        ) from error
    params, state = values(model)
    own = params.keys() | state.keys()
    if own != arrays.keys():
        missing, extra = sorted(own - arrays.keys()), sorted(arrays.keys() - own)
        raise DataError(
            f"Weights were to be loaded into {model.name!r}.",
            received=f"a file without {missing[:3]}" if missing else f"a file with {extra[:3]} besides",
            because="its weights are those of another model",
            do="Build the model it was saved from, with the same layer names.",
        )
    bits = jnp.bfloat16  # NumPy forgets the name of this type
    load_values(model, {k: v.view(bits) if v.dtype == "V2" else v for k, v in arrays.items()})
