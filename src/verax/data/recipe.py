"""The short way for a batch that is just like the one before it: no part of it is looked at twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from verax.data.source import Batch
from verax.data.stack import Form, Ready
from verax.data.values import target_dtype

__all__ = ["Recipe"]

#: (what came, where its arrays go) -> whether it is like the first
_Read = Callable[[Any, list[np.ndarray]], bool]


class Recipe:
    """How batches like one that was prepared with all checks are prepared.

    Whatever a check of structure, type, shape and dtype could find, it found in that one. What depends on the values is
    checked again: numbers beyond int32 or float32, weights that are not finite, NaN and inf where asked for. Anything
    that is not as expected is left to the long way, which knows what to say.

    >>> from verax.data.stack import ready
    >>> recipe = Recipe.of((np.ones((2, 3)), np.ones(2)), ready(Batch(np.ones((2, 3), "f"), np.ones(2, "f"))), False)
    >>> [a.dtype.name for a in recipe((np.zeros((2, 3)), np.zeros(2))).arrays]
    ['float32', 'float32']
    >>> recipe((np.zeros((2, 4)), np.zeros(2))) is None
    True
    """

    def __init__(self, kind: type, reads: list[_Read], form: Form) -> None:
        self._kind, self._reads, self.form = kind, reads, form

    @classmethod
    def of(cls, raw: Any, made: Ready, check_finite: bool) -> Recipe | None:
        """From a batch as it came and what became of it; ``None`` where each batch has to go the long way."""
        parts = raw if type(raw) in (tuple, list) else (raw,)
        reads = []
        for part, name in zip(parts, Batch._fields, strict=False):
            read = _reader(part, name == "weight", check_finite and name != "weight")
            if read is None:
                return None
            reads.append(read)
        recipe = cls(type(raw) if parts is raw else object, reads, made.form)
        # Tried on the batch it was made from: what the long way adds or leaves out shows here.
        again = recipe(raw)
        same = again is not None and tuple((a.shape, a.dtype) for a in again.arrays) == made.form.arrays
        return recipe if same else None

    def __call__(self, raw: Any) -> Ready | None:
        """The batch, prepared; ``None`` if it is not like the first."""
        if self._kind is object:
            parts: Any = (raw,)
        elif type(raw) is self._kind and len(raw) == len(self._reads):
            parts = raw
        else:
            return None
        arrays: list[np.ndarray] = []
        try:
            for read, part in zip(self._reads, parts, strict=True):
                if not read(part, arrays):
                    return None
        except (FloatingPointError, OverflowError, TypeError, ValueError):
            return None
        return Ready(arrays, self.form)


def _reader(like: Any, weight: bool, check_finite: bool) -> _Read | None:
    """What reads a part like this one."""
    kind = type(like)
    if like is None:
        return lambda value, arrays: value is None
    if kind in (tuple, list, dict):
        keys = sorted(like) if kind is dict else range(len(like))  # the order of jax.tree.flatten
        inner = [_reader(like[key], weight, check_finite) for key in keys]
        if any(read is None for read in inner) or not inner:
            return None
        return _structure_reader(kind, list(zip(keys, inner, strict=True)))
    # What has a way of its own to become an array (frames, masks) goes the long way.
    plain = hasattr(kind, "__array__") and not hasattr(kind, "to_numpy") and not issubclass(kind, np.ma.MaskedArray)
    if not plain or not np.ndim(like):
        return None
    return _array_reader(kind, np.asarray(like), weight, check_finite)


def _structure_reader(kind: type, inner: list[tuple[Any, Any]]) -> _Read:
    def read(value: Any, arrays: list[np.ndarray]) -> bool:
        if type(value) is not kind or len(value) != len(inner):
            return False
        return all((kind is not dict or key in value) and one(value[key], arrays) for key, one in inner)

    return read


def _array_reader(kind: type, like: np.ndarray, weight: bool, check_finite: bool) -> _Read:
    shape, dtype = like.shape, like.dtype
    target = np.dtype(np.float32) if weight else target_dtype(dtype, "")
    as_target = _caster(dtype, target)
    finite = (weight or check_finite) and dtype.kind not in "biu"

    def read(value: Any, arrays: list[np.ndarray]) -> bool:
        if type(value) is not kind:
            return False
        if kind is not np.ndarray:
            value = np.asarray(value)
        if value.shape != shape or value.dtype != dtype:
            return False
        if as_target is not None:
            value = as_target(value)
        if finite and not np.isfinite(value).all():
            return False
        arrays.append(value)
        return True

    return read


def _caster(dtype: np.dtype, target: np.dtype) -> Callable[[np.ndarray], np.ndarray] | None:
    """What casts arrays of ``dtype``, or raises an arithmetic error where a value does not fit; ``None`` for none."""
    if dtype == target:
        return None
    if target == np.int32 and not np.can_cast(dtype, target):
        low, high = np.iinfo(target).min, np.iinfo(target).max

        def within(array: np.ndarray) -> np.ndarray:
            if array.min() < low or array.max() > high:
                raise OverflowError
            return array.astype(target)

        return within
    if target == np.float32 and not np.can_cast(dtype, target):

        def finite(array: np.ndarray) -> np.ndarray:
            with np.errstate(over="raise"):
                return array.astype(target)

        return finite
    return lambda array: array.astype(target)
