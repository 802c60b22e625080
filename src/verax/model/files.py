"""Models and weights as files: which form a file has, its suffix says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verax.errors import InputError, MissingFileError, NotBuiltError
from verax.formats import hdf5
from verax.formats.suffixes import WEIGHTS, WHOLE
from verax.frame.files import written_whole
from verax.model import keras_file, npz, optimizer_file, orbax_file
from verax.model.stored import place_weights, read_weights

__all__ = ["load_model", "load_weights", "save_model", "save_weights"]


def save_model(
    model: Any,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    zipped: bool | None = None,
    include_optimizer: bool = True,
) -> None:
    """Write a model to a ``.keras`` file, which Verax and Keras load: configuration, weights, how it is compiled, the
    optimizer's state, vocabularies.

    The file is written beside its place and moved there when all of it is on disk: an interruption leaves the old one.

    Args:
        model: The model.
        filepath: The file, ending in ``.keras``. Its folder is made.
        overwrite: Whether an existing file may be replaced.
        zipped: True or None: a ``.keras`` file is a zip archive.
        include_optimizer: Whether how it is compiled, and the optimizer's state, are saved.

    Raises:
        InputError: Another suffix; a file that exists, with ``overwrite=False``; a lambda or an object in the
            configuration that could not be read back.

    >>> import tempfile
    >>> model = verax.Sequential([verax.Input((4,)), verax.layers.Dense(3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, folder + "/small.keras")
    ...     again = load_model(folder + "/small.keras")
    >>> bool(np.all(again(np.ones((1, 4))) == model(np.ones((1, 4)))))
    True
    """
    path = _path(filepath, WHOLE, "A model was to be saved")
    if zipped is False:
        raise InputError(
            f"A model was to be saved to {path}.",
            received="zipped=False",
            because="a folder of files cannot take another's place in one step: an interruption would leave a mix",
            do="Leave it out; a .keras file is a zip archive, which can be unpacked.",
        )
    _check_free(path, overwrite)
    keras_file.write(model, path, compiled=include_optimizer)


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """The model that ``model.save`` wrote, in Verax or in Keras, with its weights; compiled, if it was.

    Args:
        filepath: The ``.keras`` file, or a folder that holds what one does.
        custom_objects: name -> class or function, for what is not of Verax and not registered.
        compile: Whether to compile it as it was compiled, with the optimizer's state.
        safe_mode: Whether to refuse what would run code of the file (lambdas) or read other files. False lets whoever
            wrote the file do what you can.

    Raises:
        DataError: The file is damaged, or no model, or holds weights that do not fit.
        InputError: It holds what is not safe, or the suffix is another one.
        UnknownNameError: It names a class or function that nobody knows: nothing is imported to find it.

    Differs from Keras: every weight in the file must be of the model; a vocabulary that is the name of a file is
    refused, too.
    """
    path = _existing(filepath, "A model was to be loaded")
    if not path.is_dir():
        path = _path(filepath, WHOLE, "A model was to be loaded")
    return keras_file.read(path, custom_objects, compile=compile, safe_mode=safe_mode)


def save_weights(
    model: Any, filepath: str | os.PathLike[str], overwrite: bool = True, max_shard_size: float | None = None
) -> None:
    """Write all weights to a file: ``.weights.h5`` in Keras' form, or ``.npz``, path by path."""
    path = _path(filepath, WEIGHTS, "Weights were to be saved")
    if max_shard_size is not None:
        raise InputError(
            f"Weights were to be saved to {path}.",
            received=f"max_shard_size={max_shard_size}",
            because="they are saved to one file",
            do="Leave it out; a folder of shards is what training checkpoints make.",
        )
    _check_free(path, overwrite)
    _check_built(model, "saved")
    if path.name.endswith(".npz"):
        npz.save(model, path)
        return
    arrays, groups = place_weights(model)
    optimizer_file.place(model, arrays, groups)
    with written_whole(path) as file:
        hdf5.write(file, arrays, groups)


def load_weights(model: Any, filepath: str | os.PathLike[str], skip_mismatch: bool = False) -> None:
    """Set all weights to those of a file; none is set if one does not fit, unless ``skip_mismatch``.

    ``filepath`` may also be a folder that ``OrbaxCheckpoint``, ours or Keras', has written, or a step in it.
    """
    path = _existing(filepath, "Weights were to be loaded")
    if path.is_dir() and orbax_file.is_checkpoint(path):
        _check_built(model, "loaded")
        if skip_mismatch:
            raise InputError(
                f"Weights were to be loaded from {path}.",
                received="skip_mismatch=True",
                because="an Orbax checkpoint is loaded whole",
                do="Leave it out.",
            )
        orbax_file.read_weights(model, path)
        return
    path = _path(path, (*WEIGHTS, *WHOLE), "Weights were to be loaded")
    _check_built(model, "loaded")
    if path.name.endswith(".keras"):
        keras_file.read_weights_of(model, path, skip_mismatch=skip_mismatch)
    elif path.name.endswith(".npz"):
        npz.load(model, path)
    else:
        with hdf5.opened(path) as contents:
            read_weights(model, contents, skip_mismatch=skip_mismatch)
            optimizer_file.read(model, contents)


def _path(filepath: str | os.PathLike[str], suffixes: tuple[str, ...], asked: str) -> Path:
    path = Path(filepath)
    if not path.name.endswith(suffixes):
        raise InputError(
            f"{asked}.",
            received=f"{os.fspath(filepath)!r}",
            because="what a file holds is known by its suffix",
            do=f"End the name in {' or '.join(repr(s) for s in suffixes)}.",
        )
    return path


def _existing(filepath: str | os.PathLike[str], asked: str) -> Path:
    path = Path(filepath)
    if not path.exists():
        near = sorted(p.name for p in path.parent.iterdir())[:5] if path.parent.is_dir() else []
        raise MissingFileError(
            f"{asked} from {path}.",
            received="no such file" + (f"; {str(path.parent)!r} holds {near}" if near else ""),
            do="Check the name and the folder.",
        )
    return path


def _check_free(path: Path, overwrite: bool) -> None:
    if path.is_dir() or (path.exists() and not overwrite):
        kind = "a folder has that name" if path.is_dir() else "the file exists"
        raise InputError(f"{path} was to be written.", because=kind, do="Pass overwrite=True, or another name.")


def _check_built(model: Any, what: str) -> None:
    if not model.built:
        raise NotBuiltError(
            f"The weights of {model.name!r} were to be {what}.",
            because="it has none before it has seen the shape of its input",
            do="Call it on data, or model.build(input_shape).",
        )
