"""How each layer's weights are kept in PyTorch: under which names, and with which axes where."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verax import layers
from verax.frame.tree import Tree
from verax.frame.variable import Variable
from verax.layers import Layer

__all__ = ["Entry", "Unit", "units_of"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """Where one weight comes from.

    Attributes:
        path: The weight's path.
        shape: Its shape.
        sources: name -> shape of the tensors it is made of: the layer's path and PyTorch's name for it.
        make: Those tensors -> the weight.
    """

    path: str
    shape: Shape
    sources: dict[str, Shape]
    make: Callable[..., Array]


@dataclass
class Unit:
    """A layer that is one module in PyTorch.

    Attributes:
        path: The layer's path.
        entries: Its weights.
        parts: The layers inside it that may be modules of their own instead, as a projection of attention may.
    """

    path: str
    entries: list[Entry] = field(default_factory=list[Entry])
    parts: list[Unit] = field(default_factory=list["Unit"])

    @property
    def sources(self) -> dict[str, Shape]:
        """name -> shape of all tensors it is made of."""
        return {name: shape for entry in self.entries for name, shape in entry.sources.items()}

    def take(self, weight: Variable | None, names: str | Mapping[str, Shape], make: Callable[..., Array]) -> None:
        """Say where a weight comes from; nothing where the layer has none.

        Args:
            weight: The weight.
            names: name -> shape of the tensors, or the name of one that is of the weight's shape.
            make: Those tensors -> the weight.
        """
        if weight is not None:
            shapes = {names: weight.shape} if isinstance(names, str) else names
            sources = {f"{self.path}/{name}".removeprefix("/"): tuple(shape) for name, shape in shapes.items()}
            self.entries.append(Entry(weight.path, weight.shape, sources, make))


def units_of(model: Layer, flattened: Mapping[int, Shape]) -> list[Unit]:
    """The units of a built model, in its own order.

    Args:
        model: The model.
        flattened: id of a layer -> the (*space, channels) that were flattened before it. PyTorch flattens channels
            first, so its features stand in another order.
    """
    return list(_units(model, Tree.of(model), flattened, set()))


def _units(layer: Layer, tree: Tree, flattened: Mapping[int, Shape], seen: set[int]) -> Iterator[Unit]:
    if id(layer) in seen or id(layer) not in tree.layers:
        return
    seen.add(id(layer))
    unit = Unit(tree.layers[id(layer)][1].path)
    rule = next((_RULES[kind] for kind in type(layer).__mro__ if kind in _RULES), None)
    if rule is not None:
        rule(unit, layer, flattened.get(id(layer)))
    inside = [child for _, _, child in layer.children() if not isinstance(child, Variable)]
    within = [part for child in inside for part in _units(child, tree, flattened, seen)]
    taken = {entry.path for entry in unit.entries}
    own = [child for _, _, child in layer.children() if isinstance(child, Variable)]
    for weight in [*layer.own_variables(), *own]:
        if weight.path not in taken and not weight.carried and id(weight) in tree.variables:
            unit.take(weight, str(weight.path).rpartition("/")[2], _same)
            taken.add(weight.path)
    if any(entry.path in taken for part in within for entry in part.entries):
        unit.parts = within  # the layer's own rule has said where the weights inside it come from
        within = []
    if unit.entries:
        yield unit
    yield from within


# ---- arrays ----------------------------------------------------------------------------------------------------------


def _same(array: Array) -> Array:
    return array


def _kernel(array: Array) -> Array:
    """(out, in, *space) -> (*space, in, out), and (in, out, *space) -> (*space, out, in)."""
    return np.moveaxis(array, (0, 1), (-1, -2))


def _last(shape: Shape | None) -> Callable[[Array], Array]:
    """Features that were flattened as (channels, *space), in the order of (*space, channels)."""
    if shape is None:
        return _same
    space, channels = shape[:-1], shape[-1]

    def moved(array: Array) -> Array:
        apart = array.reshape(*array.shape[:-1], channels, *space)
        return np.moveaxis(apart, array.ndim - 1, -1).reshape(array.shape)

    return moved


# ---- layers ----------------------------------------------------------------------------------------------------------


def _dense(unit: Unit, layer: Any, flat: Shape | None) -> None:
    last = _last(flat)
    unit.take(layer.kernel, {"weight": layer.kernel.shape[::-1]}, lambda w: last(w).T)
    unit.take(layer.bias, "bias", _same)


def _einsum_dense(unit: Unit, layer: Any, flat: Shape | None) -> None:
    # A Linear knows one axis of inputs and one of outputs; the kernel's are theirs, if inputs come before outputs.
    _, kernel, outputs = layer.equation.replace(" ", "").replace("->", ",").split(",")
    summed = [letter for letter in kernel if letter not in outputs]
    made = kernel[len(summed) :]
    if list(kernel[: len(summed)]) != summed or not outputs.replace(".", "").endswith(made) or flat is not None:
        return
    shape: Shape = layer.kernel.shape
    linear = (math.prod(shape[len(summed) :]), math.prod(shape[: len(summed)]))
    unit.take(layer.kernel, {"weight": linear}, lambda w: w.T.reshape(shape))
    if layer.bias is not None:
        bias: Shape = layer.bias.shape
        unit.take(layer.bias, {"bias": (math.prod(bias),)}, lambda b: b.reshape(bias))


def _conv(unit: Unit, layer: Any, flat: Shape | None) -> None:
    shape = layer.kernel.shape
    unit.take(layer.kernel, {"weight": (shape[-1], shape[-2], *shape[:-2])}, _kernel)
    unit.take(layer.bias, "bias", _same)


def _depthwise_kernel(unit: Unit, weight: Variable, name: str) -> None:
    *space, channels, several = weight.shape
    by_channel = (channels, several, *space)
    shapes = {name: (channels * several, 1, *space)}
    unit.take(weight, shapes, lambda w: np.moveaxis(w.reshape(by_channel), (0, 1), (-2, -1)))


def _depthwise(unit: Unit, layer: Any, flat: Shape | None) -> None:
    _depthwise_kernel(unit, layer.kernel, "weight")
    unit.take(layer.bias, "bias", _same)


def _separable(unit: Unit, layer: Any, flat: Shape | None) -> None:
    _depthwise_kernel(unit, layer.depthwise_kernel, "depthwise/weight")
    shape = layer.pointwise_kernel.shape
    unit.take(layer.pointwise_kernel, {"pointwise/weight": (shape[-1], shape[-2], *shape[:-2])}, _kernel)
    unit.take(layer.bias, "pointwise/bias", _same)


def _batch_norm(unit: Unit, layer: Any, flat: Shape | None) -> None:
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    for own, name in names.items():
        unit.take(getattr(layer, own), name, _last(flat))


def _scaled(unit: Unit, layer: Any, flat: Shape | None) -> None:
    unit.take(layer.gamma, "weight", _last(flat))
    unit.take(layer.beta, "bias", _last(flat))


def _rms(unit: Unit, layer: Any, flat: Shape | None) -> None:
    unit.take(layer.scale, "weight", _last(flat))


def _embedding(unit: Unit, layer: Any, flat: Shape | None) -> None:
    unit.take(layer.embeddings, "weight", _same)


def _prelu(unit: Unit, layer: Any, flat: Shape | None) -> None:
    shape = layer.alpha.shape
    if max(shape, default=1) == layer.alpha.size and flat is None:  # one slope, or one for each channel
        unit.take(layer.alpha, {"weight": (layer.alpha.size,)}, lambda w: w.reshape(shape))


def _recurrent(unit: Unit, layer: Any, flat: Shape | None, end: str = "") -> None:
    cell = getattr(layer, "cell", layer)
    rule = next((_CELLS[kind] for kind in type(cell).__mro__ if kind in _CELLS), None)
    if rule is None or (rule is _reset_first and not cell.reset_after):
        return
    names = [f"{name}{end}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    for weight, name in ((cell.kernel, names[0]), (cell.recurrent_kernel, names[1])):
        unit.take(weight, {name: weight.shape[::-1]}, lambda w: rule(w.T))
    if cell.bias is not None:
        sizes: Shape = cell.bias.shape
        size = dict.fromkeys(names[2:], sizes[-1:])
        if cell.bias.ndim == 2:
            unit.take(cell.bias, size, lambda one, two: np.stack([rule(one), rule(two)]))
        else:
            unit.take(cell.bias, size, lambda one, two: rule(one + two))


def _reset_first(array: Array) -> Array:
    """Gates r, z, n along the last axis as z, r, n."""
    reset, update, new = np.split(array, 3, axis=-1)
    return np.concatenate([update, reset, new], axis=-1)


def _bidirectional(unit: Unit, layer: Any, flat: Shape | None) -> None:
    for one, end in ((layer.forward_layer, ""), (layer.backward_layer, "_reverse")):
        _recurrent(unit, one, None, end)


def _attention(unit: Unit, layer: Any, flat: Shape | None) -> None:
    """``MultiheadAttention``: one matrix for the three projections where they have as many inputs."""
    projections: list[Any] = [layer.query_dense, layer.key_dense, layer.value_dense]
    end: Any = layer.output_dense
    if end.kernel.ndim != 3 or any(part.kernel.ndim != 3 for part in projections) or layer.gate_dense is not None:
        return
    size: int = end.kernel.shape[-1]
    inputs: list[int] = [part.kernel.shape[0] for part in projections]
    wide = [math.prod(part.kernel.shape[1:]) for part in projections] + [math.prod(end.kernel.shape[:2])]
    if inputs[0] != size or any(n != size for n in wide):
        return
    joined = inputs == [size] * 3
    for i, (part, letter, ins) in enumerate(zip(projections, "qkv", inputs, strict=True)):
        rows = slice(i * size, (i + 1) * size)
        weight = ("in_proj_weight", 3 * size) if joined else (f"{letter}_proj_weight", size)
        unit.take(part.kernel, {weight[0]: (weight[1], ins)}, _cut(rows if joined else slice(None), part.kernel.shape))
        if part.bias is not None:
            unit.take(part.bias, {"in_proj_bias": (3 * size,)}, _cut(rows, part.bias.shape))
    unit.take(end.kernel, {"out_proj/weight": (size, size)}, _cut(slice(None), end.kernel.shape))
    unit.take(end.bias, "out_proj/bias", _same)


def _cut(rows: slice, shape: Shape) -> Callable[[Array], Array]:
    return lambda array: array[rows].T.reshape(shape)


_Rule = Callable[[Unit, Any, "Shape | None"], None]

_CELLS: dict[type[Any], Callable[[Array], Array]] = {
    layers.SimpleRNNCell: _same,
    layers.LSTMCell: _same,  # i, f, g, o are i, f, c, o
    layers.GRUCell: _reset_first,
}
_RULES: dict[type[Any], _Rule] = {
    layers.Dense: _dense,
    layers.EinsumDense: _einsum_dense,
    layers.BatchNormalization: _batch_norm,
    layers.RMSNormalization: _rms,
    layers.Embedding: _embedding,
    layers.PReLU: _prelu,
    layers.MultiHeadAttention: _attention,
    layers.Bidirectional: _bidirectional,
    **dict.fromkeys((layers.LayerNormalization, layers.GroupNormalization), _scaled),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
    **dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), _conv),
    **dict.fromkeys((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _conv),
    **dict.fromkeys((layers.SimpleRNN, layers.LSTM, layers.GRU, *_CELLS), _recurrent),
}
