"""Arrays in a file, listed without reading them: HDF5, safetensors, NumPy's own."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

import numpy as np

from verax.errors import DataError
from verax.formats import hdf5
from verax.formats.report import Report, itemsize, size_of

__all__ = ["give_layers", "list_hdf5", "list_npz", "list_safetensors", "sort_hdf5"]

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
           "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
           "BOOL": "bool", "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}  # fmt: skip


# ---- HDF5 --------------------------------------------------------------------------------------------------------


def list_hdf5(report: Report, file: IO[bytes], inside: str) -> None:
    """Note arrays and attributes; a file that a careful reader refuses is listed all the same, no link followed."""
    name = f"{report.path}: {inside}" if inside else str(report.path)
    groups: Mapping[str, Mapping[str, Any]] = {}
    try:
        with hdf5.opened(file, name) as contents:
            groups = {path: dict(attributes) for path, attributes in contents.groups.items()}
            order = _order(groups)
            for path, array in sorted(contents.arrays.items(), key=lambda item: order(item[0])):
                _add_hdf5(report, path, array.shape, str(array.dtype), array.size)
    except DataError as error:
        known = len(report.findings)
        groups = _list_unsafe(report, file, error)
        if len(report.findings) == known:
            report.refused(error)
    report.further["_groups"] = groups


def _list_unsafe(report: Report, source: IO[bytes], refused: DataError) -> dict[str, dict[str, Any]]:
    import h5py

    groups: dict[str, dict[str, Any]] = {}
    source.seek(0)
    try:
        with h5py.File(source, "r") as file:
            opened: Any = file
            with contextlib.suppress(Exception):
                groups[""] = {str(key): value for key, value in opened.attrs.items() if isinstance(value, str)}
            waiting: list[tuple[str, Any]] = [("", opened)]
            while waiting and len(report.weights) < 10_000:
                path, group = waiting.pop()
                for key in group:
                    below = f"{path}/{key}" if path else str(key)
                    link = group.get(key, getlink=True)
                    if not isinstance(link, h5py.HardLink):
                        where = f"{getattr(link, 'filename', '')} {getattr(link, 'path', '')}".strip()
                        report.found("unsafe", f"{below!r}", f"is a link to {where!r}: it was not followed")
                    elif group.get(key, getclass=True) is h5py.Group and len(below) < 4096:
                        groups[below] = {}
                        waiting.append((below, group[key]))
                    elif group.get(key, getclass=True) is h5py.Dataset:
                        array = group[key]
                        shape = tuple(array.shape or ())
                        _add_hdf5(report, below, shape, str(array.dtype), int(array.id.get_storage_size()))
    except Exception as error:  # h5py raises almost every class there is
        if not report.weights and not groups:
            raise refused from error
    return groups


def _order(groups: Mapping[str, Mapping[str, Any]]) -> Callable[[str], Any]:
    """The order in which a layer lists its arrays: as noted beside them, else by their numbers."""
    noted: dict[str, int] = {}
    for group, attributes in groups.items():
        names: Any = attributes.get("weight_names", ())
        for i, name in enumerate(names):
            text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
            noted[f"{group}/{text}"] = i

    def key(path: str) -> Any:
        parts = [(int(part), "") if part.isdigit() else (-1, part) for part in path.split("/")]
        return (parts[:2], noted[path], []) if path in noted else (parts[:2], -1, parts)

    return key


def _add_hdf5(report: Report, path: str, shape: tuple[int, ...], dtype: str, size: int) -> None:
    of_optimizer = path.startswith(("optimizer/", "optimizer_weights/", "_trainer/optimizer/"))
    report.add(path, shape, dtype, size, optimizer=of_optimizer)


def sort_hdf5(report: Report) -> None:
    """Which of the HDF5 files it is, and what its attributes say."""
    groups = report.further["_groups"]
    root = {**groups.get("model_weights", {}), **groups.get("", {})}
    if "keras_version" in root:
        report.writer = {"library": "Keras", "version": root["keras_version"], "backend": root.get("backend")}
    if "model_config" in root:
        report.kind = "keras_h5"
        texts: list[Any] = []
        for key in ("model_config", "training_config"):
            try:
                texts.append(json.loads(root[key]) if key in root else None)
            except (ValueError, TypeError, RecursionError) as error:
                raise report.damaged(f"{key!r}: {error}") from error
        report.read_config(*texts)
    elif "layer_names" in root:
        report.kind = "legacy_weights_h5"
    else:
        keras = "vars" in groups or any(path.startswith("layers/") for path in groups)
        report.kind = "weights_h5" if keras else "h5"
    give_layers(report)


def give_layers(report: Report) -> None:
    """Give each layer of the configuration its arrays."""
    groups: Mapping[str, Mapping[str, Any]] = report.further.pop("_groups")
    places: dict[str, str] = {}
    counted: Counter[str] = Counter()
    by_name = {str(g.get("name")): p.removesuffix("/vars") for p, g in groups.items()
               if p.endswith("/vars") and p.count("/") == 2}  # fmt: skip
    for layer in report.layers:
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", layer["class"])).lower()
        snake = snake.replace("__", "_")
        guess = f"layers/{snake}" + (f"_{counted[snake]}" if counted[snake] else "")
        if layer["class"] != "InputLayer":
            counted[snake] += 1
        legacy = f"model_weights/{layer['name']}"
        places[layer["name"]] = legacy if legacy in groups else by_name.get(layer["name"], guess)
    for layer in report.layers:
        start = places[layer["name"]] + "/"
        layer["weights"] = [each for each in report.weights if each["path"].startswith(start)]
        layer["parameters"] = sum(each["parameters"] for each in layer["weights"])


# ---- safetensors -------------------------------------------------------------------------------------------------


def list_safetensors(report: Report) -> None:
    report.kind = "safetensors"
    size = size_of(report.path)
    with report.path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, 100_000_000):
            raise report.damaged(f"a header of {length:,} bytes in a file of {size:,}")
        try:
            found = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise report.damaged(f"a header that is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise report.damaged("a header that names no arrays")
    table = cast("dict[str, Any]", found)
    metadata = table.pop("__metadata__", {})
    if metadata:
        report.writer = {"metadata": metadata}
    spans: list[tuple[int, int]] = []
    for name, form in table.items():
        try:
            start, stop = map(int, form["data_offsets"])
            report.add(
                name, tuple(map(int, form["shape"])), _DTYPES.get(form["dtype"], str(form["dtype"])), stop - start
            )
        except (KeyError, TypeError, ValueError) as error:
            raise report.damaged(f"{name!r}: {type(error).__name__} {error}") from error
        spans.append((start, stop))
        needed = report.weights[-1]["parameters"] * itemsize(report.weights[-1]["dtype"])
        if not 0 <= start <= stop <= size - 8 - length or needed != stop - start:
            report.found("unsafe", name, f"its shape needs {needed:,} bytes, and it is said to stand at {start}:{stop}")
    spans.sort()
    if any(a[1] > b[0] for a, b in itertools.pairwise(spans)):
        report.found("unsafe", "arrays", "two of them are said to have the same bytes")


def list_npz(report: Report, members: Any) -> None:
    report.kind = "npz"
    for name in members.names():
        try:
            with members.file(name) as file:
                version = np.lib.format.read_magic(file)
                read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
                shape, _, dtype = (read or np.lib.format.read_array_header_2_0)(file)
        except Exception as error:  # NumPy raises almost every class there is
            raise report.damaged(f"{name!r}: {' '.join(str(error).split())[:200]}") from error
        size = members.size(name)
        needed = math.prod(map(int, shape)) * dtype.itemsize
        report.add(name.removesuffix(".npy"), tuple(map(int, shape)), str(dtype), needed)
        if dtype.hasobject:
            report.found("unsafe", name, "holds pickled Python objects, which whoever loads them would run")
        elif needed > size:
            report.found("unsafe", f"{name} of shape {shape}", f"so many numbers are not in its {size:,} bytes")
