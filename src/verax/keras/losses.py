"""What a batch comes to under a compiled model's loss: the number itself, its rows, and its penalties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verax.keras.frameworks import require_keras
from verax.keras.modes import overridden

__all__ = ["MASKED", "ROWS", "WHOLE", "keeps_compute_loss", "observe", "rows_of", "unpacked"]

#: How a batch's number is made of its rows: their mean; a mean of what masks or weights count; not known.
ROWS, MASKED, WHOLE = "rows", "masked", "whole"

_MEANS = ("sum_over_batch_size", "mean")


def unpacked(batch: Any) -> tuple[Any, Any, Any]:
    """x, y and the weights of a batch, as Keras' trainers take it apart."""
    return require_keras("A batch was to be measured.").utils.unpack_x_y_sample_weight(batch)


def keeps_compute_loss(model: Any) -> bool:
    """Whether the model computes its loss as Keras does."""
    return type(model).compute_loss.__module__.startswith("keras.")


def observe(model: Any, values: tuple[Sequence[Any], Sequence[Any]], batch: Any, training: bool) -> dict[str, Any]:
    """Run a batch, changing nothing.

    Args:
        model: A built and compiled model.
        values: Of its trainable and its other variables.
        batch: (x, y, weights).
        training: In which mode.

    Returns:
        value: The loss without penalties; penalty: what is added to it; sums: v, u, v², vu, u² and rows over the rows,
        None where they are not known one by one; kind: how the value is made of rows (a word, not an array); other:
        the other variables after the pass.
    """
    ops = require_keras("A batch was to be measured.").ops
    x, y, weight = batch
    mode = {"training": training} if model._call_has_training_arg else {}
    with _loss_ids_kept(model):
        y_pred, other, losses = model.stateless_call(*values, x, return_losses=True, **mode)
        value, kind, sums = _loss(model, values, (x, y, y_pred, weight), losses, training)
    penalty = sum((ops.sum(ops.cast(one, "float32")) for one in losses), ops.zeros((), "float32"))
    if not keeps_compute_loss(model):
        penalty = ops.zeros((), "float32")  # what it adds up is in the value, and is its own affair
    return {"value": value, "penalty": penalty, "sums": sums, "kind": kind, "other": other}


def _loss(
    model: Any,
    values: tuple[Sequence[Any], Sequence[Any]],
    batch: tuple[Any, Any, Any, Any],
    losses: Any,
    training: bool,
) -> tuple[Any, str, Any]:
    keras = require_keras("A loss was to be measured.")
    ops = keras.ops
    x, y, y_pred, weight = batch
    mapping = [*zip(model.trainable_variables, values[0], strict=True)]
    mapping += zip(model.non_trainable_variables, values[1], strict=True)
    mapping += [(v, ops.zeros(v.shape, v.dtype)) for v in model.metrics_variables]
    if not keeps_compute_loss(model):
        with keras.StatelessScope(state_mapping=mapping), overridden("_losses_override", [(model, list(losses))]):
            value = model._compute_loss(x, y, y_pred, sample_weight=weight, training=training)
        return ops.cast(value, "float32"), WHOLE, None
    compiled = model._compile_loss
    if compiled is None:
        return ops.zeros((), "float32"), WHOLE, None
    seen: list[tuple[Any, Any, Any, Any, Any]] = []
    spies = [one._replace(loss=_spy(one.loss, one.loss_weights, seen)) for one in compiled._flat_losses]
    with keras.StatelessScope(state_mapping=mapping), overridden("_flat_losses", [(compiled, spies)]):
        value = compiled(y, y_pred, weight)
    if not keras.tree.is_nested(y) and not keras.tree.is_nested(y_pred):
        seen = seen[:1]  # of several losses of one output Keras takes the first
    kind, sums = _by_rows(seen, rows_of(x))
    return ops.cast(value, "float32"), kind, sums


def rows_of(x: Any) -> int:
    """How many rows a batch has, as Keras counts them."""
    leaves = require_keras("A batch was to be counted.").tree.flatten(x)
    return int(next(leaf for leaf in leaves if leaf is not None).shape[0])


