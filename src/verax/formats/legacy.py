"""Keras' older HDF5 files (``.h5``), of weights or of whole models, as plain data.

A group for each layer holds its weights; its attribute ``weight_names`` says their order, and ``layer_names`` above
says that of the layers. A file of a whole model has them in ``model_weights``, and beside it, as JSON in attributes,
what the model is (``model_config``) and how it was compiled (``training_config``).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from verax.errors import DataError
from verax.formats import hdf5

__all__ = ["LegacyFile", "SavedLayer", "opened"]

#: A list of names in one attribute is split where it is longer than HDF5 allows (64 KiB); no file has more pieces.
_MOST_PIECES = 100_000


@dataclass(frozen=True)
class SavedLayer:
    """The weights of a layer.

    Attributes:
        name: The layer's name when it was saved.
        names: Those of its weights.
        arrays: The weights, not yet read.
    """

    name: str
    names: list[str]
    arrays: list[hdf5.Stored]


@dataclass(frozen=True)
class LegacyFile:
    """What a file holds.

    Attributes:
        name: The file's name, for messages.
        version: The version of Keras that wrote it; "1" where it does not say.
        layers: The layers in their order, those without weights too.
        top: The weights of the model itself, where the file has a place for them.
        model_config, training_config: What the model is, and how it was compiled; None in a file of weights.
        optimizer: The optimizer's state, where it was saved.
    """

    name: str
    version: str
    layers: list[SavedLayer]
    top: SavedLayer | None
    model_config: dict[str, Any] | None
    training_config: dict[str, Any] | None
    optimizer: SavedLayer | None


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Generator[LegacyFile]:
    """What a ``.h5`` file holds, while the block runs.

    Raises:
        DataError: It is no HDF5 file, is damaged, or lacks what it says it has.
    """
    with hdf5.opened(path) as contents:
        root = contents.groups[""]
        base = "model_weights" if "model_weights" in contents.groups and not _has(root, "layer_names") else ""
        attributes = contents.groups[base]
        if not _has(attributes, "layer_names"):
            raise _broken(contents, "it has no list of layers (layer_names)", "Is it a .weights.h5 file?")
        layers = [_saved(contents, base, name) for name in _names(contents, attributes, "layer_names")]
        top = "top_level_model_weights"
        version = attributes.get("keras_version", root.get("keras_version", "1"))
        yield LegacyFile(
            contents.name,
            str(version),
            layers,
            _saved(contents, base, top) if f"{base}/{top}".removeprefix("/") in contents.groups else None,
            _config(contents, "model_config"),
            _config(contents, "training_config"),
            _saved(contents, "", "optimizer_weights") if "optimizer_weights" in contents.groups else None,
        )


def _saved(contents: hdf5.Contents, base: str, name: str) -> SavedLayer:
    path = _joined(base, name)
    if path not in contents.groups:
        raise _broken(contents, f"it lists {name!r}, and has no group of that name")
    names = _names(contents, contents.groups[path], "weight_names")
    arrays: list[hdf5.Stored] = []
    for one in names:
        stored = contents.arrays.get(_joined(path, one))
        if stored is None or stored.dtype.kind == "S":
            raise _broken(contents, f"it lists the weight {one!r} of {name!r}, and has no such array")
        arrays.append(stored)
    return SavedLayer(name, names, arrays)


def _names(contents: hdf5.Contents, attributes: Mapping[str, Any], key: str) -> list[str]:
    """A list of names, which may be kept in pieces: ``layer_names0``, ``layer_names1``, ..."""
    pieces = [attributes[key]] if key in attributes else []
    while not (pieces and key in attributes) and f"{key}{len(pieces)}" in attributes and len(pieces) < _MOST_PIECES:
        pieces.append(attributes[f"{key}{len(pieces)}"])
    found: list[str] = []
    for piece in pieces:
        for one in np.asarray(piece).reshape(-1).tolist():  # none at all are kept as floats
            try:
                found.append(one.decode() if isinstance(one, bytes) else str(one))
            except UnicodeDecodeError as error:
                raise _broken(contents, f"{key} holds what is no text") from error
    return found


def _has(attributes: Mapping[str, Any], key: str) -> bool:
    return key in attributes or f"{key}0" in attributes


def _joined(base: str, name: str) -> str:
    return "/".join(word for word in (*base.split("/"), *name.split("/")) if word)


def _config(contents: hdf5.Contents, key: str) -> dict[str, Any] | None:
    text = contents.groups[""].get(key)
    if text is None:
        return None
    try:
        found = json.loads(text) if isinstance(text, (str, bytes)) else None
    except (ValueError, RecursionError) as error:
        raise _broken(contents, f"{key} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _broken(contents, f"{key} is no table in JSON")
    return cast("dict[str, Any]", found)


def _broken(contents: hdf5.Contents, because: str, do: str = "Take another copy of it.") -> DataError:
    return DataError(f"{contents.name} was to be read.", received="no whole .h5 file of Keras", because=because, do=do)
