"""The optimizer's state in files of Keras' form."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from verax.errors import InputError, VeraxWarning
from verax.frame.tree import Tree

if TYPE_CHECKING:
    from verax.formats.hdf5 import Contents

__all__ = ["place", "read", "restoring"]

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


def read(model: Any, contents: Contents, *, lenient: bool) -> Callable[[], None]:
    """What sets the optimizer's state to that of a file; nothing where there is none, or the model is not compiled."""
    found = contents.below(f"{_GROUP}/vars")
    if model._model.compiled is None or not found:
        return lambda: None
    stored = [found.get(str(i)) for i in range(len(found))]
    arrays = [np.zeros(0) if one is None else one.read() for one in stored]

    def state(optimizer: Any, params: dict[str, Any]) -> Any:
        return optimizer.from_variables(arrays, params, list(params))

    return restoring(model, state, contents.name, arrays=arrays, lenient=lenient)


def restoring(
    model: Any, state_of: Callable[[Any, dict[str, Any]], Any], name: str, *, arrays: Sequence[Any], lenient: bool
) -> Callable[[], None]:
    """What gives a compiled model's optimizer a state, once everything else is known to fit.

    Args:
        model: A model, built and compiled.
        state_of: (optimizer, path -> trained value, in Keras' order) -> state.
        name: The file, for messages.
        arrays: What the file has: before its first step an optimizer of Keras has an iteration, a rate, and no state.
        lenient: Warn where the state is another optimizer's, and leave it: the weights are what was asked for.
    """
    compiled = model._model.compiled
    params = {path: v.own() for path, v in Tree.of(model).params().items()}
    try:
        state = state_of(compiled.optimizer, params)
    except InputError as error:
        if all(np.ndim(array) == 0 for array in arrays):
            return lambda: None
        if not lenient:
            raise
        said = " ".join(str(error).split())[:400]
        text = f"The state of the optimizer was not loaded from {name}: it begins anew. {said}"
        warnings.warn(text, VeraxWarning, stacklevel=5)
        return lambda: None

    def restore() -> None:
        compiled.opt_state, compiled.trained, compiled.steps = state, frozenset(params), int(state.step)
        if not callable(compiled.optimizer.learning_rate) and "learning_rate" in state.hyperparams:
            compiled.optimizer.learning_rate = compiled.optimizer.current_learning_rate(state)
            compiled.rate = compiled.optimizer.learning_rate

    return restore
