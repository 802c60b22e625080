"""Whole models as ``.keras`` files: the configuration, the weights, the optimizer's state, the vocabularies."""

from __future__ import annotations

import datetime
import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from verax._version import __version__
from verax.errors import DataError, VeraxWarning
from verax.formats import archive, hdf5
from verax.frame.custom_objects import custom_object_scope
from verax.frame.files import written_whole
from verax.frame.serialized import serialize_keras_object, unsafely
from verax.frame.variable import values_later
from verax.model import optimizer_file
from verax.model.revival import check_model, refuse_unsafe, revive
from verax.model.stored import place_weights, read_weights, shelves

__all__ = ["read", "read_weights_of", "write"]

_METADATA, _CONFIG, _WEIGHTS, _ASSETS = "metadata.json", "config.json", "model.weights.h5", "assets"
#: The release of Keras whose form this is.
_FORM = "3.15.1"
#: Weights of more bytes pass through the disk on their way into the archive.
_IN_MEMORY = 1 << 28


def write(model: Any, path: Path, *, compiled: bool = True) -> None:
    """Write a model to a ``.keras`` file, with how it is compiled and the optimizer's state where ``compiled``."""
    config = serialize_keras_object(model)
    if not compiled:
        config.pop("compile_config", None)
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    metadata = json.dumps({"keras_version": _FORM, "date_saved": now, "verax_version": __version__})
    if not model.built:
        warnings.warn(
            f"{model.name!r} was saved without weights: it has none before it has seen the shape of its input.",
            VeraxWarning,
            stacklevel=4,
        )
    arrays, groups = place_weights(model)
    if compiled:
        optimizer_file.place(model, arrays, groups)
    with written_whole(path) as file, zipfile.ZipFile(file, "w") as packed:
        packed.writestr(_METADATA, metadata)
        packed.writestr(_CONFIG, json.dumps(config))
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as weights:
            hdf5.write(cast("IO[bytes]", weights), arrays, groups)
            weights.seek(0)
            with packed.open(_WEIGHTS, "w", force_zip64=True) as member:
                shutil.copyfileobj(weights, member, 1 << 20)
        _write_assets(model, packed)


def _write_assets(model: Any, packed: zipfile.ZipFile) -> None:
    for shelf in shelves(model):
        if hasattr(shelf.layer, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                cast("Any", shelf.layer).save_assets(folder)
                for file in sorted(Path(folder).rglob("*")):
                    if file.is_file():
                        packed.write(file, PurePosixPath(_ASSETS, shelf.path, file.relative_to(folder).as_posix()))


def read(path: Path, custom_objects: Mapping[str, Any] | None, *, compile: bool, safe_mode: bool) -> Any:
    """The model of a ``.keras`` file, or of a folder that holds what one does."""
    with archive.opened(path) as members:
        config = _json(members, _CONFIG)
        _json(members, _METADATA)
        if not compile:
            config = {k: v for k, v in config.items() if k != "compile_config"}
        if safe_mode:
            refuse_unsafe(config, str(path))
        with custom_object_scope(custom_objects), unsafely(not safe_mode), values_later() as unset:
            model = revive({"module": "keras.models", **config}, str(path))
            check_model(model, str(path))
            if model.built:
                _fill(model, members, lenient=False)
            for one in unset:
                one.settle()
        _read_assets(model, members)
    return model


def read_weights_of(model: Any, path: Path, *, skip_mismatch: bool) -> None:
    """Set the weights of ``model`` to those of a ``.keras`` file."""
    with archive.opened(path) as members:
        _fill(model, members, lenient=True, skip_mismatch=skip_mismatch)


def _fill(model: Any, members: Any, *, lenient: bool, skip_mismatch: bool = False) -> None:
    names = members.names()
    if _WEIGHTS not in names:
        pickled = any(name.endswith(".weights.npz") for name in names)
        raise DataError(
            f"{members.name} was to be loaded.",
            received=f"a file without {_WEIGHTS!r}" + (", with pickled weights in its place" if pickled else ""),
            because="weights are read from HDF5" + (", and reading a pickle could run any program" if pickled else ""),
            do="Save the model again with Keras' weights_format='h5'." if pickled else "Take another copy of it.",
        )
    with members.file(_WEIGHTS) as file, hdf5.opened(file, f"{members.name}:{_WEIGHTS}") as contents:
        restore = optimizer_file.read(model, contents, lenient=lenient)
        read_weights(model, contents, skip_mismatch=skip_mismatch)
        restore()


def _read_assets(model: Any, members: Any) -> None:
    names = members.names()
    for shelf in shelves(model):
        start = f"{PurePosixPath(_ASSETS, shelf.path)}/"
        mine = [name for name in names if name.startswith(start) and "/" not in name[len(start) :]]
        if mine and hasattr(shelf.layer, "load_assets"):
            with tempfile.TemporaryDirectory() as folder:
                for name in mine:
                    with members.file(name) as file, (Path(folder) / name[len(start) :]).open("wb") as copy:
                        shutil.copyfileobj(file, copy)
                cast("Any", shelf.layer).load_assets(folder)


def _json(members: Any, name: str) -> dict[str, Any]:
    try:
        found: Any = json.load(io.BytesIO(members.read(name)))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{members.name} was to be read.", received=f"{name!r}: {error}", because="it is no JSON"
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{members.name} was to be read.", received=f"{name!r}, which is no JSON object")
    return cast("dict[str, Any]", found)
