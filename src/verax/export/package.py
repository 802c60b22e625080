"""The file of an exported model: a zip archive of a description, weights, and programs, each with its hash.

::

    export.json            what it is: who wrote it, endpoints, inputs, outputs, weights, hashes of all other members
    weights.safetensors    the weights by path
    programs/<endpoint>.<fast|plain>.jax_export
                           StableHLO as ``jax.export`` serializes it

Nothing in it is compressed, and nothing in it is Python.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from verax.errors import DataError
from verax.formats import archive, tensors
from verax.frame.files import written_whole

__all__ = ["DESCRIPTION", "FORMAT", "VERSION", "WEIGHTS", "packed", "read", "read_description", "write"]

FORMAT, VERSION = "verax-export", 1
DESCRIPTION, WEIGHTS = "export.json", "weights.safetensors"
_MOST_TEXT = 1 << 26
Array = np.ndarray[Any, Any]


def write(path: str | os.PathLike[str], description: dict[str, Any], members: Mapping[str, bytes]) -> int:
    """Write a file, whole or not at all; its size in bytes.

    Args:
        path: Where.
        description: What ``export.json`` says, without the hashes.
        members: name -> bytes.
    """
    files = {name: {"bytes": len(data), "sha256": _hash(data)} for name, data in members.items()}
    text = json.dumps({"format": FORMAT, "version": VERSION, **description, "files": files}, indent=1).encode()
    with written_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as made:
        for name, data in {DESCRIPTION: text, **members}.items():
            made.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return os.path.getsize(path)


def packed(weights: Mapping[str, Array]) -> bytes:
    """Arrays by path as safetensors."""
    return b"".join(tensors.packed(weights, {"format": FORMAT}))


def read_description(members: archive.Archive | archive.Directory) -> dict[str, Any]:
    """What an open file says of itself, of this version or an earlier one."""
    asked = f"{members.name} was to be read as an exported model."
    if DESCRIPTION not in members.names():
        raise DataError(
            asked,
            received=f"a file with {members.names()[:4]}",
            because=f"it has no {DESCRIPTION}: it is no exported model",
            do="A file that model.save wrote is read with verax.saving.load_model.",
        )
    try:
        found = json.loads(members.read(DESCRIPTION, _MOST_TEXT))
    except (ValueError, RecursionError) as error:
        raise DataError(asked, received=f"{DESCRIPTION}: {error}", because="it is damaged") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(asked, received=f"a {DESCRIPTION} of another form", because="it is no exported model")
    made = cast("dict[str, Any]", found)
    version = made.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise DataError(
            asked,
            received=f"version {version!r} of the form",
            because=f"this Verax reads up to version {VERSION}",
            do="Update Verax.",
        )
    return made


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array], dict[str, bytes]]:
    """A file's description, its weights by path, and its programs by name: all sizes and hashes compared.

    Raises:
        DataError: It is no exported model, is damaged, or holds something else beside what it says.
    """
    with archive.opened(path) as members:
        description = read_description(members)
        files = description.get("files")
        asked = f"{path} was to be read as an exported model."
        if not isinstance(files, dict) or {*files, DESCRIPTION} != set(members.names()):
            received = f"the members {sorted(members.names())[:8]}"
            raise DataError(asked, received=received, because="they are not those it describes")
        data: dict[str, bytes] = {}
        for name, noted in cast("dict[str, Any]", files).items():
            with members.file(name) as file:
                data[name] = file.read()
            if not isinstance(noted, dict) or (noted.get("bytes"), noted.get("sha256")) != (
                len(data[name]),
                _hash(data[name]),
            ):
                raise DataError(
                    asked,
                    received=f"{name!r} with other bytes than it was written with",
                    because="its size and hash are not those that are noted",
                    do="Take another copy of it.",
                )
    return description, _unpacked(data.pop(WEIGHTS, b""), description, str(path)), data


def _unpacked(data: bytes, description: dict[str, Any], path: str) -> dict[str, Array]:
    arrays = tensors.unpacked(io.BytesIO(data), f"{path}: {WEIGHTS}")
    asked = f"{path} was to be read as an exported model."
    noted = description.get("weights")
    have = {name: {"shape": list(a.shape), "dtype": a.dtype.name} for name, a in arrays.items()}
    if noted != have:
        raise DataError(asked, received=f"{len(have)} weights", because="they are not those it describes")
    return arrays


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
