"""A jax transformation around a layer, inside a model's call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from verax.errors import FrameError
from verax.frame.current import active_frame, current
from verax.frame.frame import Frame
from verax.frame.tree import Tree
from verax.frame.variable import Variable

if TYPE_CHECKING:
    from verax.frame.layer import Layer

__all__ = ["carry", "is_built", "lift", "numbered"]


def lift(transform: Callable[..., Any], layer: Layer) -> Callable[..., Any]:
    """A jax transformation around a layer inside a model's ``call``, with what the layer leaves behind carried out.

    ``transform`` receives a pure function ``f(values, key, *args) -> (output, left behind)`` and returns one of the
    same signature: ``verax.lift(jax.checkpoint, self.block)(x)`` recomputes the block in the backward pass, as
    ``remat=True`` in the block does. Assignments, penalties, draws, masks and links come out as if the layer had been
    called itself.
    """

    def lifted(*args: Any) -> Any:
        outer = active_frame()
        if outer is None:
            raise FrameError(
                f"lift(..., {layer.name!r}) was called outside of a model's call.",
                because="there is no frame to carry what the layer leaves behind",
                do="Outside of a model, transform verax.pure(layer).",
            )
        outer.check_trace("a lifted layer was called")
        if not is_built(layer):
            return layer(*args)  # shapes only: the build is the same call under jax.eval_shape
        variables = [variable for variable, _ in Tree.of(layer).variables.values()]
        return carry(outer, transform, layer, args, variables)[0]

    return lifted


def carry(
    outer: Frame,
    transform: Callable[..., Any],
    function: Callable[..., Any],
    args: Sequence[Any],
    variables: Iterable[Variable] = (),
) -> tuple[Any, dict[int, int]]:
    """Run ``function(*args)`` through a transformation, in a frame of its own, and bring out what it leaves behind.

    Args:
        outer: The frame of the call.
        transform: From ``f(values, key, *args) -> (output, left behind)`` to a function of the same signature.
        function: What is transformed: a layer, or a function that calls layers.
        args: Structures of arrays.
        variables: Those whose values go through the transformation in ``values``; others are constants to it.

    Returns:
        The output, and which of its leaves are leaves of ``args`` returned as they are (output's -> argument's place).
    """
    through = {str(i): variable for i, variable in enumerate(variables)}
    weights = {i: outer.held(v) for i, v in through.items()}
    masks = {str(i): outer.masks[id(a)][1] for i, a in enumerate(jax.tree.leaves(args)) if id(a) in outer.masks}
    inners: list[tuple[Frame, dict[str, str], dict[int, int]]] = []

    def run(values: Any, key: jax.Array | None, *args: Any) -> Any:
        weights, masks = values
        inner = Frame(
            outer.tree,
            {**outer.values, **outer.updates, **{id(through[i]): w for i, w in weights.items()}},
            outer.modes,
            key,
            observed=outer.observed,
            unknown=outer.unknown,
            draws=dict(outer.draws),
            shapes=outer.shapes,
            built=outer.built,
            stack=list(outer.stack),
            forced=list(outer.forced),
        )
        leaves = jax.tree.leaves(args)
        inner.masks = {id(leaves[int(i)]): (leaves[int(i)], mask) for i, mask in masks.items()}
        token = current.set(inner)
        try:
            output = function(*args)
        finally:
            current.reset(token)
        ends = jax.tree.leaves(output)
        places = {id(leaf): place for place, leaf in enumerate(leaves)}
        same = {i: places[id(leaf)] for i, leaf in enumerate(ends) if id(leaf) in places}
        marks = {str(i): inner.masks[id(leaf)][1] for i, leaf in enumerate(ends) if id(leaf) in inner.masks}
        links = {str(i): inner.links[id(leaf)] for i, leaf in enumerate(ends) if id(leaf) in inner.links}
        inners.append((inner, {i: kind for i, (_, kind, _) in links.items()}, same))
        number = numbered(inner.tree)
        return output, (
            {number[i]: value for i, value in inner.updates.items()},
            {number[i]: value for i, (value, _) in inner.followed.items()},
            inner.penalties,
            marks,
            {i: logits for i, (_, _, logits) in links.items()},
        )

    output, (updates, followed, penalties, marks, logits) = transform(run)((weights, masks), outer.key, *args)
    inner, kinds, same = inners[-1]
    if inner.draws != outer.draws:
        outer.check_trace("a layer drew")
        outer.draws = inner.draws
    ids = list(inner.tree.variables)
    for n, value in updates.items():
        outer.assign(inner.tree.variables[ids[int(n)]][0], value)
    for n, value in followed.items():
        outer.followed[ids[int(n)]] = (value, inner.followed[ids[int(n)]][1])
    for path, value in penalties.items():
        outer.penalize(path, value)
    leaves = jax.tree.leaves(output)
    for i, mask in marks.items():
        outer.masks[id(leaves[int(i)])] = (leaves[int(i)], mask)
    for i, value in logits.items():
        outer.links[id(leaves[int(i)])] = (leaves[int(i)], kinds[i], value)
    return output, same


def numbered(tree: Tree) -> dict[int, str]:
    """id of a variable -> its number in the tree: the same program from the same model, whatever Python's ids are."""
    return {i: f"{n:06d}" for n, i in enumerate(tree.variables)}


def is_built(layer: Layer) -> bool:
    """Whether a layer and all layers it holds are built."""
    seen: set[int] = set()

    def visit(one: Any) -> bool:
        if isinstance(one, Variable) or id(one) in seen:
            return True
        seen.add(id(one))
        return one.built and all(visit(child) for _, _, child in one.children())

    return visit(layer)
