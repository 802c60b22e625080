"""Where every layer and variable of a model stands: identity, not the call stack, fixes a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from verax.frame.variable import Variable

if TYPE_CHECKING:
    from verax.frame.layer import Layer

__all__ = ["Place", "Tree", "holds"]


@dataclass(frozen=True)
class Place:
    """Where something stands below a root.

    Attributes:
        path: For people: names, joined by "/".
        route: For draws: positions and attribute names, so that it does not change with automatic names.
        trainable: Whether every layer from the root down to here is trainable (and, for a variable, it itself).
    """

    path: str
    route: str
    trainable: bool


@dataclass
class Tree:
    """All layers and variables below a root, in the order Keras lists weights: a layer's own, then its children's."""

    root: Layer
    layers: dict[int, tuple[Layer, Place]] = field(default_factory=dict)
    variables: dict[int, tuple[Variable, Place]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Layer) -> Tree:
        """Walk ``root``; something shared stands where it was met first."""
        tree = cls(root)
        tree._visit(root, Place("", "", root.trainable), set())
        return tree

    def params(self) -> dict[str, Variable]:
        """path -> variable, of those that gradients reach."""
        return {place.path: v for v, place in self.variables.values() if place.trainable}

    def state(self) -> dict[str, Variable]:
        """path -> variable, of those that gradients do not reach."""
        return {place.path: v for v, place in self.variables.values() if not place.trainable}

    def carried(self) -> dict[str, Variable]:
        """path -> variable, of those that a pass hands on from batch to batch in every mode."""
        return {place.path: v for v, place in self.variables.values() if v.carried}

    def flags(self) -> tuple[tuple[bool, int], ...]:
        """Whether each layer is trainable, and how often it learned: what a program depends on beside shapes."""
        return tuple((layer.trainable, layer._core.learned) for layer, _ in self.layers.values())

    def _visit(self, layer: Layer, place: Place, taken: set[str]) -> None:
        self.layers[id(layer)] = (layer, place)
        children: list[tuple[str, str, Layer]] = []
        own: list[tuple[str, Variable]] = [(v.name or "variable", v) for v in layer.own_variables()]
        for label, route, child in layer.children():
            if isinstance(child, Variable):
                own.append((child.name or label, child))
            else:
                children.append((label, route, child))
        taken = set()
        for label, variable in sorted(own, key=lambda item: not item[1].trainable):
            if id(variable) not in self.variables:
                path = _join(place.path, _unique(label, taken))
                variable.path = path
                self.variables[id(variable)] = (
                    variable,
                    Place(path, _join(place.route, label), place.trainable and variable.trainable),
                )
        for label, route, child in children:
            if id(child) not in self.layers:
                path = _join(place.path, _unique(label, taken))
                self._visit(child, Place(path, _join(place.route, route), place.trainable and child.trainable), taken)


def holds(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The layers and variables in an attribute's value, through lists, tuples and dicts, with their keys."""
    from_layer = getattr(type(value), "_is_verax_layer", False)
    if from_layer or isinstance(value, Variable):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from holds(item, f"{key}/{name}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from holds(item, f"{key}/{index}")


def _join(parent: str, label: str) -> str:
    return f"{parent}/{label}" if parent else label


def _unique(label: str, taken: set[str]) -> str:
    name, n = label, 0
    while name in taken:
        n += 1
        name = f"{label}_{n}"
    taken.add(name)
    return name
