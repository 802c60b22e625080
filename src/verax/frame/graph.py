"""From outputs back to inputs: the nodes of a functional model, their order, and how they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

from verax.errors import GraphError
from verax.frame.symbolic import Node, SymbolicTensor, is_symbolic

if TYPE_CHECKING:
    from verax.frame.layer import Layer

__all__ = ["Graph"]


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph of calls between given inputs and outputs.

    Attributes:
        inputs, outputs: Structures of symbolic tensors.
        nodes: The calls between them, every one after those it depends on.
        layers: The layers called, each once, by depth (the longest way to an output, largest first) and then by the
            order in which a walk from the outputs meets them: Keras' order, so that weights list alike.
    """

    inputs: Any
    outputs: Any
    nodes: list[Node]
    layers: list[Layer]

    @classmethod
    def between(cls, inputs: Any, outputs: Any) -> Graph:
        """Collect the graph; refuse outputs that need an input that is not given."""
        starts = {id(t): t for t in _tensors(inputs, "inputs")}
        ends = _tensors(outputs, "outputs")
        met: dict[int, int] = {}  # id of a target -> when a walk from the outputs first meets it
        order: list[Node] = []
        done: set[int] = set()

        # Depth first, without recursion: graphs of a thousand layers exist.
        for end in ends:
            stack: list[tuple[SymbolicTensor, bool]] = [(end, False)]
            while stack:
                tensor, left = stack.pop()
                node = tensor.node
                if node is None or id(node) in done:
                    continue
                if left:
                    done.add(id(node))
                    order.append(node)
                    continue
                met.setdefault(id(node.target), len(met))
                stack.append((tensor, True))
                if id(tensor) in starts:
                    continue
                if not node.inputs():
                    raise GraphError(
                        "A model was made of symbolic tensors.",
                        received=f"outputs that need {tensor!r}",
                        because="that Input is not among the model's inputs: it belongs to another graph",
                        do="Add it to Model(inputs=...), or make the outputs from the given inputs.",
                    )
                stack.extend((source, False) for source in reversed(node.inputs()))
        first = {id(tensor.node) for tensor in starts.values()}
        nodes = [node for node in order if id(node) not in first]
        return cls(inputs, outputs, nodes, _layers_by_depth(order, starts, met))

    def run(self, inputs: Any, call: Callable[..., Any] | None = None) -> Any:
        """Run the graph on arrays of the structure of ``inputs``; inside a frame.

        Args:
            inputs: The arrays; or symbolic tensors, to make another graph.
            call: (target, *args, **kwargs) -> output, in the place of calling the target.
        """
        values: dict[tuple[int, int], Any] = {}
        for tensor, value in zip(_tensors(self.inputs, "inputs"), jax.tree.leaves(inputs), strict=True):
            values[id(tensor.node), tensor.index] = value

        def fill(leaf: Any) -> Any:
            return values[id(leaf.node), leaf.index] if is_symbolic(leaf) else leaf

        for node in self.nodes:
            args, kwargs = jax.tree.map(fill, (node.args, node.kwargs), is_leaf=is_symbolic)
            made = node.target(*args, **kwargs) if call is None else call(node.target, *args, **kwargs)
            for index, leaf in enumerate(jax.tree.leaves(made)):
                values[id(node), index] = leaf
        return jax.tree.map(fill, self.outputs, is_leaf=is_symbolic)


def _tensors(structure: Any, what: str) -> list[SymbolicTensor]:
    leaves = jax.tree.leaves(structure, is_leaf=is_symbolic)
    for leaf in leaves:
        if not is_symbolic(leaf):
            raise GraphError(
                f"A model was made of {what}.",
                received=f"{type(leaf).__name__} among them",
                because="a functional model is made of symbolic tensors",
                do="Begin with verax.Input(shape), call layers on it, and pass what they return.",
            )
    if not leaves:
        raise GraphError(f"A model was made of {what}.", received="none", do="Pass at least one symbolic tensor.")
    return leaves


def _layers_by_depth(order: Sequence[Node], starts: dict[int, SymbolicTensor], met: dict[int, int]) -> list[Layer]:
    # Keras' rule: a node is one deeper than its deepest consumer, and not shallower than an earlier call of its layer.
    of_node: dict[int, int] = {}
    of_target: dict[int, int] = {}
    first = {id(tensor.node) for tensor in starts.values()}
    for node in reversed(order):
        here = max(of_node.get(id(node), 0), of_target.get(id(node.target), 0))
        of_node[id(node)] = of_target[id(node.target)] = here
        for tensor in [] if id(node) in first else node.inputs():
            of_node[id(tensor.node)] = max(of_node.get(id(tensor.node), 0), here + 1)
    targets: dict[int, Any] = {id(node.target): node.target for node in order}
    ranked = sorted(targets, key=lambda i: (-of_target[i], met[i]))
    return [targets[i] for i in ranked if getattr(targets[i], "_is_verax_layer", False)]
