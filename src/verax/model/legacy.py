"""Keras' older ``.h5`` files: weights into a model, and whole models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from verax.errors import DataError, VeraxWarning
from verax.formats import legacy
from verax.frame.custom_objects import custom_object_scope
from verax.frame.frame import load_values, values
from verax.frame.serialized import unsafely
from verax.frame.tree import Tree
from verax.frame.variable import Variable, values_later
from verax.model.legacy_config import compile_arguments, modern_model
from verax.model.optimizer_file import restoring
from verax.model.revival import check_model, refuse_unsafe, revive

if TYPE_CHECKING:
    from verax.formats.legacy import LegacyFile, SavedLayer
    from verax.layers import Layer
    from verax.model.model import Model

__all__ = ["load_model", "load_weights", "own_weights", "top_weights"]


def load_weights(model: Model, path: Any, by_name: bool = False, skip_mismatch: bool = False) -> None:
    """Read the weights of a ``.h5`` file that Keras wrote: of weights, or of a whole model.

    Args:
        model: A built model.
        path: The file.
        by_name: Whether layers are found by their names, those without one in the file left as they are; by default the
            layers that have weights are met in order.
        skip_mismatch: Whether weights of another shape are left as they are, and with ``by_name`` layers of another
            number of weights, with a warning.

    Raises:
        DataError: A file that is not whole; other layers, weights or shapes. The model is as it was.

    Differs from Keras: nothing is set where a weight does not fit (there those before it are).
    """
    values(model)  # refused unless it is built
    with legacy.opened(path) as file:
        load_values(model, _matched(model, file, by_name, skip_mismatch))


def load_model(
    path: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model of a ``.h5`` file that Keras 1, 2 or 3 wrote, with its weights.

    Args:
        path: The file.
        custom_objects: name -> class or function, for what is not of Verax and not registered; for a ``Lambda`` the
            function, under its own name or that of the layer.
        compile: Whether to compile it as it was, and to set the optimizer's state where it was saved.
        safe_mode: Whether to refuse what would run code of the file (a ``Lambda`` of bytecode) or read other files.

    Raises:
        DataError: A file that is not whole, or holds weights only.
        UnknownNameError: A class that nobody knows.
        InputError: What is not safe.

    Differs from Keras: ``hard_sigmoid`` in a file of Keras 1 or 2 is the function of that name there; all of the
    optimizer's state is set (there its number of steps only).
    """
    with legacy.opened(path) as file, custom_object_scope(custom_objects), unsafely(not safe_mode):
        if file.model_config is None:
            raise DataError(
                f"A model was to be loaded from {file.name}.",
                received="a file without model_config",
                because="it holds weights only",
                do="Build the model in code, then model.load_weights(path).",
            )
        config = modern_model(file.model_config, file.version, file.name, safe_mode=safe_mode)
        if safe_mode:
            refuse_unsafe(config, file.name)
        with values_later() as unset:
            model = revive(config, file.name)
            check_model(model, file.name)
            load_values(model, _matched(model, file, False, False))
            for one in unset:
                one.settle()
        if compile and file.training_config is not None and file.training_config.get("optimizer_config"):
            arguments = compile_arguments(file.training_config, file.version, file.name)
            model.compile(**{key: revive(value, file.name) for key, value in arguments.items()})
            if file.optimizer is not None and file.optimizer.arrays:
                arrays = [stored.read() for stored in file.optimizer.arrays]

                def state(optimizer: Any, params: dict[str, Any]) -> Any:
                    return _state(optimizer, arrays, params)

                restoring(model, state, file.name, arrays=arrays, lenient=True)()
        return model


# ---- the optimizer ---------------------------------------------------------------------------------------------------


def _state(optimizer: Any, arrays: list[Any], params: dict[str, Any]) -> Any:
    order = list(params)
    like = optimizer.init(params)
    names: list[str] = optimizer.variable_names(like, order)
    if len(arrays) == len(names):
        return optimizer.from_variables(arrays, params, order)
    # Keras 2 kept no learning rate, and the slots kind by kind: every momentum, then every velocity.
    fresh = [np.asarray(array) for array in optimizer.to_variables(like, order)]
    slots = {
        i: (path, name.rpartition("/")[2].removeprefix(f"{path.replace('/', '_')}_"))
        for i, name in enumerate(names)
        for path in order
        if name.rpartition("/")[2].startswith(f"{path.replace('/', '_')}_") and fresh[i].shape == params[path].shape
    }
    kinds = list(dict.fromkeys(kind for _, kind in slots.values()))
    if len(arrays) != 1 + len(kinds) * len(order) or len(slots) != len(kinds) * len(order):
        return optimizer.from_variables(arrays, params, order)  # which says what does not fit
    given = {
        (path, kind): arrays[1 + k * len(order) + p] for k, kind in enumerate(kinds) for p, path in enumerate(order)
    }
    made = [given[slots[i]] if i in slots else value for i, value in enumerate(fresh)]
    made[next(i for i, name in enumerate(names) if name.endswith("/iteration"))] = arrays[0]
    return optimizer.from_variables(made, params, order)


