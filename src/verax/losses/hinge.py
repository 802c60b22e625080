"""Losses of a margin: zero once a prediction is right by 1 or more.

Targets and predictions are (batch, *tokens, outputs), values (batch, *tokens). Binary targets are −1 and 1, or 0 and 1.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from verax.losses.base import PairedLoss, paired

__all__ = ["CategoricalHinge", "Hinge", "SquaredHinge", "categorical_hinge", "hinge", "squared_hinge"]


def _shortfall(y_true: Any, y_pred: Any) -> jax.Array:
    """max(1 − t·p, 0), with t = −1 where the target is 0."""
    t, p = paired(y_true, y_pred)
    return jnp.maximum(1.0 - jnp.where(t == 0, -1.0, t) * p, 0.0)


def hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of max(1 − t·p, 0) over the last axis; a target of 0 stands for −1.

    Differs from Keras: each target 0 is read as −1. Keras does so only for a batch in which every target is 0 or 1, so
    that a row's loss can depend on the other rows.

    >>> hinge([[0, 1]], [[0.5, 0.5]]).tolist()
    [1.0]
    """
    return jnp.mean(_shortfall(y_true, y_pred), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of max(1 − t·p, 0)² over the last axis; a target of 0 stands for −1, as in :func:`hinge`.

    >>> squared_hinge([[0, 1]], [[0.5, 0.5]]).tolist()
    [1.25]
    """
    return jnp.mean(jnp.square(_shortfall(y_true, y_pred)), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """max(n − p⁺ + 1, 0), with p⁺ = Σ t·p and n = max (1 − t)·p over the classes (last axis) of one-hot targets.

    >>> categorical_hinge([[0, 1]], [[0.5, 0.75]]).tolist()
    [0.75]
    """
    t, p = paired(y_true, y_pred)
    return jnp.maximum(jnp.max((1.0 - t) * p, axis=-1) - jnp.sum(t * p, axis=-1) + 1.0, 0.0)


class Hinge(PairedLoss):
    """:func:`hinge` as a loss."""

    function = hinge


class SquaredHinge(PairedLoss):
    """:func:`squared_hinge` as a loss."""

    function = squared_hinge


class CategoricalHinge(PairedLoss):
    """:func:`categorical_hinge` as a loss."""

    function = categorical_hinge
