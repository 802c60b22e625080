"""Nested structures of lists, tuples, named tuples, dicts and deques: everything else is a leaf, None included.

The values of a dict come in the order of its sorted keys, those of an ``OrderedDict`` in its own order.

>>> from verax import tree
>>> tree.map_structure(lambda x: 10 * x, {"b": [1, 2], "a": (3,)})
{'b': [10, 20], 'a': (30,)}
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from verax.errors import InputError

__all__ = [
    "MAP_TO_NONE",
    "assert_same_paths",
    "assert_same_structure",
    "flatten",
    "flatten_with_path",
    "is_nested",
    "lists_to_tuples",
    "map_shape_structure",
    "map_structure",
    "map_structure_up_to",
    "pack_sequence_as",
    "traverse",
]

Path = tuple[Any, ...]


class MAP_TO_NONE:  # noqa: N801 (Keras' name)
    """What a function given to ``traverse`` returns to put None in the place of a part."""


def is_nested(structure: Any) -> bool:
    """Whether something is a structure and not a leaf.

    >>> is_nested([]), is_nested("text"), is_nested(None)
    (True, False, False)
    """
    return isinstance(structure, (list, tuple, dict, deque))


def _children(structure: Any) -> list[tuple[Any, Any]]:
    """The parts of a structure, each with its index or key."""
    if isinstance(structure, dict):
        items = cast("dict[Any, Any]", structure)
        return (
            list(items.items()) if isinstance(items, OrderedDict) else sorted(items.items(), key=lambda item: item[0])
        )
    return list(enumerate(structure))


def _rebuilt(structure: Any, parts: list[Any]) -> Any:
    """A structure of the same kind, with other parts in the order of ``_children``."""
    if isinstance(structure, dict):
        made = dict(zip((key for key, _ in _children(structure)), parts, strict=True))
        in_order: Any = {key: made[key] for key in cast("dict[Any, Any]", structure)}
        if isinstance(structure, defaultdict):
            return defaultdict(structure.default_factory, in_order)
        return in_order if type(structure) is dict else type(structure)(in_order)
    if isinstance(structure, deque):
        return deque(parts, structure.maxlen)
    if hasattr(structure, "_fields"):
        return type(structure)(*parts)
    return type(structure)(parts)


def _kind(structure: Any) -> Any:
    return dict if isinstance(structure, dict) else type(structure)


def _walk(structure: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if not is_nested(structure):
        yield path, structure
        return
    for key, part in _children(structure):
        yield from _walk(part, (*path, key))


def flatten(structure: Any) -> list[Any]:
    """All leaves.

    >>> flatten([1, (2, {"a": 3}), None])
    [1, 2, 3, None]
    """
    return [leaf for _, leaf in _walk(structure)]


def flatten_with_path(structure: Any) -> list[tuple[Path, Any]]:
    """All leaves, each after its path: indices and keys.

    >>> flatten_with_path({"a": [5]})
    [(('a', 0), 5)]
    """
    return list(_walk(structure))


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """The same structure with ``func`` of its leaves; of several structures, of the leaves at one place together.

    Args:
        func: Takes as many arguments as there are structures.
        structures: Of one layout.
        none_is_leaf: Whether ``func`` is called on None too; otherwise None stays.

    Raises:
        InputError: Structures of different layouts; it is a ValueError.
        TypeError: No structure, or a ``func`` that cannot be called.
    """
    _check_function(func, "map_structure")
    if not structures:
        raise TypeError("tree.map_structure(func, *structures) needs at least one structure")
    first, *others = structures
    for other in others:
        assert_same_structure(first, other)

    def leaf(*leaves: Any) -> Any:
        return None if not none_is_leaf and leaves[0] is None else func(*leaves)

    return _mapped(leaf, first, others)


def _mapped(func: Callable[..., Any], first: Any, others: list[Any]) -> Any:
    if not is_nested(first):
        return func(first, *others)
    columns = [[part for _, part in _children(structure)] for structure in (first, *others)]
    return _rebuilt(first, [_mapped(func, part, list(rest)) for part, *rest in zip(*columns, strict=True)])


def map_structure_up_to(shallow_structure: Any, func: Callable[..., Any], *structures: Any) -> Any:
    """The structure of ``shallow_structure``, with ``func`` of what the others have at its leaves.

    >>> map_structure_up_to([0, 0], len, [(1, 2), "abc"])
    [2, 3]
    """
    _check_function(func, "map_structure_up_to")
    if not structures:
        raise TypeError("tree.map_structure_up_to(shallow_structure, func, *structures) needs at least one structure")
    for structure in structures:
        _check_deeper(shallow_structure, structure, ())
    return _mapped(lambda _, *parts: func(*parts), shallow_structure, list(structures))


def _check_deeper(shallow: Any, structure: Any, path: Path) -> None:
    if not is_nested(shallow):
        return
    same = is_nested(structure) and [k for k, _ in _children(shallow)] == [k for k, _ in _children(structure)]
    if not same or _kind(shallow) is not _kind(structure):
        raise _different(shallow, structure, path)
    for (key, one), (_, two) in zip(_children(shallow), _children(structure), strict=True):
        _check_deeper(one, two, (*path, key))


def traverse(func: Callable[[Any], Any], structure: Any, top_down: bool = True) -> Any:
    """Call ``func`` on a structure and all its parts; what it returns, unless None, takes the part's place.

    Args:
        func: Of a part, nested or a leaf. It returns None to leave the part, or ``MAP_TO_NONE`` to make it None.
        structure: What is gone through.
        top_down: Whether a structure comes before its parts; if so, the parts of what was replaced are not visited.
    """
    _check_function(func, "traverse")

    def replaced(part: Any) -> tuple[bool, Any]:
        answer = func(part)
        if answer is MAP_TO_NONE or isinstance(answer, MAP_TO_NONE):
            return True, None
        return answer is not None, answer

    if top_down or not is_nested(structure):
        done, answer = replaced(structure)
        if done:
            return answer
        if not is_nested(structure):
            return structure
    whole = _rebuilt(structure, [traverse(func, part, top_down) for _, part in _children(structure)])
    if top_down:
        return whole
    done, answer = replaced(whole)
    return answer if done else whole


def assert_same_structure(a: Any, b: Any, check_types: bool | None = None) -> None:
    """Refuse two structures of different layouts: other containers, other keys, other lengths.

    Args:
        a, b: Two structures; all kinds of dicts count as one kind.
        check_types: Has no meaning any more, as in Keras.

    Raises:
        InputError: It is a ValueError.
    """
    _compare(a, b, (), kinds=True)


def assert_same_paths(a: Any, b: Any) -> None:
    """Refuse two structures whose leaves have different paths; a list and a tuple have the same.

    Raises:
        InputError: It is a ValueError.
    """
    ours, theirs = ({path for path, _ in _walk(s)} for s in (a, b))
    if ours != theirs:
        raise InputError(
            "Two structures were compared.",
            received=f"the paths {sorted(map(str, ours ^ theirs))} in one of them only",
            because="their leaves have different paths",
        )


def _compare(a: Any, b: Any, path: Path, *, kinds: bool) -> None:
    if is_nested(a) != is_nested(b):
        raise _different(a, b, path)
    if not is_nested(a):
        return
    ours, theirs = _children(a), _children(b)
    if (kinds and _kind(a) is not _kind(b)) or {k for k, _ in ours} != {k for k, _ in theirs}:
        raise _different(a, b, path)
    of_b = dict(theirs)
    for key, part in ours:
        _compare(part, of_b[key], (*path, key), kinds=kinds)


def _different(a: Any, b: Any, path: Path) -> InputError:
    return InputError(
        "Two structures were compared.",
        received=f"at {path}: {a!r:.80} and {b!r:.80}",
        because="the two structures don't have the same nested structure",
    )


def pack_sequence_as(structure: Any, flat_sequence: Iterable[Any]) -> Any:
    """The leaves of ``flat_sequence`` in the layout of ``structure``: the inverse of ``flatten``.

    Raises:
        InputError: Another number of leaves; it is a ValueError.
        TypeError: What is not iterable.
    """
    if not isinstance(flat_sequence, Iterable):
        raise TypeError(f"tree.pack_sequence_as takes a sequence of leaves, not {flat_sequence!r}")
    leaves, wanted = list(flat_sequence), len(flatten(structure))
    if len(leaves) != wanted:
        raise InputError(
            "tree.pack_sequence_as was called.",
            received=f"{len(leaves)} leaves",
            because=f"the structure has {wanted}",
        )
    one_by_one = iter(leaves)
    return _mapped(lambda _: next(one_by_one), structure, [])


def lists_to_tuples(structure: Any) -> Any:
    """The structure with tuples in the place of lists.

    >>> lists_to_tuples([1, {"a": [2]}])
    (1, {'a': (2,)})
    """
    return traverse(lambda part: tuple(part) if isinstance(part, list) else None, structure, top_down=False)


def map_shape_structure(func: Callable[[Any], Any], structure: Any) -> Any:
    """``map_structure`` where a list or tuple of integers and None is a leaf: a shape.

    >>> map_shape_structure(len, {"a": (None, 3), "b": [(1, 2, 3)]})
    {'a': 2, 'b': [3]}
    """
    _check_function(func, "map_shape_structure")
    if isinstance(structure, (list, tuple)) and all(n is None or isinstance(n, int) for n in structure):
        return func(tuple(structure))
    if not is_nested(structure):
        raise InputError("tree.map_shape_structure was called.", received=repr(structure), because="it is no shape")
    return _rebuilt(structure, [map_shape_structure(func, part) for _, part in _children(structure)])


def _check_function(func: Any, name: str) -> None:
    if not callable(func):
        raise TypeError(f"tree.{name} takes a function, not {func!r}")
