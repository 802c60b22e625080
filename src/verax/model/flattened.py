"""Which features were flattened before which layer: PyTorch flattens channels first, Verax last."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import jax

from verax import layers
from verax.frame.symbolic import SymbolicTensor, is_symbolic, symbolic_call
from verax.frame.tree import Tree
from verax.layers import Layer
from verax.model.measurable import Measurable

__all__ = ["Flattened", "flattened_before"]

#: In another order in PyTorch: images, whose channels stand last here; ...
_IMAGE = "image"
#: ... and features of which it cannot be said.
_UNKNOWN = "unknown"


@dataclass
class Flattened:
    """What a walk through a model's graph found.

    Attributes:
        shapes: id of a layer -> the (*space, channels) that were flattened into its features.
        unknown: Layers whose features have been flattened and mixed in a way that is not followed.
    """

    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])
    unknown: list[Layer] = field(default_factory=list[Layer])


def flattened_before(model: Layer) -> Flattened:
    """Where features come from a ``Flatten`` of an image, as far as the graph of a built model shows."""
    places = [layer for layer, _ in Tree.of(model).layers.values() if isinstance(layer, layers.Flatten)]
    walk = _Walk()
    if places:
        start = getattr(getattr(model, "_model", None), "inputs", None)
        leaves = jax.tree.leaves(start, is_leaf=is_symbolic)
        if leaves and all(map(is_symbolic, leaves)):
            for leaf in leaves:
                walk.mark(leaf, _IMAGE if leaf.ndim >= 4 else None)
            walk.model(model, start)
        walk.found.unknown += [layer for layer in places if id(layer) not in walk.met]
    return walk.found


@dataclass
class _Walk:
    found: Flattened = field(default_factory=Flattened)
    met: set[int] = field(default_factory=set[int])
    # id of a symbolic tensor -> (it, so that its id stays its own; what is known of it)
    marks: dict[int, tuple[Any, Any]] = field(default_factory=dict[int, tuple[Any, Any]])

    def mark(self, tensor: SymbolicTensor, mark: Any) -> None:
        self.marks[id(tensor)] = (tensor, mark)

    def of(self, tensor: SymbolicTensor) -> Any:
        return self.marks.get(id(tensor), (None, None))[1]

    def model(self, model: Any, inputs: Any) -> Any:
        if model._in_a_row is not None:
            for layer in model._in_a_row:
                inputs = self.call(layer, inputs)
            return inputs
        if model._model.graph is not None:
            return model._model.graph.run(inputs, self.call)
        return symbolic_call(model, (inputs,), {})

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Any:
        given = [t for t in jax.tree.leaves((args, kwargs), is_leaf=is_symbolic) if is_symbolic(t)]
        if isinstance(target, Measurable) and len(args) == 1 and not kwargs:
            made = self.model(target, args[0])
            if made is not None and all(self.marks.get(id(t)) for t in jax.tree.leaves(made, is_leaf=is_symbolic)):
                return made
        else:
            made = symbolic_call(target, args, kwargs)
        marks = [self.of(tensor) for tensor in given]
        for leaf in jax.tree.leaves(made, is_leaf=is_symbolic):
            self.mark(leaf, self.after(target, given, marks, leaf))
        return made

    def after(self, target: Any, given: list[SymbolicTensor], marks: list[Any], made: SymbolicTensor) -> Any:
        """What is known of what a call made."""
        one = marks[0] if marks and all(mark == marks[0] for mark in marks) else None
        mixed = any(mark is not None for mark in marks) and one is None
        kept = made.shape == given[0].shape if given else False
        if isinstance(target, layers.Flatten):
            self.met.add(id(target))
            return _flat(target, given[0].shape[1:], one)
        if getattr(target, "data_format", None) is not None and made.ndim > 2:
            return _IMAGE if target.data_format == "channels_last" else None
        if getattr(target, "data_format", None) is not None and made.ndim <= 2:
            return None  # pooled over all places: channels only
        weights = isinstance(target, Layer) and bool(target.weights)
        if weights and one is not None and one != _IMAGE and isinstance(target, Layer):
            self.note(target, one)
        if weights and not kept:
            return None if made.ndim <= 2 or one is None else _UNKNOWN
        return _UNKNOWN if mixed or (not kept and one is not None and len(given) == 1) else one

    def note(self, layer: Layer, mark: Any) -> None:
        before = self.found.shapes.get(id(layer))
        if mark == _UNKNOWN or (before is not None and before != mark):
            self.found.unknown.append(layer)
        else:
            self.found.shapes[id(layer)] = mark


def _flat(layer: Any, shape: tuple[Any, ...], mark: Any) -> Any:
    """What is known of a row of ``shape`` that was flattened: in which order PyTorch would have it."""
    if layer.data_format == "channels_first":  # moved last by the layer, first in PyTorch
        shape = (*shape[1:], *shape[:1])
    elif mark != _IMAGE:
        return mark
    if None in shape or len(shape) < 2 or shape[-1] == 1 or math.prod(shape[:-1]) == 1:
        return None if None not in shape else _UNKNOWN
    return shape
