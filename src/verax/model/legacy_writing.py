"""Whole models as Keras' older ``.h5`` files, for programs that read no other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from verax.formats import hdf5
from verax.frame.files import written_whole
from verax.frame.frame import values
from verax.frame.registry import registries, snake_case
from verax.frame.serialized import serialize_keras_object
from verax.frame.tree import Tree
from verax.model.legacy import own_weights, top_weights

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from verax.frame.variable import Variable
    from verax.model.model import Model

__all__ = ["save_model"]

#: The release of Keras whose form this is.
_FORM = "3.15.1"
#: An attribute that is a list has at most 64 KiB; longer lists are kept in pieces.
_MOST_BYTES = 60_000

Groups = dict[str, dict[str, Any]]
Arrays = dict[str, "np.ndarray[Any, Any]"]


def save_model(model: Model, path: Path, include_optimizer: bool = True) -> None:
    """Write a built model to a ``.h5`` file: what it is, its weights, how it is compiled, the optimizer's state.

    Args:
        model: The model.
        path: The file; what was there stays until the new one is whole.
        include_optimizer: Whether how it is compiled, and the optimizer's state, are saved.

    Raises:
        InputError: A part of the model that no configuration can hold, as a lambda.
    """
    values(model)  # refused unless it is built
    described = cast("dict[str, Any]", serialize_keras_object(model))
    name = described["registered_name"] or described["class_name"]
    root = {
        "keras_version": _FORM,
        "backend": "jax",
        "model_config": json.dumps({"class_name": name, "config": described["config"]}),
    }
    groups: Groups = {"": root, "model_weights": {"keras_version": _FORM, "backend": "jax"}}
    arrays: Arrays = {}
    Tree.of(model)  # names every weight by its path
    for layer in model.layers:
        _place(groups, arrays, f"model_weights/{layer.name}", own_weights(layer))
    _place(groups, arrays, "model_weights/top_level_model_weights", top_weights(model))
    groups["model_weights"] |= _pieces("layer_names", [layer.name for layer in model.layers])
    compiled = model._model.compiled
    if include_optimizer and compiled is not None:
        root["training_config"] = json.dumps(_training_config(model))
        if compiled.opt_state is not None:
            order = [v.path for v in model.trainable_variables]
            names = compiled.optimizer.variable_names(compiled.opt_state, order)
            saved = compiled.optimizer.to_variables(compiled.opt_state, order)
            groups["optimizer_weights"] = _pieces("weight_names", names)
            arrays |= {f"optimizer_weights/{n}": array for n, array in zip(names, saved, strict=True)}
    with written_whole(path) as file:
        hdf5.write(file, arrays, groups)


def _place(groups: Groups, arrays: Arrays, group: str, weights: Iterable[Variable]) -> None:
    named = {v.path: np.asarray(v.own()) for v in weights}
    groups[group] = _pieces("weight_names", list(named))
    arrays.update({f"{group}/{path}": array for path, array in named.items()})


def _pieces(key: str, names: list[str]) -> dict[str, Any]:
    """A list of names as one attribute, or as several."""
    encoded = np.array([name.encode() for name in names]) if names else np.zeros(0)
    if encoded.nbytes <= _MOST_BYTES:
        return {key: encoded}
    return {f"{key}{i}": part for i, part in enumerate(np.array_split(encoded, -(-encoded.nbytes // _MOST_BYTES)))}


def _training_config(model: Model) -> dict[str, Any]:
    config = model.get_compile_config()
    optimizer = config.pop("optimizer")
    return {
        **config,
        "loss": _full_names(config["loss"], "loss"),
        "metrics": _full_names(config["metrics"], "metric"),
        "weighted_metrics": _full_names(config["weighted_metrics"], "metric"),
        "optimizer_config": {"class_name": optimizer["class_name"], "config": optimizer["config"]},
    }


def _full_names(value: Any, kind: str) -> Any:
    """Names that Keras finds in these files: ``"mean_squared_error"``, and not ``"mse"``."""
    entries = registries[kind].entries()
    if isinstance(value, str) and value in entries:
        full = snake_case(entries[value].__name__)
        return full if entries.get(full) is entries[value] else value
    if isinstance(value, (list, tuple)):
        return [_full_names(one, kind) for one in cast("list[Any]", value)]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _full_names(one, kind) for key, one in cast("dict[str, Any]", value).items()}
    return value
