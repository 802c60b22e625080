"""A model's weights as ``.safetensors``: its own, and those that PyTorch made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from verax._version import __version__
from verax.errors import DataError, InputError, UnknownNameError
from verax.formats import tensors
from verax.frame.frame import load_values, values
from verax.frame.tree import Tree
from verax.model.flattened import flattened_before
from verax.model.torch_layouts import Entry, Unit, units_of
from verax.model.torch_names import Names, targets_of

if TYPE_CHECKING:
    from verax.model.model import Model

__all__ = ["FORMAT", "load", "save"]

#: The number of the way weights are named and laid out in a file; noted in it.
FORMAT = "1"

Shape = tuple[int, ...]


def save(model: Model, path: Any) -> None:
    """Write a model's weights to a ``.safetensors`` file: a tensor for each, by its path, in its dtype.

    Args:
        model: A built model.
        path: The file; what was there stays until the new one is whole.

    >>> model = verax.Sequential([verax.Input((2,)), verax.layers.Dense(3, name="d")])
    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, os.path.join(folder, "m.safetensors"))
    ...     sorted(tensors.read(os.path.join(folder, "m.safetensors")))
    ['d/bias', 'd/kernel']
    """
    params, state = values(model)
    carried = Tree.of(model).carried()
    arrays = {name: np.asarray(value) for name, value in {**params, **state}.items() if name not in carried}
    noted = {"format": "verax", "format_version": FORMAT, "verax_version": __version__, "model": model.name}
    tensors.write(path, arrays, noted)


def load(
    model: Model,
    path: Any,
    names: Names = None,
    layout: str = "verax",
    flattened: Mapping[str, Shape | None] | None = None,
) -> None:
    """Read a model's weights from a ``.safetensors`` file, or an ``.index.json`` of several: all of them or none.

    Args:
        model: A built model.
        path: The file.
        names: What in the file is what in the model: None where names are alike ("." in a module's name is "/" in a
            layer's path); a dict {module: layer}, by beginnings of names, the longest one that fits, None for what is
            to be left out; a function module -> layer or None. For PyTorch's layout also a list of modules in the
            order of the model's layers, or "order": modules and layers of equal tensors, by the numbers in their names.
        layout: "verax" where axes stand as in the model, "torch" where PyTorch made the file.
        flattened: path of a layer -> the (*space, channels) that were flattened into its features, or None: for models
            whose graph does not show it. PyTorch flattens channels first.

    Raises:
        DataError: A file that is not whole; weights that are missing, left over, or of another shape. The model is as
            it was.
        InputError: A ``Flatten`` in a model whose graph does not show what follows it, without ``flattened``.
    """
    if layout not in ("verax", "torch"):
        raise UnknownNameError.among("layout", layout, ["verax", "torch"])
    values(model)  # refused unless it is built
    head = tensors.header(path)
    shapes = {name: spec.shape for name, spec in head.tensors.items()}
    units = _units(model, flattened) if layout == "torch" else _plain_units(model)
    targets = targets_of(shapes, names, units) if layout == "torch" else _renamed(shapes, names)
    entries = _chosen(units, set(targets.values()))
    found = _checked(model, path, shapes, targets, entries)
    held = {v.path: v for v, _ in Tree.of(model).variables.values()}
    for entry in entries:
        for name in entry.sources:
            dtype = head.tensors[found[name]].dtype
            if _kind(dtype) != _kind(np.dtype(held[entry.path].dtype)):
                raise DataError(
                    f"{path} was to be loaded into {model.name!r}.",
                    received=f"{found[name]!r} of dtype {dtype} for {entry.path!r}",
                    because=f"that weight is of dtype {held[entry.path].dtype}",
                    do="Save the tensor in a dtype of that kind.",
                )
    arrays = tensors.read(path, dict.fromkeys(found.values()), of=head)
    made = {entry.path: entry.make(*(arrays[found[name]] for name in entry.sources)) for entry in entries}
    load_values(model, made)


def _units(model: Model, given: Mapping[str, Shape | None] | None) -> list[Unit]:
    """The model's layers, each as PyTorch keeps it."""
    by_path = {place.path: layer for layer, place in Tree.of(model).layers.values()}
    shapes: dict[int, Shape] = {}
    if given is None:
        found = flattened_before(model)
        if found.unknown:
            raise InputError(
                f"PyTorch's weights were to be read into {model.name!r}.",
                received=f"features flattened around {found.unknown[0].name!r}",
                because="PyTorch flattens channels first, and the model's graph does not show what follows",
                do="Pass flattened={layer: (height, width, channels)} for the layer after it, or flattened={} where "
                "nothing was moved.",
            )
        shapes = found.shapes
    for path, shape in (given or {}).items():
        if path not in by_path:
            raise UnknownNameError.among("layer (a key of flattened)", path, by_path)
        if shape is not None:
            shapes[id(by_path[path])] = tuple(shape)
    return units_of(model, shapes)


def _plain_units(model: Model) -> list[Unit]:
    carried = Tree.of(model).carried()
    unit = Unit("")
    for variable, place in Tree.of(model).variables.values():
        if place.path not in carried:
            unit.entries.append(Entry(place.path, variable.shape, {place.path: variable.shape}, lambda array: array))
    return [unit]


def _renamed(shapes: Mapping[str, Shape], names: Names) -> dict[str, str]:
    """name in the file -> path, for files whose weights are laid out as the model's."""
    if names is None or isinstance(names, Mapping) or (callable(names) and not isinstance(names, str)):
        table = names or {}
        renamed: dict[str, str] = {}
        for name in shapes:
            words = name.split("/")
            path: str | None = name
            if isinstance(table, Mapping):
                for n in range(len(words), 0, -1):
                    beginning = "/".join(words[:n])
                    if beginning in table:
                        new = table[beginning]
                        path = None if new is None else "/".join([new, *words[n:]]).strip("/")
                        break
            else:
                path = table(name)
            if path is not None:
                renamed[name] = path
        return renamed
    raise InputError(
        "names says which weight of a file in Verax' layout is which.",
        received=repr(names),
        because="such a file names weights by their paths",
        do="Use a dict {path in the file: path in the model}, or a function.",
    )


def _chosen(units: Sequence[Unit], available: set[str]) -> list[Entry]:
    """Each layer's weights: its own tensors, or those of the layers inside it where the file has modules for them."""
    entries: list[Entry] = []
    for unit in units:
        inside = {name for part in unit.parts for name in part.sources} - unit.sources.keys()
        if unit.parts and inside & available and not unit.sources.keys() & available:
            own = {entry.path for part in unit.parts for entry in part.entries}
            entries += [entry for part in unit.parts for entry in part.entries]
            entries += [entry for entry in unit.entries if entry.path not in own]
        else:
            entries += unit.entries
    return entries


def _checked(
    model: Model, path: Any, shapes: Mapping[str, Shape], targets: Mapping[str, str], entries: Sequence[Entry]
) -> dict[str, str]:
    """name a weight is made of -> name in the file; refused unless the two fit one to one."""
    found = {target: name for name, target in targets.items()}
    twice = [target for target, n in Counter(targets.values()).items() if n > 1]
    wanted = {source: (shape, entry) for entry in entries for source, shape in entry.sources.items()}
    missing = [
        f"no {source!r} {shape} for {entry.path!r} {entry.shape}"
        for source, (shape, entry) in wanted.items()
        if source not in found
    ]
    extra = [f"{name!r} {shapes[name]} (as {target!r})" for name, target in targets.items() if target not in wanted]
    wrong = [
        f"{found[source]!r} {shapes[found[source]]} where {entry.path!r} {entry.shape} needs {shape}"
        for source, (shape, entry) in wanted.items()
        if source in found and shapes[found[source]] != shape
    ]
    both = [f"{[n for n, t in targets.items() if t == target]!r} for {target!r}" for target in twice]
    wrongs = (("missing", missing), ("unexpected", extra), ("of another shape", wrong), ("given twice", both))
    said = [f"{len(listed)} {what}: {'; '.join(listed[:3])}" for what, listed in wrongs if listed]
    if said:
        raise DataError(
            f"{path} was to be loaded into {model.name!r}.",
            received=" | ".join(said),
            because=f"the model has {len(entries)} weights, and each is read or none",
            do="Build the model the file was made from, or say which is which with names= (None leaves one out).",
        )
    return found


def _kind(dtype: np.dtype[Any]) -> str:
    # Half-precision and 8-bit floats of ml_dtypes are of kind V to NumPy.
    return "float" if dtype.kind in "fV" else "integer" if dtype.kind in "iu" else dtype.kind
