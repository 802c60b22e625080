"""Orbax checkpoints: folders of numbered steps, each with named parts, which are arrays by path.

All that Verax asks of ``orbax-checkpoint`` is asked here. A step's folder gets its name when all of it is written, so a
step that is there is whole.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verax.errors import DataError, InputError, MissingExtraError

__all__ = ["read", "remove", "steps", "write"]

#: What is being written or removed has this in its name.
_UNFINISHED = ".orbax-checkpoint-tmp"
#: Orbax writes no array without elements: their shapes are written in their place.
_EMPTY = "arrays without elements"
#: folder -> what is being written to it.
_writing: dict[Path, Any] = {}


def steps(folder: str | os.PathLike[str]) -> list[int]:
    """The numbers of the steps in a folder, in order, after a write in the background has ended."""
    folder = Path(folder).absolute()
    _finish(folder)
    if not folder.is_dir():
        return []
    return sorted(int(each.name) for each in folder.iterdir() if each.name.isdecimal() and each.is_dir())


def write(folder: str | os.PathLike[str], step: int, parts: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]) -> None:
    """Begin to write a step, in the background.

    One process writes to a folder, one step at a time: the step before is waited for, here and in ``steps`` and
    ``read``, where an error of it is raised. What an interrupted process left half written is removed.

    Args:
        folder: Of the steps; it is made.
        step: Its number; one of that number must not be there.
        parts: name -> path -> array; "/" in a path is a level. The arrays must not be changed until it is written.

    Raises:
        MissingExtraError: ``orbax-checkpoint`` is not installed.
    """
    folder = Path(folder).absolute()
    orbax = _orbax()
    _finish(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"*{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    trees = {name: _nested(arrays) for name, arrays in parts.items()}
    with _quiet():
        _writing[folder] = orbax.save_checkpointables_async(folder / str(step), trees)


def read(folder: str | os.PathLike[str], step: int | None, part: str) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a part by path; empty where the step has no such part. ``step=None``: the folder is a step's own.

    Raises:
        DataError: The step cannot be read.
        MissingExtraError: ``orbax-checkpoint`` is not installed.
    """
    place = Path(folder).absolute()
    if step is not None:
        _finish(place)
        place /= str(step)
    if place.is_dir() and not (place / part).is_dir():
        return {}
    orbax, failed, tree = _orbax(), "", {}
    with _quiet():
        try:
            tree = orbax.load_checkpointables(place, {part: None})[part]
        except Exception as error:  # whatever a broken file makes of a library that reads it
            failed = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if failed:
            gc.collect()  # tasks that it gave up report themselves when they are collected
    if failed:
        raise DataError(
            "A step of an Orbax checkpoint was to be read.",
            received=f"{place}: {failed}",
            because="it is not whole, or no Orbax checkpoint",
            do="Delete this step's folder; the one before is read then.",
        )
    return dict(_flat(tree))


def remove(folder: str | os.PathLike[str], step: int) -> None:
    """Remove a step: it loses its name first, so that there is never a part of it."""
    place = Path(folder) / str(step)
    away = place.with_name(f"{step}{_UNFINISHED}-removed")
    shutil.rmtree(away, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.replace(place, away)
    shutil.rmtree(away, ignore_errors=True)


def _finish(folder: Path) -> None:
    written = _writing.pop(folder, None)
    if written is not None:
        with _quiet():
            written.result()


def _orbax() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import orbax.checkpoint as orbax
    except ImportError as error:
        asked = "A checkpoint was to be written or read with Orbax."
        raise MissingExtraError.of("orbax-checkpoint", extra="checkpoint", asked=asked) from error
    return orbax.v1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax's remarks to its own authors are no concern of a person who trains."""
    logs = {log: log.level for log in map(logging.getLogger, ("absl", "asyncio"))}
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in logs.items():
            log.setLevel(level)


def _nested(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Dicts in dicts, by the levels of paths."""
    empty = {path: [list(array.shape), array.dtype.name] for path, array in arrays.items() if array.size == 0}
    named: dict[str, Any] = {path: array for path, array in arrays.items() if array.size}
    if empty:
        named[_EMPTY] = np.frombuffer(json.dumps(empty).encode(), np.uint8)
    tree: dict[str, Any] = {}
    for path, array in named.items():
        *levels, last = path.split("/")
        inner = tree
        for level in levels:
            inner = inner.setdefault(level, {})
        if not isinstance(inner, dict) or last in inner:
            raise InputError(
                "Arrays were to be written to an Orbax checkpoint.",
                received=f"the paths {path!r} and one below or above it",
                because="an Orbax checkpoint is a tree, where a place holds an array or other places",
                do="Give the layer or the variable another name.",
            )
        inner[last] = array
    return tree


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    for name, inner in tree.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{path}{name}/")
        elif name == _EMPTY and not path:
            for each, (shape, dtype) in json.loads(np.asarray(inner).tobytes()).items():
                yield each, np.empty(shape, dtype)
        elif hasattr(inner, "__array__"):
            yield path + name, np.asarray(inner)
