"""A jax transformation around a layer, inside a model's call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from verax.errors import FrameError
from verax.frame.current import active_frame, current
from verax.frame.frame import Frame
from verax.frame.tree import Tree

if TYPE_CHECKING:
    from verax.frame.layer import Layer

__all__ = ["lift"]


def lift(transform: Callable[..., Any], layer: Layer) -> Callable[..., Any]:
    """A jax transformation around a layer inside a model's ``call``, with what the layer leaves behind carried out.

    ``transform`` receives a pure function ``f(values, key, *args) -> (output, left behind)`` and returns one of the
    same signature: ``verax.lift(jax.checkpoint, self.block)(x)`` recomputes the block in the backward pass.
    Assignments, penalties, draws, masks and links come out as if the layer had been called itself.
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
        if not layer.built:
            return layer(*args)  # shapes only: the build is the same call under jax.eval_shape
        variables = [variable for variable, _ in Tree.of(layer).variables.values()]
        weights = {str(i): outer.updates.get(id(v), outer.values[id(v)]) for i, v in enumerate(variables)}
        masks = {str(i): outer.masks[id(a)][1] for i, a in enumerate(jax.tree.leaves(args)) if id(a) in outer.masks}
        inners: list[tuple[Frame, dict[str, str]]] = []

        def run(values: Any, key: jax.Array | None, *args: Any) -> Any:
            weights, masks = values
            inner = Frame(
                outer.tree,
                {**outer.values, **{id(variables[int(i)]): w for i, w in weights.items()}},
                outer.modes,
                key,
                observed=outer.observed,
                unknown=outer.unknown,
                draws=dict(outer.draws),
                stack=list(outer.stack),
                forced=list(outer.forced),
            )
            leaves = jax.tree.leaves(args)
            inner.masks = {id(leaves[int(i)]): (leaves[int(i)], mask) for i, mask in masks.items()}
            token = current.set(inner)
            try:
                output = layer(*args)
            finally:
                current.reset(token)
            updates = {str(i): inner.updates[id(v)] for i, v in enumerate(variables) if id(v) in inner.updates}
            ends = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(output))}
            marks = {i: inner.masks[id(leaf)][1] for i, leaf in ends.items() if id(leaf) in inner.masks}
            links = {i: inner.links[id(leaf)] for i, leaf in ends.items() if id(leaf) in inner.links}
            inners.append((inner, {i: kind for i, (_, kind, _) in links.items()}))
            return output, (updates, inner.penalties, marks, {i: logits for i, (_, _, logits) in links.items()})

        output, (updates, penalties, marks, logits) = transform(run)((weights, masks), outer.key, *args)
        inner, kinds = inners[-1]
        outer.draws = inner.draws
        for i, value in updates.items():
            outer.assign(variables[int(i)], value)
        for path, value in penalties.items():
            outer.penalize(path, value)
        leaves = jax.tree.leaves(output)
        for i, mask in marks.items():
            outer.masks[id(leaves[int(i)])] = (leaves[int(i)], mask)
        for i, value in logits.items():
            outer.links[id(leaves[int(i)])] = (leaves[int(i)], kinds[i], value)
        return output

    return lifted
