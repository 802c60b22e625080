"""The optimizer's state in files of Keras' form."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from verax.errors import InputError, VeraxWarning
from verax.frame.tree import Tree

if TYPE_CHECKING:
    from verax.formats.hdf5 import Contents

__all__ = ["place", "read"]

_GROUP = "optimizer"


def place(model: Any, arrays: dict[str, np.ndarray[Any, Any]], groups: dict[str, dict[str, Any]]) -> None:
    """Add the state of a compiled model's optimizer, where it has one that is of the weights trained now."""
    compiled = model._model.compiled
    order = list(Tree.of(model).params())
    if compiled is None or compiled.opt_state is None or compiled.trained != frozenset(order):
        return
    for group, name, kept in compiled.optimizer.stored(compiled.opt_state, order):
        inside = f"{_GROUP}/{group}/vars" if group else f"{_GROUP}/vars"
        groups[inside] = {"name": name}
        arrays.update({f"{inside}/{i}": array for i, array in enumerate(kept)})


def read(model: Any, contents: Contents, *, lenient: bool) -> None:
    """Set the optimizer's state to that of a file, where there is one and the model is compiled.

    Args:
        model: A model, built.
        contents: What the file holds.
        lenient: Warn where the state is another optimizer's, and leave it: only the weights were asked for.
    """
    compiled = model._model.compiled
    found = contents.below(f"{_GROUP}/vars")
    if compiled is None or len(found) <= 2:  # Keras' optimizer before its first step: an iteration, and a rate
        return
    params = {path: v._value for path, v in Tree.of(model).params().items()}
    try:
        arrays = [found[str(i)].read() if str(i) in found else np.zeros(0) for i in range(len(found))]
        state = compiled.optimizer.from_variables(arrays, params, list(params))
    except InputError as error:
        if not lenient:
            raise
        text = f"The state of the optimizer was not loaded from {contents.name}: {' '.join(str(error).split())}"
        warnings.warn(text, VeraxWarning, stacklevel=4)
        return
    compiled.opt_state, compiled.trained, compiled.steps = state, frozenset(params), int(state.step)
    if not callable(compiled.optimizer.learning_rate) and "learning_rate" in state.hyperparams:
        compiled.optimizer.learning_rate = compiled.optimizer.current_learning_rate(state)
        compiled.rate = compiled.optimizer.learning_rate
