"""Inputs, targets and weights as one value, and back."""

from __future__ import annotations

from typing import Any

from verax.errors import InputError

__all__ = ["pack_x_y_sample_weight", "unpack_x_y_sample_weight"]


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """``x``, ``(x, y)`` or ``(x, y, sample_weight)``, as ``fit`` takes batches; ``(x,)`` where x is a list or tuple.

    >>> pack_x_y_sample_weight(1), pack_x_y_sample_weight(1, 2), pack_x_y_sample_weight([1, 2])
    (1, (1, 2), ([1, 2],))
    """
    if y is None:
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """A batch as ``(x, y, sample_weight)``, None for what it has not.

    Args:
        data: ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``; a list counts as a tuple.

    Raises:
        InputError: Another number of parts.

    >>> unpack_x_y_sample_weight((1, 2))
    (1, 2, None)
    """
    if not isinstance(data, (tuple, list)):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise InputError(
            "A batch is x, (x,), (x, y) or (x, y, sample_weight).",
            received=f"a {type(data).__name__} of {len(data)}",
            because="its parts could be anything",
            do="Put several inputs into a tuple of their own: ((x1, x2, ...), y).",
        )
    x, y, weight = (*data, None, None)[:3]
    return x, y, weight
