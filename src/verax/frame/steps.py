"""A scan whose body calls layers: what they assign goes from step to step, what they leave behind comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax

from verax.frame.current import active_frame
from verax.frame.frame import Frame
from verax.frame.lift import carry, numbered
from verax.frame.tree import Tree

__all__ = ["scan_layers"]


def scan_layers(
    function: Callable[[Any, Any], tuple[Any, Any]], first: Any, inputs: Any, layers: Iterable[Any], *, unroll: int = 1
) -> tuple[Any, Any]:
    """``jax.lax.scan(function, first, inputs)`` inside a layer's ``call``, where ``function`` calls layers.

    Each step has draws of its own, and finds the variables as the step before left them. Penalties of all steps are
    added; what a moving average follows is the mean over the steps. Masks and logits stay inside.

    Args:
        function: ``(carried, inputs of a step) -> (carried, outputs of the step)``.
        first: What the first step is given.
        inputs: A structure of arrays whose first axis is time.
        layers: The layers it calls, all of them built.
        unroll: How many steps stand in the body of the loop.

    Returns:
        What the last step carried on, and the outputs of all steps.
    """
    outer = cast("Frame", active_frame())
    kept = [v for layer in layers for v, _ in Tree.of(layer).variables.values() if not v.trainable]
    for variable in kept:  # the tree knows layers that were built a moment ago
        outer.held(variable)
    number = numbered(outer.tree)
    place_of = {number[id(variable)]: str(i) for i, variable in enumerate(kept)}

    def transform(run: Callable[..., Any]) -> Callable[..., Any]:
        def scanned(values: Any, key: jax.Array | None, first: Any, inputs: Any) -> Any:
            def one(before: Any, at: Any) -> Any:
                (carried, weights), (number, x) = before, at
                step_key = None if key is None else jax.random.fold_in(key, number)
                (carried, y), (updates, followed, penalties, _, _) = run((weights, {}), step_key, carried, x)
                changed, followed = ({place_of[i]: v for i, v in found.items()} for found in (updates, followed))
                return (carried, {**weights, **changed}), (y, followed, penalties, dict.fromkeys(changed, ()))

            steps = jnp.arange(len(jax.tree.leaves(inputs)[0]))
            (last, weights), (outputs, followed, penalties, changed) = lax.scan(
                one, (first, values[0]), (steps, inputs), unroll=unroll
            )
            mean, total = (
                {i: reduce(value, axis=0) for i, value in found.items()}
                for reduce, found in ((jnp.mean, followed), (jnp.sum, penalties))
            )
            at = {place: i for i, place in place_of.items()}
            updates = {at[i]: weights[i] for i in changed}
            return (last, outputs), (updates, {at[i]: v for i, v in mean.items()}, total, {}, {})

        return scanned

    return carry(outer, transform, function, (first, inputs), kept)[0]
