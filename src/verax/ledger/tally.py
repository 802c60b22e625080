"""Sums, from which every reported mean is made; never an average of averages."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import numpy as np

from verax.errors import InputError

__all__ = ["Tally", "fold"]


class Tally(NamedTuple):
    """Additive sums over rows: all that is needed for a weighted mean and its standard error.

    Row ``i`` contributes ``v_i`` (its weighted value) to the numerator and ``u_i`` (its weight) to the denominator;
    a row of several tokens contributes the totals of its tokens, so that rows, not tokens, are the independent units.

        mean   = Σ v_i / Σ u_i
        stderr = sqrt( n / (n-1) · Σ (v_i − mean · u_i)² ) / Σ u_i

    The second line is the standard error of a ratio of two sample means (Cochran, *Sampling Techniques*, 3rd ed.,
    section 6.4); for ``u_i = 1`` it is the familiar s / √n.

    Attributes:
        sum: Σ v_i, in the unit of the value.
        weight: Σ u_i, in rows (or tokens, or whatever the weights count).
        sumsq: Σ v_i².
        cross: Σ v_i · u_i.
        weightsq: Σ u_i².
        rows: n, the number of rows with u_i ≠ 0.

    The fields are numbers, or arrays of one shape (one tally a step). Tallies add field by field:

    >>> a, b = Tally.of(np.array([1.0, 3.0])), Tally.of(np.array([5.0]))
    >>> (a + b).mean
    3.0
    >>> round((a + b).stderr, 4)
    1.1547
    """

    sum: Any
    weight: Any
    sumsq: Any
    cross: Any
    weightsq: Any
    rows: Any

    @classmethod
    def of(cls, values: Any, weights: Any = None, *, denominators: Any = None) -> Tally:
        """The tally of one batch, computed on the host or traced: only operators, ``.sum`` and ``.astype`` are used.

        Args:
            values: (rows, *axes) the unweighted values.
            weights: (rows, *axes), the weight each value is multiplied with; None for 1.
            denominators: (rows, *axes), what each value adds to the denominator; None for the weights. Give the mask
                here (and mask times weight as weights) for Keras' ``sum_over_batch_size``: Σ w·v / N.

        Fields that do not depend on the values are plain floats.
        """
        n = values.shape[0]
        v = _by_row(values if weights is None else values * weights)
        total, squares = v.sum(), (v * v).sum()
        if weights is None and denominators is None:
            each = math.prod(values.shape[1:])
            return cls(total, float(n * each), squares, total * each, float(n * each**2), float(n))
        u = _by_row(weights if denominators is None else denominators)
        return cls(total, u.sum(), squares, (v * u).sum(), (u * u).sum(), (u != 0).astype(v.dtype).sum())

    @classmethod
    def zero(cls) -> Tally:
        """The tally of no rows."""
        return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def __add__(self, other: object) -> Tally:  # type: ignore[override]
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def mean(self) -> float:
        """Σ v / Σ u; NaN when nothing was weighed."""
        return float(self.sum) / float(self.weight) if self.weight else math.nan

    @property
    def stderr(self) -> float:
        """Standard error of ``mean``; NaN for fewer than two rows."""
        n = float(self.rows)
        if n < 2 or not self.weight:
            return math.nan
        m = self.mean
        squares = float(self.sumsq) - 2 * m * float(self.cross) + m * m * float(self.weightsq)
        # Float32 sums of squares can cancel to a little below zero where all rows are alike.
        return math.sqrt(max(squares, 0.0) * n / (n - 1)) / abs(float(self.weight))


def _by_row(values: Any) -> Any:
    return values.reshape(values.shape[0], -1).sum(-1) if values.ndim > 1 else values


def fold(parts: Iterable[Any]) -> Any:
    """Add sums of one structure (Tally, dict, tuple, array, number) in float64 on the host.

    Addition is the only combiner of sums, so any split of the rows into parts folds to the same value. Scalars are
    added with ``math.fsum``, whose result is correctly rounded and so does not depend on the order.

    >>> fold([Tally.of(np.ones(2, "float32")), Tally.of(np.zeros(2, "float32"))]).mean
    0.5
    """
    listed = list(parts)
    if not listed:
        raise InputError("Sums were to be added.", received="no part", do="Give fold at least one.")
    return _fold(listed)


def same_tuple(like: Any, fields: list[Any]) -> Any:
    """Fields as a tuple of the kind of ``like``: a NamedTuple (Tally) or a plain one."""
    return type(like)(*fields) if hasattr(like, "_fields") else tuple(fields)


def _fold(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        keyed = cast("list[dict[Any, Any]]", parts)
        return {key: _fold([part[key] for part in keyed]) for key in keyed[0]}
    if isinstance(first, tuple):
        columns = zip(*cast("list[tuple[Any, ...]]", parts), strict=True)
        return same_tuple(first, [_fold(list(column)) for column in columns])
    arrays = [np.asarray(part, dtype=np.float64) for part in parts]
    if arrays[0].ndim == 0:
        return math.fsum(float(a) for a in arrays)
    return np.sum(np.stack(arrays), axis=0)
