"""Weights of a model from an Orbax checkpoint, of Verax or of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from verax.errors import DataError
from verax.formats import orbax
from verax.frame.frame import load_values
from verax.frame.tree import Tree

__all__ = ["is_checkpoint", "read_weights"]


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder has the steps of an Orbax checkpoint, or is one of them."""
    last = [str(step) for step in orbax.steps(folder)[-1:]]
    return folder.joinpath(*last, "_CHECKPOINT_METADATA").exists()


def read_weights(model: Any, folder: Path) -> None:
    """Set all weights to those of the last step in a folder, or of the step that the folder is; all, or none.

    Keras' paths of a Sequential model or a subclass begin with the model's name; here they do not.
    """
    steps = orbax.steps(folder)
    found: dict[str, Any] = {}
    for path, value in orbax.read(folder, steps[-1] if steps else None, "pytree").items():
        kind, _, rest = path.partition("/")
        if kind in ("trainable_variables", "non_trainable_variables"):
            found[rest] = value
    shapes = {place.path: tuple(variable.shape) for variable, place in Tree.of(model).variables.values()}
    empty = {path: np.empty(shape) for path, shape in shapes.items() if 0 in shape}  # an Orbax checkpoint has none
    for cut in (found, {path.partition("/")[2]: value for path, value in found.items()}):
        # Keras draws from states of its own, which are no weights.
        mine = {**empty, **{path: value for path, value in cut.items() if path in shapes}}
        extra = sorted(path for path in cut.keys() - shapes.keys() if not path.endswith("seed_generator_state"))
        if not extra and {path: value.shape for path, value in mine.items()} == shapes:
            load_values(model, {path: value for path, value in mine.items() if path not in empty})
            return
    raise DataError(
        f"Weights were to be loaded into {model.name!r} from {folder}.",
        received=f"an Orbax checkpoint with {sorted(found)[:3]}",
        because=f"the model has {sorted(shapes)[:3]}: names or shapes are others",
        do="Build the model as it was, with the same names of layers.",
    )
