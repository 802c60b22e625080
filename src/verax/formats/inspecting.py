"""What a file of a model holds, told without making the model: nothing of it is run, and no array is read."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import zipfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from verax.errors import DataError
from verax.formats import archive, configs
from verax.formats.listing import give_layers, list_hdf5, list_npz, list_safetensors, sort_hdf5
from verax.formats.report import MOST_TEXT, Report, itemsize

__all__ = ["inspect_file"]

_HDF5 = b"\x89HDF\r\n\x1a\n"


def inspect_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file of a model holds, without making the model: nothing of it is run, and no weight is read.

    Args:
        path: A ``.keras``, ``.weights.h5``, ``.h5``, ``.safetensors`` or ``.npz`` file, one that ``model.export``
            wrote, or a folder that holds what a ``.keras`` file does. What it is, its first bytes say.

    Returns:
        ``path``, ``bytes``; ``kind`` and ``what`` it is; ``writer`` (library, version, date); ``model`` (name, class);
        ``layers`` (name, class, config, weights, parameters); ``weights`` (path, shape, dtype, parameters, bytes) and
        their ``totals``; ``optimizer`` (its state's size); ``compile``; ``assets``; ``findings``, each with a ``kind``,
        "unsafe" or "notice", ``what`` and ``why``; ``safe``, whether none is unsafe. An exported model has
        ``endpoints`` and ``preprocessing``, too.

    Raises:
        DataError: It is none of these files, or is damaged.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.npz")
    >>> np.savez(path, kernel=np.zeros((3, 2), "float32"))
    >>> report = inspect_file(path)
    >>> report["kind"], report["totals"]["parameters"], report["safe"]
    ('npz', 6, True)
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} was to be inspected.", received="no such file", because="there is nothing to read")
    report = Report(path)
    if path.is_dir():
        _package(report)
        return report.done()
    with path.open("rb") as file:
        first = file.read(16)
    if first.startswith(b"PK"):
        _package(report)
    elif first.startswith(_HDF5):
        with path.open("rb") as file:
            list_hdf5(report, file, "")
        sort_hdf5(report)
    elif first[8:9] == b"{" and len(first) == 16:
        list_safetensors(report)
    else:
        raise DataError(
            f"{path} was to be inspected.",
            received=f"a file that begins with {first[:8]!r}",
            because="it is no zip archive, HDF5 file or safetensors file",
            do="Files of models are .keras, .weights.h5, .h5, .safetensors, .npz, and what model.export wrote.",
        )
    return report.done()


# ---- zip archives: .keras, .npz, exported models -----------------------------------------------------------------


class _Zip:
    """Members of an archive that a careful reader refuses: listed all the same, their texts read within limits."""

    def __init__(self, path: Path):
        self.name = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            because = "it is not a whole zip archive"
            raise DataError(f"{path} was to be inspected.", received=str(error), because=because) from error
        self._members = {m.filename: m for m in self._zip.infolist() if not m.is_dir()}

    def names(self) -> list[str]:
        return list(self._members)

    def size(self, name: str) -> int:
        return self._members[name].file_size

    def read(self, name: str, most: int) -> bytes:
        with self._zip.open(name) as file:
            return file.read(most)

    @contextlib.contextmanager
    def file(self, name: str) -> Generator[IO[bytes]]:
        with self._zip.open(name) as file:
            yield file


def _package(report: Report) -> None:
    with contextlib.ExitStack() as stack:
        try:
            members: Any = stack.enter_context(archive.opened(report.path))
        except DataError as error:
            members = _Zip(report.path)
            report.refused(error)
        names = members.names()
        if "export.json" in names:
            _read_export(report, members)
        elif "config.json" in names or "model.weights.h5" in names:
            _read_keras(report, members)
        elif names and all(name.endswith(".npy") for name in names):
            list_npz(report, members)
        else:
            raise DataError(
                f"{report.path} was to be inspected.",
                received=f"an archive of {names[:5]}",
                because="it is neither a model nor arrays",
            )


def _read_keras(report: Report, members: Any) -> None:
    report.kind = "keras"
    metadata = _json(report, members, "metadata.json")
    if isinstance(metadata, Mapping):
        noted = cast("Mapping[str, Any]", metadata)
        own = next((str(v) for k, v in noted.items() if "verax" in str(k)), None)
        report.writer = {
            "library": "Verax" if own else "Keras",
            "version": own or noted.get("keras_version"),
            "date": noted.get("date_saved"),
            "metadata": dict(noted),
        }
    config = _json(report, members, "config.json")
    report.read_config(config, cast("Any", config).get("compile_config") if isinstance(config, Mapping) else None)
    for name in members.names():
        if name == "model.weights.h5":
            with contextlib.ExitStack() as stack:
                refused = isinstance(members, _Zip)
                file = io.BytesIO(members.read(name, MOST_TEXT)) if refused else stack.enter_context(members.file(name))
                list_hdf5(report, file, name)
            give_layers(report)
        elif name not in ("metadata.json", "config.json", "model.weights.h5"):
            report.assets.append({"path": name, "bytes": members.size(name)})


def _read_export(report: Report, members: Any) -> None:
    report.kind = "export"
    found = _json(report, members, "export.json")
    if not isinstance(found, Mapping):
        return
    described = cast("dict[str, Any]", found)
    writer = described.get("writer")
    if isinstance(writer, Mapping):
        noted = cast("Mapping[str, Any]", writer)
        report.writer = {"library": "Verax", "version": noted.get("verax"), "date": described.get("written"), **noted}
    weights: Any = described.get("weights")
    for name, form in cast("dict[str, Any]", weights).items() if isinstance(weights, dict) else ():
        size = math.prod(form["shape"]) * itemsize(form["dtype"])
        report.add(name, tuple(form["shape"]), form["dtype"], size)
    models: Any = described.get("models") or []
    report.config = {"class_name": models[0]["class"], "config": {"name": models[0]["name"]}} if models else None
    for model in models:
        report.layers += [{**layer, "config": {}, "trainable": True} for layer in model.get("layers", [])]
    prepared = {p["name"]: p.get("config", {}) for model in models for p in model.get("preprocessing", [])}
    for layer in report.layers:
        layer["config"] = configs.essentials(prepared.get(layer["name"], {}))
        start = f"{layer['name']}/"
        layer["weights"] = [w for w in report.weights if w["path"].rpartition("/")[0] + "/" == start]
    report.further = {
        "endpoints": described.get("endpoints"),
        "collections": described.get("collections"),
        "preprocessing": [p for model in models for p in model.get("preprocessing", [])],
    }
    stated = cast("dict[str, Any]", described.get("files") or {})
    for name in sorted({*stated, *members.names()} - {"export.json"}):
        if name not in stated or name not in members.names():
            report.found("unsafe", name, "is not described" if name not in stated else "is described, and missing")
        elif stated[name].get("bytes") != members.size(name):
            report.found("unsafe", name, "has another size than is noted")


def _json(report: Report, members: Any, name: str) -> Any:
    if name not in members.names():
        report.found("notice", name, "is missing")
        return None
    try:
        return json.loads(members.read(name, MOST_TEXT))
    except (ValueError, RecursionError) as error:
        raise report.damaged(f"{name!r}: {error}") from error
