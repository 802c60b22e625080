"""What a loop hands over, whatever made it: batches of arrays, and the keys that its random draws come from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from verax.errors import InputError

__all__ = ["another_key", "each", "leaves", "number_of", "over", "own_copy", "rows_of"]

#: Told apart from what a loop may make of its own keys.
_SALT = 0x7E4A


def over(structure: Any, leaf: Callable[[Any], Any]) -> Any:
    """The same dicts, lists and tuples with every leaf changed; whatever is none of these is a leaf.

    >>> over({"x": [1, (2, 3)]}, lambda n: n + 1)
    {'x': [2, (3, 4)]}
    """
    if isinstance(structure, Mapping):
        return {key: over(value, leaf) for key, value in cast("Mapping[Any, Any]", structure).items()}
    if isinstance(structure, (list, tuple)):
        inside = [over(value, leaf) for value in cast("list[Any]", structure)]
        if hasattr(structure, "_fields"):
            return type(structure)(*inside)
        return tuple(inside) if isinstance(structure, tuple) else inside
    return leaf(structure)


def leaves(structure: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path, None left out.

    >>> list(leaves({"norm": {"mean": 0.0, "var": 1.0}}))
    [('norm/mean', 0.0), ('norm/var', 1.0)]
    """
    if isinstance(structure, (Mapping, list, tuple)):
        inside = cast("Mapping[Any, Any] | list[Any]", structure)
        for key, value in inside.items() if isinstance(inside, Mapping) else enumerate(inside):
            yield from leaves(value, f"{path}/{key}" if path else str(key))
    elif structure is not None:
        yield path, structure


def each(structures: list[Any], combine: Callable[[list[Any]], Any]) -> Any:
    """One structure of the leaves of several alike ones.

    >>> each([{"mean": 1.0}, {"mean": 3.0}], max)
    {'mean': 3.0}
    """
    columns = zip(*([leaf for _, leaf in leaves(one)] for one in structures), strict=True)
    combined = iter([combine(list(column)) for column in columns])
    return over(structures[0], lambda leaf: None if leaf is None else next(combined))


def rows_of(batch: Any) -> int | None:
    """The length of the first array's first axis; None where there is no array.

    >>> rows_of({"x": np.zeros((8, 3)), "y": np.zeros(8)}), rows_of("words")
    (8, None)
    """
    shapes: Iterator[tuple[int, ...]] = (tuple(getattr(leaf, "shape", ())) for _, leaf in leaves(batch))
    return next((int(shape[0]) for shape in shapes if shape), None)


def own_copy(batch: Any) -> tuple[Any, int]:
    """A batch that no one changes, and its bytes: arrays of numpy are copied, which a loader may fill again; others are
    taken as they are."""
    size = 0

    def keep(leaf: Any) -> Any:
        nonlocal size
        size += int(getattr(leaf, "nbytes", 0))
        return leaf.copy() if isinstance(leaf, np.ndarray) else leaf

    return over(batch, keep), size


def number_of(value: Any, name: str) -> float:
    """The one number that is in a value.

    Raises:
        InputError: There are several.
    """
    found = np.asarray(value, np.float64)
    if found.size != 1:
        raise InputError(
            f"{name} was to be one number.", received=f"shape {found.shape}", do="Give the mean that the loop reports."
        )
    return float(found.reshape(()))


def another_key(key: Any, number: int) -> Any:
    """A key that differs from a loop's own, always the same one for a number.

    Args:
        key: A key of JAX, a whole number, a ``numpy.random.SeedSequence``, or dicts, lists and tuples of these; None.
        number: Which of them.

    Raises:
        InputError: A key of another kind.

    >>> another_key(7, 0) == another_key(7, 0), another_key(7, 0) == another_key(7, 1), another_key(None, 0) is None
    (True, False, True)
    """
    return over(key, lambda one: _another(one, number))


def _another(key: Any, number: int) -> Any:
    if key is None:
        return None
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return int(np.random.SeedSequence([abs(int(key)), number, _SALT]).generate_state(1)[0])
    if isinstance(key, np.random.SeedSequence):
        return np.random.SeedSequence(cast("Any", key.entropy), spawn_key=(*key.spawn_key, _SALT, number))
    jax: Any = sys.modules.get("jax")  # a loop that has keys of JAX has imported it
    if jax is not None and isinstance(key, jax.Array):
        return jax.random.fold_in(jax.random.fold_in(key, _SALT), number)
    raise InputError(
        "Fresh draws were to be made of the loop's keys.",
        received=f"a key of {type(key).__module__}.{type(key).__name__}",
        because="it is none of JAX, no whole number and no SeedSequence; a generator changes as it draws",
        do="Give Loop(fresh=...): from a number to a key, as your loss function takes it.",
    )
