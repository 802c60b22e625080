"""Models and weights as files: which form a file has, its suffix says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verax.errors import InputError, MissingFileError, NotBuiltError
from verax.formats import hdf5
from verax.formats.suffixes import INDEX, WEIGHTS, WHOLE
from verax.frame.files import written_whole
from verax.frame.settings import is_unsafe_deserialization_enabled
from verax.model import keras_file, legacy, legacy_writing, npz, optimizer_file, orbax_file, tensors
from verax.model.stored import place_weights, read_weights

__all__ = ["load_model", "load_weights", "save_model", "save_weights"]

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def save_model(
    model: Any,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    zipped: bool | None = None,
    include_optimizer: bool = True,
) -> None:
    """Write a model to a ``.keras`` file, which Verax and Keras load: configuration, weights, how it is compiled, the
    optimizer's state, vocabularies; or to a ``.h5`` file, Keras' older form, for programs that read no other.

    The file is written beside its place and moved there when all of it is on disk: an interruption leaves the old one.

    Args:
        model: The model.
        filepath: The file, ending in ``.keras`` (or ``.h5``). Its folder is made.
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
    if path.name.endswith(".h5"):
        _check_built(model, "saved")
        legacy_writing.save_model(model, path, include_optimizer)
    else:
        keras_file.write(model, path, compiled=include_optimizer)


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """The model that ``model.save`` wrote, in Verax or in Keras, with its weights; compiled, if it was.

    Args:
        filepath: The ``.keras`` file, or a folder that holds what one does; or a whole model's ``.h5`` file, of Keras
            1, 2 or 3.
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
    safe_mode = safe_mode and not is_unsafe_deserialization_enabled()
    path = _existing(filepath, "A model was to be loaded")
    if orbax_file.is_checkpoint(path):
        raise InputError(
            f"A model was to be loaded from {path}.",
            received="an Orbax checkpoint",
            because="Verax reads the weights of a checkpoint, and not how the model is built",
            do="Build the model, then model.load_weights(folder).",
        )
    if not path.is_dir():
        path = _path(filepath, WHOLE, "A model was to be loaded")
        if path.name.endswith(".h5"):
            return legacy.load_model(path, custom_objects, compile, safe_mode)
    return keras_file.read(path, custom_objects, compile=compile, safe_mode=safe_mode)


def save_weights(
    model: Any, filepath: str | os.PathLike[str], overwrite: bool = True, max_shard_size: float | None = None
) -> None:
    """Write all weights to a file: the old file or the new one, never a mix.

    Args:
        model: A model, built.
        filepath: Its suffix says the form: ``.weights.h5`` is Keras' (with the optimizer's state), ``.safetensors``
            what most other libraries read, ``.npz`` what NumPy alone reads. Its folder is made.
        overwrite: Whether an existing file may be replaced.
        max_shard_size: None: all weights are in one file.

    Raises:
        NotBuiltError: There are no weights yet.
        InputError: Another suffix; a file that exists, with ``overwrite=False``.
    """
    path = _path(filepath, WEIGHTS, "Weights were to be saved")
    if max_shard_size is not None:
        raise InputError(
            f"Weights were to be saved to {path}.",
            received=f"max_shard_size={max_shard_size}",
            because="they are saved to one file: several cannot take the place of others in one step",
            do="Leave it out.",
        )
    _check_free(path, overwrite)
    _check_built(model, "saved")
    if path.name.endswith(".npz"):
        npz.save(model, path)
    elif path.name.endswith(".safetensors"):
        tensors.save(model, path)
    else:
        arrays, groups = place_weights(model)
        optimizer_file.place(model, arrays, groups)
        with written_whole(path) as file:
            hdf5.write(file, arrays, groups)


def load_weights(model: Any, filepath: str | os.PathLike[str], skip_mismatch: bool = False, **kwargs: Any) -> None:
    """Set all weights to those of a file; none is set if one does not fit.

    Args:
        model: A model, built.
        filepath: ``.weights.h5`` or ``.keras``, of Verax or of Keras (with the optimizer's state, if the model is
            compiled alike); ``.h5``, Keras' older form; ``.safetensors``, or the ``.safetensors.index.json`` of
            several; ``.npz``; or a folder of ``OrbaxCheckpoint``, of Verax or of Keras, or a step in it.
        skip_mismatch: Leave layers whose weights do not fit as they are, with a warning; in Keras' forms.
        kwargs: For ``.h5``: ``by_name``. For ``.safetensors``: ``names``, ``layout="torch"`` and ``flattened``, which
            are for files of other libraries.

    Raises:
        DataError: The file is damaged, or holds the weights of another model.
        MissingFileError: There is no such file.
        NotBuiltError: The model has no weights yet.
        InputError: Another suffix, or an argument that files of this one do not have.
    """
    asked = "Weights were to be loaded"
    path = _existing(filepath, asked)
    folder = orbax_file.is_checkpoint(path)
    path = path if folder else _path(path, (*WEIGHTS, INDEX, *WHOLE), asked)
    _check_built(model, "loaded")
    name = path.name
    if folder:
        _only(path, kwargs, (), skip_mismatch=skip_mismatch)
        orbax_file.read_weights(model, path)
    elif name.endswith((".safetensors", INDEX)):
        _only(path, kwargs, ("names", "layout", "flattened"), skip_mismatch=skip_mismatch)
        tensors.load(model, path, **kwargs)
    elif name.endswith(".npz"):
        _only(path, kwargs, (), skip_mismatch=skip_mismatch)
        npz.load(model, path)
    elif name.endswith(".h5") and not name.endswith(".weights.h5"):
        _only(path, kwargs, ("by_name",))
        legacy.load_weights(model, path, skip_mismatch=skip_mismatch, **kwargs)
    else:
        _only(path, kwargs, ())
        if name.endswith(".keras"):
            keras_file.read_weights_of(model, path, skip_mismatch=skip_mismatch)
            return
        with hdf5.opened(path) as contents:
            restore = optimizer_file.read(model, contents, lenient=True)
            read_weights(model, contents, skip_mismatch=skip_mismatch)
            restore()


def _only(path: Path, given: Mapping[str, Any], known: tuple[str, ...], *, skip_mismatch: bool = False) -> None:
    extra = [key for key in given if key not in known] + ["skip_mismatch"] * skip_mismatch
    if extra:
        raise InputError(
            f"Weights were to be loaded from {path}.",
            received=f"the argument {extra[0]!r}",
            because="a file of this form is read without it",
            do=f"Leave it out; it may have {', '.join(known)}." if known else "Leave it out.",
        )


def _path(filepath: str | os.PathLike[str], suffixes: tuple[str, ...], asked: str) -> Path:
    path = Path(filepath)
    if path.suffix in _PICKLES:
        raise InputError(
            f"{asked}.",
            received=f"{os.fspath(filepath)!r}",
            because="such a file is a pickle: reading one can run any program",
            do="Write it as .safetensors where it comes from: safetensors.torch.save_file(net.state_dict(), path).",
        )
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
