"""The short way gives what the long way gives, and refuses what it refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verax.data import make_source
from verax.data.recipe import Recipe
from verax.data.stack import ready
from verax.data.streams import IterableSource
from verax.errors import DataError, DtypeError, ShapeError


class Tensor:
    """As those of other libraries: no NumPy array, but can become one."""

    def __init__(self, values):
        self.values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __array__(self, dtype=None, copy=None):
        return self.values


FORMS = {
    "x": lambda r: r.normal(size=(2, 3)),
    "list": lambda r: [r.normal(size=(2, 3)), r.integers(0, 9, 2)],
    "weighted": lambda r: (r.normal(size=(2, 3)), r.integers(0, 9, (2, 1)), r.random(2)),
    "no targets": lambda r: (r.normal(size=2), None, r.integers(0, 9, 2)),
    "dict": lambda r: (
        {"b": r.normal(size=2).astype("f"), "a": [r.integers(0, 2, 2).astype(bool)]},
        {"y": r.random(2)},
    ),
    "bytes": lambda r: (r.integers(0, 255, (2, 4), dtype=np.uint8), r.integers(0, 9, 2).astype(np.uint64)),
    "half": lambda r: (r.normal(size=2).astype(np.float16), r.integers(0, 9, 2, dtype=np.int8)),
    "bfloat16": lambda r: (jnp.asarray(r.normal(size=2), jnp.bfloat16), jnp.asarray(r.random(2), jnp.float32)),
    "tensors": lambda r: (Tensor(r.normal(size=(2, 3))), Tensor(r.random(2).astype("f"))),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_short_way_gives_the_same_arrays(form):
    source = IterableSource([FORMS[form](np.random.default_rng(0))])
    recipe = source._recipe
    for seed in range(3):
        raw = FORMS[form](np.random.default_rng(seed))
        short, long = recipe(raw), ready(source._check(raw, 0))
        assert short.form == long.form
        for a, b in zip(short.arrays, long.arrays, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "raw",
    [
        [[1.0, 2.0], [3.0, 4.0]],
        (np.ma.masked_array(np.ones(2), [False, False]), np.ones(2)),
        ((np.ones(2), np.ones(2)), (np.ones(2), np.ones(2)), np.ones(2)),  # one weight for two outputs
    ],
)
def test_what_is_not_plain_goes_the_long_way(raw):
    source = IterableSource([raw])
    assert source._recipe is None
    assert len(list(source.feed())) == 1


@pytest.mark.parametrize(
    ("second", "error", "named"),
    [
        ((np.ones((2, 3)), np.ones(3)), DataError, "y has 3"),
        ((np.full((2, 3), 1e300), np.ones(2)), DataError, "3.4e38"),
        ((np.ones((2, 3)), np.array([1, 2**40])), DataError, "1099511627776 in row 1"),
        ((np.ones((2, 3)), np.array(["a", "b"])), DtypeError, "rows: y"),
        ((np.array([[1, 2, np.nan]] * 2), np.ones(2)), DataError, "nan in row 0, column 2"),
        ((np.ones((2, 3)), np.ones(2), np.ones(2)), ShapeError, "one structure"),
    ],
)
def test_what_the_long_way_refuses_is_refused_by_name_in_a_later_batch_too(second, error, named):
    for targets in (np.ones(2), np.array([1, 2])):
        source = make_source(iter([(np.ones((2, 3)), targets), second, second]), check_finite=True)
        with pytest.raises(error, match=f"(?s)(?=.*batch 1 of the rows).*{named}"):
            list(source.feed())


def test_a_weight_that_is_not_finite_is_found_in_a_later_batch():
    good = (np.ones(2), np.ones(2), np.ones(2))
    source = make_source(iter([good, (np.ones(2), np.ones(2), np.array([1, np.inf]))]))
    with pytest.raises(DataError, match=r"(?s)batch 1 of the rows: sample_weight.*inf in row 1"):
        list(source.feed())


def test_a_change_of_form_is_followed():
    def batches():
        for rows, dtype in ((2, "f"), (2, "f"), (3, "d"), (3, "i8"), (2, "f")):
            yield np.ones((rows, 1), dtype), jnp.ones(rows)

    feed = make_source(batches()).feed()
    chunks = [chunk.data for chunk in iter(lambda: feed.take(9), None)]
    assert [d.x.shape[0] for d in chunks] == [4, 3, 3, 2]
    assert [d.x.dtype.name for d in chunks] == ["float32", "float32", "int32", "float32"]
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(chunks))


def test_a_recipe_is_for_one_kind_of_batch():
    like = (np.ones((2, 1)), np.ones(2))
    recipe = Recipe.of(like, ready(IterableSource([like])._check(like, 0)), False)
    assert recipe(like) is not None
    for other in (list(like), like[:1], like[0], (*like, None), {"x": 1}, None, (like[0], like[1].astype("f"))):
        assert recipe(other) is None
