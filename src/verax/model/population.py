"""Population statistics: what moving averages would be if they had converged at the weights of now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from verax.data.source import Source
from verax.engine.step import handed_on
from verax.frame.frame import call, load_values, values
from verax.frame.mode import Mode, ModeMap
from verax.frame.symbolic import observe_symbolically
from verax.frame.tree import Tree
from verax.model.passes import Chunks, program

if TYPE_CHECKING:
    from verax.model.measurable import Measurable

__all__ = ["averages_of", "population", "recalibrate"]

#: Batch statistics of the batch; everything else as in inference, where the averages will be used.
_MODES = ModeMap(Mode.INFER, effects={"batch_statistics": Mode.TRAIN})


def averages_of(model: Measurable) -> dict[str, float]:
    """path of each moving average that a layer follows -> its momentum, without computing anything."""
    outcome = observe_symbolically(model, model._model.inputs, ModeMap(Mode.TRAIN))
    return {path: momentum for path, (_, momentum) in outcome.followed.items()}


def population(
    model: Measurable, source: Source, params: Mapping[str, Any], state: Mapping[str, Any], *, steps: int | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """path of each moving average -> Σ_batches rows · (the batch's value) / Σ rows, at fixed weights.

    The value a moving average converges to when the weights stand still: for batch normalization the mean over batches
    of the batch's mean and of its (biased) variance. Dropout and noise are off, as where the averages are used.

    Args:
        model: The model.
        source: The rows, in batches of the size trained with.
        params, state: The weights.
        steps: At most this many batches.
    """

    carried = tuple(Tree.of(model).carried())

    def step(carry: Any, batch: Any, key: jax.Array) -> tuple[Any, Any]:
        params, state = carry
        outcome = call(model, params, state, (batch.x,), mode=_MODES, key=key)
        carry = params, handed_on(state, outcome.state, carried)
        return carry, {path: value for path, (value, _) in outcome.followed.items()}

    made = program(model, "population", None, _MODES, step, source)
    chunks = Chunks(made, source, source.feed(0, steps=steps))
    carry: Any = (dict(params), dict(state))
    totals: dict[str, np.ndarray[Any, Any]] = {}
    rows = 0
    for chunk in chunks:
        size = chunk.index.shape[1]
        carry, found = chunks.run(carry, chunk, key=jax.random.key(0), first=0)
        for path, batches in found.items():
            totals[path] = totals.get(path, 0.0) + size * np.asarray(batches, np.float64).sum(axis=0)
        rows += chunk.index.size
    return {path: (total / rows).astype(np.float32) for path, total in totals.items()}


def recalibrate(model: Measurable, source: Source) -> None:
    """Set every moving average that a layer follows to the population's value at the weights of now."""
    found = population(model, source, *values(model))
    load_values(model, found)
