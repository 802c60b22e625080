"""What people pass: recognised, brought to float32 and int32, or refused by name."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from verax.data import ArraySource, make_source, rows_of
from verax.errors import DataError, DtypeError, InputError, ShapeError


def held(x, **arguments):
    return make_source(x, **arguments).feed().take(1).data.x


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("float64", "float32"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("int64", "int32"),
        ("uint32", "int32"),
        ("int8", "int32"),
        ("uint8", "uint8"),
        ("bool", "bool"),
        (jnp.bfloat16, "float32"),
    ],
)
def test_dtypes(given, kept):
    values = np.array([[0, 1], [1, 0]]).astype(given)
    source = make_source(values)
    assert source.spec.x.dtype == kept
    assert held(values).dtype == kept
    streamed = make_source(values, resident_limit=0).feed().take(1).data.x
    assert streamed.dtype == kept
    np.testing.assert_array_equal(np.asarray(held(values), float), [[0, 1], [1, 0]])
    if given in ("float32", "uint8", "bool", jnp.bfloat16):
        assert held(jnp.asarray(values)).dtype == kept


@pytest.mark.parametrize(
    "x",
    [
        [1, 2, 3],
        (1.0, 2.0, 3.0),
        range(1, 4),
        [np.float64(1), np.float64(2), 3],
        [jnp.float32(1), jnp.float32(2), 3],
        pd.Series([1, 2, 3], index=[7, 5, 5]),
        np.arange(1, 4),
    ],
    ids=lambda x: type(x).__name__,
)
def test_one_array_of_numbers(x):
    assert np.asarray(held(x)).tolist() == [1, 2, 3]


def test_lists_of_lists_are_one_array_and_lists_of_arrays_are_several():
    assert held([[1, 2], [3, 4], [5, 6]]).shape == (3, 2)
    first, second = held([np.zeros((3, 2)), np.zeros(3)])
    assert (first.shape, second.shape) == ((3, 2), (3,))


def test_pandas_frames():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [True, False], "c": pd.array([3, 4], dtype="Int64")}, index=[4, 2])
    assert np.asarray(held(frame)).tolist() == [[1, 1, 3], [2, 0, 4]]
    assert held(pd.DataFrame({"a": [1, 2]})).dtype == jnp.int32
    with pytest.raises(DtypeError, match=r"x\['name'\]"):
        make_source(pd.DataFrame({"a": [1.0, 2.0], "name": ["u", "v"]}))
    twice = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "a"])
    assert np.asarray(held(twice)).tolist() == [[1, 2], [3, 4]]


def test_a_source_passes_through():
    source = make_source(np.zeros(3))
    assert make_source(source) is source
    with pytest.raises(InputError, match="check_finite=bool"):
        make_source(source, check_finite=True)
    with pytest.raises(InputError, match="y=ndarray"):
        make_source(source, np.zeros(3))


def test_rows_of():
    assert rows_of((np.zeros((4, 2)), {"a": [1, 2, 3, 4]}, None)) == 4
    with pytest.raises(DataError, match=r"(?s)x\[0\] has 4 rows, x\[1\] has 3"):
        rows_of((np.zeros(4), np.zeros(3)))
    with pytest.raises(DataError, match="no array"):
        rows_of(None)


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "error", "named"),
        [
            ({"x": np.zeros(4), "y": np.zeros(3)}, DataError, "x has 4 rows, y has 3"),
            ({"x": {"a": np.zeros(4), "b": np.zeros(5)}}, DataError, r"x\['a'\] has 4 rows, x\['b'\] has 5"),
            ({"x": np.zeros(4), "sample_weight": np.zeros(3)}, DataError, "sample_weight has 3"),
            ({"x": [np.zeros(4)] * 3, "y": np.zeros(3)}, DataError, r"Pass np.stack\(x\) if it is 3 rows"),
            ({"x": np.zeros((0, 3))}, DataError, r"shape \(0, 3\)"),
            ({"x": []}, DataError, "it is empty"),
            ({"x": {}}, DataError, "no array"),
            ({"x": {"a": None}, "y": np.zeros(3)}, DataError, "no array"),
            ({"x": np.zeros(3), "y": []}, DataError, "y is to hold rows"),
            ({"x": 3.0}, DtypeError, "float 3.0"),
            ({"x": np.float64(3)}, ShapeError, r"shape \(\)"),
            ({"x": None}, DtypeError, "None"),
            ({"x": "train.csv"}, DtypeError, "load files first"),
            ({"x": make_source}, DtypeError, "Call it"),
            ({"x": ["a", "b"]}, DtypeError, "np.unique"),
            ({"x": np.array([1, "a"], dtype=object)}, DtypeError, "Python objects"),
            ({"x": [[1, 2], [3]]}, ShapeError, "pad_sequences"),
            ({"x": np.zeros(2, complex)}, DtypeError, "complex"),
            ({"x": np.zeros(2, "datetime64[s]")}, DtypeError, "dates|date"),
            ({"x": np.zeros(2, [("a", "f4")])}, DtypeError, "no numbers"),
            ({"x": jax.random.split(jax.random.key(0), 2)}, DtypeError, "no numbers"),
            ({"x": np.ma.array([1.0, 2.0], mask=[0, 1])}, DataError, "1 masked"),
            ({"x": np.array([1, 2**40, 3])}, DataError, f"value {2**40} in row 1"),
            ({"x": np.array([1, -(2**40), 3])}, DataError, f"value -{2**40} in row 1"),
            ({"x": np.array([2**32 - 1], np.uint32)}, DataError, "4294967295"),
            ({"x": [1, 2**70]}, (DtypeError, DataError), "x is to"),
            ({"x": np.array([1.0, 1e300])}, DataError, r"1e\+300"),
            ({"x": np.zeros(3), "batch_size": -1}, InputError, "batch_size=-1"),
            ({"x": np.zeros(3), "batch_size": 0}, InputError, "batch_size=0"),
            ({"x": np.zeros(3), "batch_size": 2.0}, InputError, "batch_size=2.0"),
            ({"x": np.zeros(3), "steps": 0}, InputError, "steps=0"),
            ({"x": np.zeros(3), "sample_weight": np.zeros((3, 2))}, ShapeError, r"shape \(3, 2\)"),
            ({"x": np.zeros(3), "y": np.zeros(3), "sample_weight": np.zeros((3, 2))}, ShapeError, "more axes"),
            ({"x": np.zeros(3), "sample_weight": np.array([1, np.nan, 1])}, DataError, "nan in row 1"),
        ],
    )
    def test_arrays(self, arguments, error, named):
        with pytest.raises(error, match=f"(?s){named}"):
            make_source(**arguments)

    @pytest.mark.parametrize("name", ["y", "sample_weight", "batch_size"])
    @pytest.mark.parametrize(
        ("x", "kind"),
        [
            ((np.zeros(2) for _ in range(1)), "a generator"),
            ([np.zeros(2)].__iter__(), "a generator"),
            (type("Batches", (), {"__len__": lambda s: 1, "__getitem__": lambda s, i: np.zeros(2)})(), "a sequence"),
            (type("Loader", (), {"__iter__": lambda s: iter([np.zeros(2)])})(), "an iterable"),
        ],
    )
    def test_beside_a_stream(self, x, kind, name):
        with pytest.raises(InputError, match=f"(?s)come from {kind}.*{name}="):
            make_source(x, **{name: 3 if name == "batch_size" else np.zeros(2)})

    def test_infinite_values_that_were_there_are_not_an_overflow(self):
        assert np.isinf(np.asarray(held(np.array([1.0, np.inf])))[1])

    @pytest.mark.parametrize("where", ["x", "y"])
    def test_nan_when_asked(self, where):
        arrays = {"x": {"a": np.zeros((3, 2))}, "y": np.zeros((3, 2))}
        bad = arrays["x"]["a"] if where == "x" else arrays["y"]
        bad[2, 1] = bad[1, 0] = np.nan
        assert isinstance(make_source(**arrays), ArraySource)
        name = r"x\['a'\]" if where == "x" else "y"
        with pytest.raises(
            DataError, match=rf"(?s){name} is to be finite.*nan in row 1, column 0 \(2 such values in 2"
        ):
            make_source(**arrays, check_finite=True)

    def test_sparse(self):
        sparse = pytest.importorskip("scipy.sparse")
        with pytest.raises(DtypeError, match="toarray"):
            make_source(sparse.csr_matrix(np.eye(3)))

    def test_out_of_range_in_a_stream_from_memory(self):
        source = make_source(np.array([1, 2**40]), resident_limit=0)
        with pytest.raises(DataError, match="int32"):
            source.feed().take(1)
