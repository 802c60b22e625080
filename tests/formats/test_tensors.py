"""``.safetensors`` files beside the library of that name, and files that are damaged in every way."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from verax.errors import DataError, DtypeError, InputError
from verax.formats import tensors

NATIVE = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"]
ARRAYS = {
    "block1/conv/kernel": np.arange(24, dtype="float32").reshape(2, 3, 4),
    "block1/conv/bias": np.array([1.5, -2.0], "float16"),
    "scalar": np.float64(3.0),
    "none": np.zeros((0, 5), "int32"),
    "flags": np.array([True, False, True]),
    "half": np.array([1.0, 2.5], ml_dtypes.bfloat16),
    "ü ñ": np.array([1 + 2j], "complex64"),
    "turned": np.arange(6, dtype="int16").reshape(2, 3).T,
    "big end": np.arange(3, dtype=">i4"),
}


def raw(entries, data=b"", length=None):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "m.safetensors"
    tensors.write(path, ARRAYS, {"who": "me"})
    found = tensors.read(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == np.asarray(array).dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)
    assert tensors.header(path).metadata == {"who": "me"}
    assert list(tensors.read(path, ["half", "none"])) == ["half", "none"]


def test_the_library_reads_it_and_is_read(tmp_path):
    path = tmp_path / "m.safetensors"
    tensors.write(path, ARRAYS, {"who": "me"})
    with safe_open(path, "np") as file:
        assert file.metadata() == {"who": "me"}
        for name in file.keys():  # noqa: SIM118 (it is no dict)
            np.testing.assert_array_equal(file.get_tensor(name), ARRAYS[name])
    safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in ARRAYS.items()}, path, {"who": "you"})
    for name, array in tensors.read(path).items():
        np.testing.assert_array_equal(array, np.asarray(ARRAYS[name]).reshape(array.shape))
    assert tensors.header(path).metadata == {"who": "you"}


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda s: s != "__metadata__" and s.isprintable()),
        st.tuples(st.sampled_from(NATIVE), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_any_arrays(tmp_path_factory, specs):
    path = tmp_path_factory.mktemp("any") / "m.safetensors"
    rng = np.random.default_rng(1)
    arrays = {
        name: (rng.normal(size=shape) * 50).astype("int8").astype(dtype) for name, (dtype, shape) in specs.items()
    }
    tensors.write(path, arrays)
    found = tensors.read(path)
    theirs = safetensors.numpy.load_file(path)
    assert found.keys() == arrays.keys() == theirs.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(theirs[name], array)


A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BROKEN = {
    "empty": (b"", "its header would take"),
    "shorter than a length": (b"abc", "its header would take"),
    "a header longer than the file": (raw({}, length=10**9), "its header would take 1000000000"),
    "no json": (raw(b"hello"), "should begin with JSON"),
    "no text": (raw(b"\xff\xfe"), "should begin with JSON"),
    "nested without end": (raw(b"[" * 100_000), "should begin with"),
    "a list": (raw([]), "a table in JSON"),
    "a name twice": (raw(b'{"a":1,"a":2}'), "'a' stands in it twice"),
    "a tensor that is a number": (raw({"a": 1}), "no dtype, shape and place"),
    "a shape of floats": (raw({"a": {**A, "shape": [2.0]}}, bytes(8)), "no dtype, shape and place"),
    "a negative shape": (raw({"a": {**A, "shape": [-2]}}, bytes(8)), "no dtype, shape and place"),
    "a boolean shape": (raw({"a": {**A, "shape": [True]}}, bytes(8)), "no dtype, shape and place"),
    "an absurd shape": (raw({"a": {**A, "shape": [10**12, 10**6]}}, bytes(8)), "needs 4000000000000000000 bytes"),
    "an absurd empty shape": (raw({"a": {**A, "shape": [0, 1 << 61], "data_offsets": [0, 0]}}), "needs 0 bytes"),
    "a hundred axes": (raw({"a": {**A, "shape": [1] * 100}}, bytes(8)), "no dtype, shape and place"),
    "cut off": (raw({"a": A}, bytes(7)), "needs 8 bytes"),
    "bytes too many": (raw({"a": A}, bytes(9)), "take 8 bytes, and 9 follow"),
    "an overlap": (raw({"a": A, "b": {**A, "data_offsets": [4, 12]}}, bytes(12)), "'b' overlaps another"),
    "two in one place": (raw({"a": A, "b": A}, bytes(8)), "'b' overlaps another"),
    "a gap": (raw({"a": {**A, "data_offsets": [4, 12]}}, bytes(12)), "'a' leaves a gap"),
    "a shape that does not fit": (raw({"a": {**A, "shape": [3]}}, bytes(8)), "needs 12 bytes"),
    "an unknown dtype": (raw({"a": {**A, "dtype": "F4"}}, bytes(8)), "of dtype 'F4'"),
    "metadata of numbers": (raw({"__metadata__": {"a": 1}}), "metadata are not texts"),
    "booleans of 7": (
        raw({"a": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\x07"),
        "said to hold bool",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused(case, tmp_path):
    content, match = BROKEN[case]
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=match):
        tensors.read(path)


def test_any_byte_changed_and_any_length(tmp_path):
    """A damaged file is read or refused: never another error, never an array that the file does not bear out."""
    path = tmp_path / "m.safetensors"
    tensors.write(path, {k: v for k, v in ARRAYS.items() if k != "none"}, {"who": "me"})
    whole, rng, refused = path.read_bytes(), np.random.default_rng(7), 0
    header = 8 + int.from_bytes(whole[:8], "little")
    for n in range(300):
        damaged = bytearray(whole)
        if n % 3 == 0:
            del damaged[int(rng.integers(len(whole))) :]
        else:
            for _ in range(1 + n % 4):
                damaged[int(rng.integers(header))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            found = tensors.read(path)
        except DataError:
            refused += 1
        else:
            assert sum(array.nbytes for array in found.values()) <= len(whole)
    assert refused > 200


def test_parts_of_an_index(tmp_path):
    one, two = {"a": np.ones(3)}, {"b": np.zeros((2, 2), "int32"), "c": np.ones(1)}
    tensors.write(tmp_path / "m-1.safetensors", one)
    tensors.write(tmp_path / "m-2.safetensors", two, {"format": "pt"})
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": {
        "a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-2.safetensors"}}))  # fmt: skip
    found = tensors.read(index)
    assert {name: array.shape for name, array in found.items()} == {"a": (3,), "b": (2, 2), "c": (1,)}
    assert tensors.header(index).metadata == {"format": "pt"}
    index.write_text('{"weight_map": {"a": "m-3.safetensors"}}')
    with pytest.raises(FileNotFoundError):
        tensors.read(index)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{}", "no weight_map"),
        ('{"weight_map": {}}', "no weight_map"),
        ('{"weight_map": {"a": "../m-1.safetensors"}}', "no .safetensors file beside it"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "no .safetensors file beside it"),
        ('{"weight_map": {"a": 3}}', "no .safetensors file beside it"),
        ('{"weight_map": {"z": "m-1.safetensors"}}', "'z' is in m-1.safetensors, which does not have it"),
        ("nothing", "should begin with JSON"),
    ],
)
def test_an_index_that_is_wrong(content, match, tmp_path):
    tensors.write(tmp_path / "m-1.safetensors", {"a": np.ones(3)})
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(DataError, match=match):
        tensors.read(index)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.safetensors"
    tensors.write(path, {"a": np.ones(3)})
    with pytest.raises(DtypeError, match="dtype complex128"):
        tensors.write(path, {"a": np.ones(3, complex)})
    with pytest.raises(InputError, match="keeps that name"):
        tensors.write(path, {"__metadata__": np.ones(3)})
    assert tensors.read(path)["a"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