# ---- weights ---------------------------------------------------------------------------------------------------------


def own_weights(layer: Layer) -> list[Variable]:
    """A layer's weights in the order of these files: the trainable ones, then the others."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def top_weights(model: Model) -> list[Variable]:
    """Weights of the model itself, in no layer."""
    own = [child for _, _, child in model.children() if isinstance(child, Variable)]
    return sorted((v for v in (*model.own_variables(), *own) if not v.carried), key=lambda v: not v.trainable)


def _matched(model: Model, file: LegacyFile, by_name: bool, skip: bool) -> dict[str, Any]:
    """path -> array: what of the file goes where in the model."""
    where = {id(v): place.path for v, place in Tree.of(model).variables.values()}
    pairs = _by_name(model, file) if by_name else _by_order(model, file)
    if file.top is not None:
        top = top_weights(model)
        if file.top.arrays or (top and not by_name):
            pairs.append((model.name, top, file.top))
    found: dict[str, Any] = {}
    for name, variables, saved in pairs:
        if len(variables) != len(saved.arrays):
            said = f"{len(saved.arrays)} weights for {name!r} (in the file {saved.name!r}): {_listed(saved)}"
            needs = f"it has {len(variables)}: {', '.join(f'{where[id(v)]} {v.shape}' for v in variables)[:300]}"
            if skip and by_name:
                _skipped(model, file, said, needs)
                continue
            raise _unfit(model, file, said, needs)
        for variable, stored, title in zip(variables, saved.arrays, saved.names, strict=True):
            if stored.shape != variable.shape:
                said = f"{title!r} of shape {stored.shape} for {where[id(variable)]!r}"
                needs = f"that has shape {variable.shape}"
                if skip:
                    _skipped(model, file, said, needs)
                    continue
                raise _unfit(model, file, said, needs)
            if stored.dtype.kind not in "biufV" or (stored.dtype.kind in "iub") != (
                np.dtype(variable.dtype).kind in "iub"
            ):
                said = f"{title!r} of dtype {stored.dtype} for {where[id(variable)]!r}"
                raise _unfit(model, file, said, f"that has dtype {variable.dtype}")
            found[where[id(variable)]] = stored
    return {path: stored.read() for path, stored in found.items()}


def _by_order(model: Model, file: LegacyFile) -> list[tuple[str, list[Variable], SavedLayer]]:
    ours = [(layer.name, own_weights(layer)) for layer in model.layers if own_weights(layer)]
    theirs = [saved for saved in file.layers if saved.arrays]
    if len(ours) != len(theirs):
        n = next(
            (i for i, (one, two) in enumerate(zip(ours, theirs, strict=False)) if not _alike(one[1], two)),
            min(len(ours), len(theirs)),
        )
        first = f"; the first that differ: {ours[n][0] if n < len(ours) else 'none'!r} in the model"
        raise _unfit(
            model,
            file,
            f"{len(theirs)} layers with weights",
            f"the model has {len(ours)}{first}, {theirs[n].name if n < len(theirs) else 'none'!r} in the file",
        )
    return [(name, variables, saved) for (name, variables), saved in zip(ours, theirs, strict=True)]


def _by_name(model: Model, file: LegacyFile) -> list[tuple[str, list[Variable], SavedLayer]]:
    named = {saved.name: saved for saved in file.layers}
    return [(layer.name, own_weights(layer), named[layer.name]) for layer in model.layers if layer.name in named]


def _alike(variables: Sequence[Variable], saved: SavedLayer) -> bool:
    return [v.shape for v in variables] == [stored.shape for stored in saved.arrays]


def _listed(saved: SavedLayer) -> str:
    return ", ".join(f"{n} {s.shape}" for n, s in zip(saved.names, saved.arrays, strict=True))[:300]


def _skipped(model: Model, file: LegacyFile, said: str, needs: str) -> None:
    warnings.warn(f"{file.name} has {said}; {needs} in {model.name!r}: left as they are.", VeraxWarning, stacklevel=5)


def _unfit(model: Model, file: LegacyFile, received: str, because: str) -> DataError:
    return DataError(
        f"{file.name} was to be loaded into {model.name!r}.",
        received=received,
        because=because,
        do="Build the model the file was made from; by_name=True and skip_mismatch=True load what fits.",
    )
