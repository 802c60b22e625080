"""Where Keras' files keep the weights of each layer: by attributes and classes, and never by automatic names."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, VeraxWarning
from verax.frame.frame import put
from verax.frame.registry import snake_case
from verax.frame.variable import Variable
from verax.layers import Layer

if TYPE_CHECKING:
    from verax.formats.hdf5 import Contents, Stored

__all__ = ["Shelf", "place_weights", "read_weights", "shelves"]

#: Of generators of random numbers, which Verax has none of: its draws follow from one key.
_GENERATORS = ("seed_generator", "generator", "random_generator")


@dataclass(frozen=True)
class Shelf:
    """The place of one layer in a file.

    Attributes:
        path: Such as ``"layers/dense"``; the model's own is ``""``.
        layer: The layer.
        variables: Its own variables, not those of layers inside: the trainable ones, then the others.
    """

    path: str
    layer: Layer
    variables: list[Variable]

    @property
    def inside(self) -> str:
        """The group of its variables."""
        return f"{self.path}/vars" if self.path else "vars"


def shelves(model: Layer) -> list[Shelf]:
    """The places of a model and of every layer in it, each once, in the order in which Keras comes to them."""
    found: list[Shelf] = []
    met: set[int] = set()

    def visit(layer: Layer, path: str) -> None:
        if id(layer) in met:
            return
        met.add(id(layer))
        own = [child for _, _, child in layer.children() if isinstance(child, Variable)]
        variables = [v for v in (*layer.own_variables(), *own) if not v.carried]
        found.append(Shelf(path, layer, sorted(variables, key=lambda v: not v.trainable)))
        for attribute, value in layer.stored_parts():
            below = f"{path}/{attribute}" if path else attribute
            if isinstance(value, Layer):
                visit(value, below)
            else:
                contain(value, below)

    def contain(value: Any, path: str) -> None:
        names: Counter[str] = Counter()
        for item in cast("list[Any]", list(value.values()) if isinstance(value, Mapping) else value):
            inside = isinstance(item, Layer)
            if not inside and not isinstance(item, (list, tuple, Mapping)):
                continue
            base = snake_case(_class_of(item)) if isinstance(item, Layer) else "container"
            name = f"{base}_{names[base]}" if names[base] else base
            names[base] += 1
            if isinstance(item, Layer):
                visit(item, f"{path}/{name}")
            else:
                contain(item, f"{path}/{name}")

    visit(model, "")
    return found


def place_weights(model: Layer) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, dict[str, Any]]]:
    """All weights as Keras' files keep them: (path -> array, group -> what is noted of it)."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    groups: dict[str, dict[str, Any]] = {}
    for shelf in shelves(model):
        groups[shelf.inside] = {"name": shelf.layer.name}
        for i, variable in enumerate(shelf.variables):
            arrays[f"{shelf.inside}/{i}"] = np.asarray(variable._value)
    return arrays, groups


def read_weights(model: Layer, contents: Contents, *, skip_mismatch: bool = False) -> None:
    """Set all weights to those of a file in Keras' form; none is set if one does not fit.

    Args:
        model: A model, built.
        contents: What the file holds.
        skip_mismatch: Leave the layers whose weights are missing or of other shapes as they are, with a warning.

    Raises:
        DataError: Weights that are missing, of another shape or kind, or of no layer of the model.
    """
    match = _Match(contents)
    for shelf in shelves(model):
        match.shelf(shelf)
    match.rest()
    if match.wrong and not skip_mismatch:
        more = len(match.wrong) - 3
        raise DataError(
            f"Weights were to be loaded from {contents.name} into {model.name!r}.",
            received="; ".join(match.wrong[:3]) + (f"; and {more} more" if more > 0 else ""),
            because="its weights are those of another model, or of one built otherwise",
            do="Build the model it was saved from; or pass skip_mismatch=True to load what fits.",
        )
    if match.wrong:
        warnings.warn(f"Not loaded from {contents.name}: {'; '.join(match.wrong)}.", VeraxWarning, stacklevel=4)
    # Everything is read before anything is set.
    put([(v, jnp.asarray(stored.read(), v.dtype)) for v, stored in match.pairs])


def _class_of(layer: Layer) -> str:
    """The name of a layer's class, as Keras has it: there a model made of inputs and outputs has a class of its own."""
    return "Functional" if getattr(layer, "_is_functional", False) else type(layer).__name__


@dataclass
class _Match:
    """The variables of a model beside the arrays of a file."""

    contents: Contents
    pairs: list[tuple[Variable, Stored]] = field(default_factory=list[tuple[Variable, "Stored"]])
    wrong: list[str] = field(default_factory=list[str])
    used: set[str] = field(default_factory=set[str])

    def shelf(self, shelf: Shelf) -> None:
        found = self.contents.below(shelf.inside)
        if not found and shelf.variables:  # TensorFlow 2.13 had another name for "layers"
            found = self.contents.below(shelf.inside.replace("layers", "_layer_checkpoint_dependencies"))
        self.used |= {stored.path for stored in found.values()}
        what = f"{shelf.layer.name!r} ({shelf.path or 'the model itself'})"
        if len(found) != len(shelf.variables):
            count = len(found) or "no"
            self.wrong.append(f"{count} weights for {what}, which has {len(shelf.variables)}")
            return
        pairs = [(v, found.get(str(i))) for i, v in enumerate(shelf.variables)]
        for variable, stored in pairs:
            if stored is None or stored.shape != variable.shape or not _fits(stored.dtype, variable.dtype):
                had = "none" if stored is None else f"{stored.shape} of {stored.dtype}"
                self.wrong.append(f"{had} for {variable.name!r} of {what}, of shape {variable.shape}")
                return
        self.pairs += [(v, stored) for v, stored in pairs if stored is not None]

    def rest(self) -> None:
        for path in sorted(self.contents.arrays.keys() - self.used):
            parts = path.split("/")
            if parts[0] != "optimizer" and not any(part in _GENERATORS for part in parts):
                self.wrong.append(f"{path!r}, which is of no layer of the model")


def _fits(stored: Any, wanted: str) -> bool:
    kinds = [jnp.issubdtype(dtype, jnp.floating) for dtype in (stored, jnp.dtype(wanted))]
    return kinds[0] == kinds[1] or (not kinds[0] and bool(kinds[1]))
