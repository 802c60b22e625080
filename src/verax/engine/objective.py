"""``observe``: the one function that training, evaluation and the ledger all run, with one fact or another changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from verax.frame.frame import Outcome, call
from verax.frame.layer import Layer
from verax.frame.mode import ModeMap, Observation
from verax.frame.tree import Tree
from verax.ledger.tally import Tally

__all__ = ["Meter", "Objective", "Seen", "Term"]

Tallies = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Term:
    """The loss of one output.

    Attributes:
        name: The output's name.
        output: Which leaf of the model's output, and which target.
        values: (target, prediction) -> unreduced values, first axis rows.
        coefficient: Its loss weight.
        reduction: How a batch's values become its share of the objective: "mean" (Σ w·v / N, Keras'
            ``sum_over_batch_size``), "weighted_mean" (Σ w·v / Σ w) or "sum".
        link: "softmax" or "sigmoid" when the values can be computed from the logits behind a prediction.
        from_link: (target, logits) -> the same values.
        clipped: (target, prediction) -> which values a clip at 1e-7 changed, or None where none can.
        counted: target -> which values count (an ignored class does not), or None where all do.
        check: (targets on the host, shape of the predictions) -> raises where the loss cannot use them.
    """

    name: str
    output: int
    values: Callable[[Any, Any], jax.Array]
    coefficient: float = 1.0
    reduction: str = "mean"
    link: str | None = None
    from_link: Callable[[Any, Any], jax.Array] | None = None
    clipped: Callable[[Any, Any], jax.Array | None] | None = None
    counted: Callable[[Any], jax.Array | None] | None = None
    check: Callable[[Any, tuple[int | None, ...]], None] | None = None


@dataclass(frozen=True)
class Meter:
    """One metric on one output.

    Attributes:
        name: As shown.
        output: Which leaf of the model's output, and which target.
        tally: (target, prediction, weights) -> sums: a Tally or any structure of arrays that adds.
        finish: Folded sums -> value.
        weighted: Whether sample weights count (a mask always does).
        direction: "min", "max" or None.
        link, tally_from_link: As in ``Term``.
    """

    name: str
    output: int
    tally: Callable[[Any, Any, Any], Any]
    finish: Callable[[Any], Any]
    weighted: bool = False
    direction: str | None = None
    link: str | None = None
    tally_from_link: Callable[[Any, Any, Any], Any] | None = None


@dataclass
class Seen:
    """What a pass was observed to do while it was traced.

    Attributes:
        modes: path -> what the mode-dependent layer there did.
        draws: Whether anything was drawn.
    """

    modes: dict[str, Observation] = field(default_factory=dict)
    draws: bool = False


@dataclass(frozen=True, eq=False)
class Objective:
    """A model with its losses and metrics.

    Attributes:
        model: The root layer.
        terms, meters: Losses and metrics; they come in as values, this room knows none.
        arrange: A structure of targets or weights -> a list in the order of the model's outputs.
        seen: (a mode map's key, which layers are trainable) -> what such a pass did; filled while tracing.
    """

    model: Layer
    terms: tuple[Term, ...]
    meters: tuple[Meter, ...]
    arrange: Callable[[Any], list[Any]]
    seen: dict[Any, Seen] = field(default_factory=dict)

    def what_ran(self, mode: ModeMap, tree: Tree | None = None) -> Seen:
        """What a pass in this mode was observed to do, with the layers trainable that are so now (or in ``tree``)."""
        return self.seen[self._key(mode, tree)]

    def _key(self, mode: ModeMap, tree: Tree | None = None) -> Any:
        return mode.key(), (tree or Tree.of(self.model)).flags()

    def observe(
        self,
        params: Mapping[str, jax.Array],
        state: Mapping[str, jax.Array],
        batch: tuple[Any, Any, Any],
        *,
        mode: ModeMap,
        key: jax.Array | None,
        followed: dict[str, jax.Array] | None = None,
    ) -> tuple[jax.Array, tuple[dict[str, jax.Array], Tallies]]:
        """One pass over one batch.

            objective = Σ_terms coefficient · reduce(values) + Σ penalties

        Args:
            params, state: path -> value.
            batch: (inputs, targets, sample weights), structures of arrays whose first axis is rows.
            mode: The mode of every layer.
            key: From which the draws of this batch are made.
            followed: Where given, receives path of a moving average -> the batch's value it follows.

        Returns:
            The objective (a float32 scalar), and (the state after the pass, tallies): for every loss term, penalty and
            metric its additive sums, and how many values were clipped. Never an average.
        """
        x, y, weight = batch
        outcome = call(self.model, params, state, (x,), mode=mode, key=key)
        outputs = jax.tree.leaves(outcome.output)
        targets = self.arrange(y)
        weights = self.arrange(weight)
        rows = outputs[0].shape[0]
        tallies: Tallies = {"loss": {}, "penalty": {}, "metric": {}, "clipped": {}}
        total = jnp.zeros((), jnp.float32)
        for term in self.terms:
            tally, clipped = _term_tally(
                term, outputs[term.output], targets[term.output], weights[term.output], outcome
            )
            tallies["loss"][term.name] = tally
            if clipped is not None:
                tallies["clipped"][term.name] = clipped
            total = total + term.coefficient * _reduce(tally, term.reduction)
        for path, penalty in {**_weight_penalties(self.model, params), **outcome.penalties}.items():
            value = penalty.astype(jnp.float32)
            tallies["penalty"][path] = _floats(Tally.of(jnp.broadcast_to(value, (rows,))))
            total = total + value
        for meter in self.meters:
            tallies["metric"][meter.name] = _meter_sums(
                meter, outputs[meter.output], targets[meter.output], weights[meter.output], outcome
            )
        if followed is not None:
            followed.update({path: value for path, (value, _) in outcome.followed.items()})
        self.seen[self._key(mode)] = Seen(outcome.observed, bool(outcome.draws))
        return total, (outcome.state, tallies)


def _term_tally(term: Term, output: Any, target: Any, weight: Any, outcome: Outcome) -> tuple[Tally, Any]:
    link = outcome.links[term.output]
    if term.from_link is not None and link is not None and link[0] == term.link:
        values, clipped = term.from_link(target, _float32(link[1])), None
    else:
        values = term.values(target, _float32(output))
        clipped = None if term.clipped is None else term.clipped(target, _float32(output))
        clipped = None if clipped is None else jnp.sum(clipped.astype(jnp.float32))
    values = _float32(values)
    mask = _like(_of_rows(outcome.masks[term.output], values), values)
    counted = _like(None if term.counted is None else term.counted(target), values)
    if counted is not None:
        mask = counted if mask is None else mask * counted
    weights = _like(weight, values)
    if mask is not None:
        values = jnp.where(mask != 0, values, 0.0)  # what is masked may be anything, NaN too
    both = mask if weights is None else weights if mask is None else mask * weights
    if term.reduction == "weighted_mean" or both is None:
        return _floats(Tally.of(values, both)), clipped
    count = jnp.ones_like(values) if mask is None else mask
    return _floats(Tally.of(values, both, denominators=count)), clipped


def _meter_sums(meter: Meter, output: Any, target: Any, weight: Any, outcome: Outcome) -> Any:
    mask = outcome.masks[meter.output]
    weights = weight if meter.weighted else None
    if mask is not None:
        mask = mask.astype(jnp.float32)
        weights = mask if weights is None else mask * _like(weights, mask)
    link = outcome.links[meter.output]
    if meter.tally_from_link is not None and link is not None and link[0] == meter.link:
        return _floats(meter.tally_from_link(target, _float32(link[1]), weights))
    return _floats(meter.tally(target, _float32(output), weights))


def _reduce(tally: Tally, reduction: str) -> jax.Array:
    if reduction == "sum":
        return tally.sum
    # A batch in which everything is masked or weighs nothing has no loss, rather than 0/0.
    empty = tally.weight == 0
    return jnp.where(empty, 0.0, tally.sum / jnp.where(empty, 1.0, tally.weight))


def _weight_penalties(model: Layer, params: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    # As in Keras, a frozen weight is not penalized: it is not in params.
    found = {path: v for path, v in Tree.of(model).params().items() if v.regularizer is not None and path in params}
    return {path: variable.regularizer(params[path]) for path, variable in found.items() if variable.regularizer}


def _float32(value: Any) -> Any:
    floating = jnp.issubdtype(value.dtype, jnp.floating)
    return value.astype(jnp.float32) if floating and value.dtype != jnp.float32 else value


def _floats(sums: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), sums)


def _of_rows(mask: Any, values: jax.Array) -> Any:
    """A mask of steps for a loss with one value a row: a row counts where any of its steps does."""
    if mask is None or mask.ndim <= values.ndim:
        return mask
    return jnp.any(mask.astype(bool), axis=tuple(range(values.ndim, mask.ndim)))


def _like(weight: Any, values: jax.Array) -> jax.Array | None:
    """Weights or a mask for rows (and the first of the other axes), for every value."""
    if weight is None:
        return None
    weight = jnp.asarray(weight).astype(jnp.float32)
    if weight.ndim > values.ndim:
        weight = weight.reshape(values.shape)
    return jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)), values.shape)