def _spy(loss: Any, coefficient: Any, seen: list[Any]) -> Any:
    def spy(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        seen.append((loss, coefficient, y_true, y_pred, sample_weight))
        return loss(y_true, y_pred, sample_weight)

    return spy


def _by_rows(seen: Sequence[Any], rows: int) -> tuple[str, Any]:
    """How the value is made of rows, and the sums over them."""
    keras = require_keras("A loss was to be measured.")
    ops = keras.ops
    total: Any = None
    for loss, coefficient, y_true, y_pred, weight in seen:
        reduction = getattr(loss, "reduction", "")
        weighted = reduction == "mean_with_sample_weight" and weight is not None
        mask = _mask_of(y_pred)
        if not isinstance(loss, keras.losses.Loss) or reduction not in (*_MEANS, "mean_with_sample_weight"):
            return WHOLE, None
        if (mask is not None or weighted) and len(seen) > 1:
            return MASKED, None
        each = _unreduced(loss)(y_true, y_pred, weight)
        if not each.shape or each.shape[0] != rows:
            return WHOLE, None
        if mask is not None or weighted:
            counted = _counted(mask, weight if weighted else None, each)
            return MASKED, None if counted is None else _sums(_per_row(each), _per_row(counted))
        mean = _per_row(each) / max(1, _size(each.shape[1:]))
        total = _scaled(mean, coefficient) + (0.0 if total is None else total)
    return (WHOLE, None) if total is None else (ROWS, _sums(total, ops.ones_like(total)))


def _mask_of(y_pred: Any) -> Any:
    """The mask a prediction carries, as a loss of Keras asks for it."""
    from keras.src.backend import get_keras_mask

    return get_keras_mask(y_pred)


def _unreduced(loss: Any) -> Any:
    one = object.__new__(type(loss))  # copy.copy would go by way of a loss's configuration
    vars(one).update(vars(loss), reduction="none")
    return one


def _scaled(each: Any, coefficient: Any) -> Any:
    ops = require_keras("A loss was to be measured.").ops
    return each if coefficient is None else each * ops.cast(coefficient, each.dtype)


def _counted(mask: Any, weight: Any, each: Any) -> Any:
    """What each value adds to what the mean is divided by; None where shapes do not tell."""
    ops = require_keras("A loss was to be measured.").ops
    counted = ops.ones_like(each)
    for factor in (mask, weight):
        if factor is None:
            continue
        factor = ops.cast(factor, each.dtype)
        while len(factor.shape) > len(each.shape) and factor.shape[-1] == 1:
            factor = ops.squeeze(factor, axis=-1)
        while len(factor.shape) < len(each.shape):
            factor = ops.expand_dims(factor, -1)
        if len(factor.shape) != len(each.shape):
            return None
        counted = counted * factor
    return counted


def _per_row(each: Any) -> Any:
    ops = require_keras("A loss was to be measured.").ops
    each = ops.cast(each, "float32")
    return ops.sum(ops.reshape(each, (each.shape[0], -1)), axis=-1) if len(each.shape) > 1 else each


def _sums(v: Any, u: Any) -> Any:
    ops = require_keras("A loss was to be measured.").ops
    counted = ops.cast(ops.not_equal(u, 0.0), "float32")
    return ops.stack([ops.sum(one) for one in (v, u, v * v, v * u, u * u, counted)])


def _size(shape: Sequence[int]) -> int:
    n = 1
    for one in shape:
        n *= int(one)
    return n


class _loss_ids_kept:  # noqa: N801 - used as a function
    """What a pass notes in the layers about its losses is forgotten again."""

    def __init__(self, model: Any):
        self._layers = model._flatten_layers(include_self=True)

    def __enter__(self) -> None:
        self._saved = [(layer, set(layer._loss_ids)) for layer in self._layers if hasattr(layer, "_loss_ids")]

    def __exit__(self, *_: object) -> None:
        for layer, ids in self._saved:
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)
