"""From what a person wrote in ``compile`` to one objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from verax import losses, metrics, optimizers
from verax.data.source import Source
from verax.engine.objective import Meter, Objective, Term
from verax.errors import DataError, InputError, NotCompiledError, ShapeError, UnknownNameError
from verax.frame.layer import Layer
from verax.frame.tree import Tree
from verax.model.structure import Outputs

__all__ = ["Compiled", "check_resident", "check_targets", "require_compiled"]

_REDUCTIONS = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "mean_with_sample_weight": "weighted_mean",
    "sum": "sum",
}


@dataclass
class Compiled:
    """The arguments of ``compile``, and what was made of them.

    Attributes:
        optimizer: The optimizer.
        loss, loss_weights, metrics, weighted_metrics: As a person gave them.
        run_eagerly: Whether steps run without being compiled, for debugging.
    """

    optimizer: Any
    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None
    run_eagerly: bool = False
    objectives: dict[Any, Objective] = field(default_factory=dict)
    opt_state: Any = None
    steps: int = 0
    trained: frozenset[str] = frozenset()  # the paths the optimizer's state is for
    rate: Any = None  # the learning rate that was last put into the optimizer's state

    @classmethod
    def of(cls, optimizer: Any, model: Layer | None = None, **given: Any) -> Compiled:
        """Check names at once: an unknown one must not wait for the first epoch.

        Args:
            optimizer: A name or an optimizer; wrapped in a ``LossScaleOptimizer`` where gradients of ``model`` pass
                through float16 and it scales no loss itself.
            model: The model whose layers decide that; None to leave the optimizer as it is.
            given: The other arguments of ``compile``.
        """
        optimizer = optimizers.get(optimizer)
        if model is not None and _needs_scaling(model, optimizer):
            optimizer = optimizers.LossScaleOptimizer(optimizer)
        made = cls(optimizer, **given)
        for one in jax.tree.leaves(made.loss, is_leaf=lambda v: not isinstance(v, (list, tuple, dict))):
            loss = losses.resolve(one, (None,), (None, 2))
            if loss is not None and loss.reduction not in _REDUCTIONS:
                raise InputError(
                    "compile(loss=...) makes a training objective.",
                    received=f"loss {loss.name!r} with reduction={loss.reduction!r}",
                    because="an objective is one number",
                    do="Use reduction='sum_over_batch_size', 'mean_with_sample_weight' or 'sum'.",
                )
        for one in jax.tree.leaves(made.loss_weights):
            if not isinstance(one, (int, float, np.number)):
                raise InputError(
                    "compile(loss_weights=...) gives each output's loss a number.",
                    received=repr(one),
                    because="it is no number",
                    do="Use loss_weights=[1.0, 0.5], or a dict by output name; metrics go to metrics=.",
                )
        for one in jax.tree.leaves([made.metrics, made.weighted_metrics], is_leaf=_is_one):
            metrics.resolve(one, (None,), (None, 2))
        return made

    def objective(self, model: Layer, outputs: Outputs, y: Any) -> Objective:
        """The objective for targets of the shapes of ``y`` (a structure of arrays or specs)."""
        for name in y if isinstance(y, Mapping) else ():
            if name not in outputs.names:
                raise UnknownNameError.among("output (a key of y)", name, outputs.names)
        targets = outputs.arrange(y)
        if len(targets) != len(outputs.names):
            raise ShapeError(
                f"The targets of {model.name!r} were matched with its outputs.",
                received=f"{len(targets)} target{'s' * (len(targets) != 1)}",
                because=f"the outputs of the model are {len(outputs.names)}: {', '.join(outputs.names)}",
                do="Give one target for each output, as a list or as a dict by output name.",
            )
        shapes = tuple(None if t is None else (None, *t.shape[1:]) for t in targets)
        if shapes not in self.objectives:
            chosen = self._losses(outputs, shapes)
            terms = tuple(
                _term(loss, outputs, i, weight) for i, (loss, weight) in enumerate(chosen) if loss is not None
            )
            meters = self._meters(outputs, shapes, [loss for loss, _ in chosen])
            for part in (*terms, *meters):
                if targets[part.output] is None:
                    raise DataError(
                        f"{part.name!r} was to be measured on output {outputs.names[part.output]!r}.",
                        received="no targets for it (y=None)",
                        do="Pass y, or compile without a loss or metric for that output.",
                    )
            self.objectives[shapes] = Objective(model, terms, meters, outputs.arrange)
        return self.objectives[shapes]

    def _losses(self, outputs: Outputs, shapes: Sequence[Any]) -> list[tuple[Any, float]]:
        identifiers = _per_output(self.loss, outputs, "loss")
        weights = _per_output(self.loss_weights, outputs, "loss_weights")
        made: list[tuple[Any, float]] = []
        for one, weight, shape, pred in zip(identifiers, weights, shapes, outputs.shapes, strict=True):
            made.append((losses.resolve(one, shape or (None,), pred), 1.0 if weight is None else float(weight)))
        return made

    def _meters(self, outputs: Outputs, shapes: Sequence[Any], chosen: list[Any]) -> tuple[Meter, ...]:
        meters: dict[str, Meter] = {}
        for given, weighted in ((self.metrics, False), (self.weighted_metrics, True)):
            for i, listed in enumerate(_metrics_per_output(given, outputs)):
                for one in listed:
                    metric: Any = metrics.resolve(one, shapes[i] or (None,), outputs.shapes[i], chosen[i])
                    name = metric.name if len(outputs.names) == 1 else f"{outputs.names[i]}_{metric.name}"
                    base, n = (f"weighted_{name}" if name in meters and weighted else name), 1
                    name = base
                    while name in meters:
                        name, n = f"{base}_{n}", n + 1
                    link = metric.link
                    meters[name] = Meter(
                        name,
                        i,
                        metric.tally,
                        metric.finish,
                        weighted,
                        metric.direction,
                        link,
                        metric.tally_from_link if link else None,
                    )
        return tuple(meters.values())


def _needs_scaling(model: Layer, optimizer: optimizers.Optimizer) -> bool:
    scales = isinstance(optimizer, optimizers.LossScaleOptimizer) or optimizer.loss_scale_factor is not None
    mixed = (layer.dtype_policy.name == "mixed_float16" for layer, _ in Tree.of(model).layers.values())
    return not scales and any(mixed)


def require_compiled(compiled: Compiled | None, model: Layer, what: str) -> Compiled:
    """``compiled``, or the error that says it is missing."""
    if compiled is None:
        raise NotCompiledError(
            f"{model.name}.{what} was called.",
            because="the model is not compiled: it has no loss and no optimizer",
            do="Call model.compile(optimizer='adam', loss='mse') first.",
        )
    return compiled


def check_targets(objective: Objective, outputs: Outputs, y: Any) -> None:
    """Refuse targets a loss cannot use, on the host, before anything is computed."""
    targets = outputs.arrange(y)
    for term in objective.terms:
        if term.check is not None and targets[term.output] is not None:
            term.check(np.asarray(targets[term.output]), outputs.shapes[term.output])


def check_resident(objective: Objective, outputs: Outputs, source: Source) -> None:
    """Check the targets of rows that are all at hand, before anything is computed."""
    if source.resident:
        check_targets(objective, outputs, source.arrays.y)  # pyright: ignore[reportAttributeAccessIssue]


def _term(loss: Any, outputs: Outputs, i: int, weight: float) -> Term:
    link = loss.link
    return Term(
        outputs.names[i],
        i,
        loss.per_example,
        weight,
        _REDUCTIONS[loss.reduction],
        link,
        loss.from_link if link else None,
        loss.clipped,
        loss.counted,
        loss.check,
    )


def _is_one(value: Any) -> bool:
    return value is None or not isinstance(value, (list, tuple, dict))


def _per_output(given: Any, outputs: Outputs, what: str) -> list[Any]:
    n = len(outputs.names)
    if isinstance(given, Mapping):
        for name in given:
            if name not in outputs.names:
                raise UnknownNameError.among(f"output (in compile({what}={{...}}))", name, outputs.names)
        return [given.get(name) for name in outputs.names]
    if isinstance(given, (list, tuple)):
        if len(given) != n:
            raise InputError(
                f"compile({what}=[...]) has one entry for each output.",
                received=f"{len(given)} entries",
                because=f"the model has {n} outputs: {', '.join(outputs.names)}",
                do=f"Give {n}, or a dict by output name.",
            )
        return list(given)
    return [given] * n


def _metrics_per_output(given: Any, outputs: Outputs) -> list[list[Any]]:
    n = len(outputs.names)
    if given is None:
        return [[] for _ in range(n)]
    if not isinstance(given, (Mapping, list, tuple)):
        given = [given]
    if n == 1 and not isinstance(given, Mapping):
        flat = [m for one in given for m in (one if isinstance(one, (list, tuple)) else [one])]
        return [[m for m in flat if m is not None]]
    listed = _per_output(given, outputs, "metrics")
    return [[] if one is None else list(one) if isinstance(one, (list, tuple)) else [one] for one in listed]
