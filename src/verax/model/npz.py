"""Weights in a ``.npz`` file, path by path: what NumPy alone can read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verax.errors import DataError
from verax.formats import npz
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
        npz.write(file, arrays)


def load(model: Model, path: Path) -> None:
    """Read weights written by ``save``; all of them, or none when one is missing or of another shape."""
    arrays = {name.removeprefix(_PREFIX): array for name, array in npz.read(path).items()}
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
    load_values(model, arrays)
