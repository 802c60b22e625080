"""Nested structures, as in Keras."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

from tests.oracle import oracle
from verax import tree
from verax.errors import InputError

Point = namedtuple("Point", ["x", "y"])

STRUCTURES = [
    1,
    None,
    "text",
    [],
    (),
    {},
    [1, 2],
    (1, [2, (3, None)], {"b": 4, "a": [5]}),
    {"b": 1, "a": {"d": 2, "c": 3}},
    OrderedDict([("b", 1), ("a", 2)]),
    defaultdict(list, {"z": 1, "y": [2]}),
    Point(1, [2, 3]),
    deque([1, (2,)], maxlen=3),
    [[], {}, ((),)],
    {2: "two", 1: "one"},
]


def outcome(function, *args, **kwargs):
    try:
        return repr(function(*args, **kwargs))
    except Exception as error:
        return next(t.__name__ for t in (TypeError, ValueError) if isinstance(error, t))


def seen(t, structure, top_down):
    visited = []
    t.traverse(visited.append, structure, top_down=top_down)
    return visited


WALKS = {
    "is_nested": lambda t, s: t.is_nested(s),
    "flatten": lambda t, s: t.flatten(s),
    "flatten_with_path": lambda t, s: t.flatten_with_path(s),
    "map_structure": lambda t, s: t.map_structure(lambda x: (x, x), s),
    "map_structure of two": lambda t, s: t.map_structure(lambda x, y: [x, y], s, s),
    "map_structure, None stays": lambda t, s: t.map_structure(lambda x: 0, s, none_is_leaf=False),
    "lists_to_tuples": lambda t, s: t.lists_to_tuples(s),
    "pack_sequence_as": lambda t, s: t.pack_sequence_as(s, range(len(t.flatten(s)))),
    "pack too many": lambda t, s: t.pack_sequence_as(s, range(1 + len(t.flatten(s)))),
    "traverse": lambda t, s: seen(t, s, True),
    "traverse upwards": lambda t, s: seen(t, s, False),
    "traverse, replace": lambda t, s: t.traverse(lambda p: "list" if isinstance(p, list) else None, s),
    "traverse, to None": lambda t, s: t.traverse(lambda p: t.MAP_TO_NONE if p == 2 else None, s, top_down=False),
}


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: repr(s)[:40])
def test_as_in_keras(walk, structure):
    with oracle() as keras:
        expected = outcome(WALKS[walk], keras.tree, structure)
    assert outcome(WALKS[walk], tree, structure) == expected


@pytest.mark.parametrize("name", ["assert_same_structure", "assert_same_paths"])
@pytest.mark.parametrize("a", STRUCTURES, ids=lambda s: repr(s)[:40])
def test_comparisons_as_in_keras(name, a):
    others = [*STRUCTURES, [9, 8], (1, 2), {"b": 9, "a": 8}, [Point(1, 2)], (1, (2, (3, 4)), {"b": 4, "a": [5]})]
    for b in others:
        with oracle() as keras:
            expected = outcome(getattr(keras.tree, name), a, b)
        assert outcome(getattr(tree, name), a, b) == expected, b


SHALLOW = [
    ([0, 0], [[1, 2], 3]),
    ((0, {"a": 0}), (1, {"a": [1]})),
    ([0, 0], [1]),
    ([0, 0], (1, 2)),
    ([[0]], [1]),
    (0, [1, 2]),
]


@pytest.mark.parametrize(("shallow", "deep"), SHALLOW)
def test_up_to_as_in_keras(shallow, deep):
    with oracle() as keras:
        expected = outcome(keras.tree.map_structure_up_to, shallow, str, deep)
    assert outcome(tree.map_structure_up_to, shallow, str, deep) == expected


@pytest.mark.parametrize("structure", [{"a": (None, 3), "b": [(1, 2), [3]]}, (1, 2), [(1,), (2, None)]])
def test_shapes_as_in_keras(structure):
    with oracle() as keras:
        expected = keras.tree.map_shape_structure(len, structure)
    assert tree.map_shape_structure(len, structure) == expected


def test_wrong_arguments():
    for call in (
        lambda: tree.map_structure(3, [1]),
        lambda: tree.map_structure(len),
        lambda: tree.map_structure_up_to([1], len),
        lambda: tree.traverse(3, [1]),
        lambda: tree.pack_sequence_as([1], 3),
    ):
        with pytest.raises(TypeError, match="tree"):
            call()
    with pytest.raises(InputError, match="same nested structure"):
        tree.map_structure(lambda a, b: a, [1, 2], [1, [2]])
    with pytest.raises(InputError, match="is no shape"):
        tree.map_shape_structure(len, {"a": "b"})
    with pytest.raises(InputError, match="in one of them only"):
        tree.assert_same_paths([1], [1, 2])


def test_all_of_keras_tree_is_there():
    with oracle() as keras:
        assert {n for n in dir(keras.tree) if not n.startswith("_")} == set(tree.__all__)
