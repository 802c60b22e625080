"""What goes into a model and what comes out: names, shapes, and their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from verax.errors import DataError, ShapeError
from verax.frame.current import active_frame
from verax.frame.graph import Graph
from verax.frame.layer import Layer
from verax.frame.symbolic import SymbolicTensor, is_symbolic

__all__ = ["Outputs", "match_inputs", "outputs_of", "signature_of"]


@dataclass(frozen=True)
class Outputs:
    """What a model returns.

    Attributes:
        names: A name for each output leaf.
        shapes: Their shapes, None for the batch axis.
        keys: The keys, where the model returns a dict.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    keys: tuple[str, ...] | None = None

    def arrange(self, structure: Any) -> list[Any]:
        """Targets or weights in the order of the outputs; a single array is every output's, None none's."""
        n = len(self.names)
        if isinstance(structure, Mapping):
            return [structure.get(name) for name in self.names]
        if isinstance(structure, (list, tuple)):
            return list(structure)
        return [structure] * n


def signature_of(inputs: Any) -> Any:
    """A hashable description of symbolic inputs."""
    leaves, treedef = jax.tree.flatten(inputs, is_leaf=is_symbolic)
    return treedef, tuple((t.shape, t.dtype) for t in leaves)


def outputs_of(model: Layer, graph: Graph | None, structure: Any) -> Outputs:
    """The names and shapes of what a model returns."""
    leaves, _ = jax.tree.flatten(structure, is_leaf=is_symbolic)
    shapes = tuple(leaf.shape for leaf in leaves)
    if isinstance(structure, Mapping):
        names = tuple(str(key) for key in sorted(structure))
    elif graph is not None:
        names = tuple(t.name for t in jax.tree.leaves(graph.outputs, is_leaf=is_symbolic))
        names = tuple(n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names))
    elif len(leaves) == 1:
        names = (model.name,)
    else:
        names = tuple(f"output_{i}" for i in range(len(leaves)))
    return Outputs(names, shapes)


def match_inputs(model: Layer, declared: Any, inputs: Any) -> list[Any]:
    """Inputs in the order of the declared ones (symbolic tensors), each of its Input's rank and dtype."""
    wanted = jax.tree.leaves(declared, is_leaf=is_symbolic)
    if isinstance(inputs, Mapping) and not isinstance(declared, Mapping):
        missing = [t.name for t in wanted if t.name not in inputs]
        if missing:
            raise DataError(
                f"Model {model.name!r} was called on a dict.",
                received=f"the keys {sorted(inputs)}",
                because=f"its inputs are named {[t.name for t in wanted]}",
                do=f"Add {missing[0]!r}.",
            )
        inputs = [inputs[t.name] for t in wanted]
    given = jax.tree.leaves(inputs)
    if len(given) != len(wanted):
        raise ShapeError(
            f"Model {model.name!r} was called.",
            received=f"{len(given)} input{'s' * (len(given) != 1)}",
            because=f"it has {len(wanted)}: {', '.join(t.name for t in wanted)}",
            do="Give a list in that order, or a dict by name.",
        )
    frame = active_frame()
    unknown = frame.unknown if frame is not None else frozenset[int]()
    return [_as_input(model, tensor, array, unknown) for tensor, array in zip(wanted, given, strict=True)]


def _as_input(model: Layer, tensor: SymbolicTensor, array: Any, unknown: frozenset[int]) -> Any:
    shape = tuple(array.shape)
    if len(shape) == len(tensor.shape) - 1 and tensor.shape[-1] == 1:
        array = array[..., None]  # (rows,) for Input((1,)), as Keras allows
    fits = array.ndim == len(tensor.shape) and all(
        want is None or have == want or have in unknown for want, have in zip(tensor.shape, array.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"Model {model.name!r} was called.",
            received=f"an input of shape {tuple(None if n in unknown else n for n in shape)} for {tensor.name!r}",
            because=f"that Input has shape {tensor.shape}",
            do="Give rows of that shape, the batch axis first.",
        )
    return array if array.dtype.name == tensor.dtype else array.astype(tensor.dtype)
