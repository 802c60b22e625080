"""The datasets that are fetched: small files of the same form, read as real Keras reads them."""

from __future__ import annotations

import gzip
import importlib
import json
import pickle
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tests.oracle import oracle
from verax import datasets
from verax.datasets import sources
from verax.errors import DataError, DownloadError, InputError, UnknownNameError

RNG = np.random.default_rng(0)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def texts(n: int) -> np.ndarray:
    found = np.empty(n, object)
    for i in range(n):
        found[i] = RNG.integers(1, 60, RNG.integers(3, 12)).tolist()
    return found


def tared(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, held in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(held)
            archive.addfile(info, BytesIO(held))


def photographs(n: int, **labels: list[int]) -> bytes:
    held = {b"data": RNG.integers(0, 256, (n, 3072)).astype("uint8"), b"batch_label": b"x"}
    return pickle.dumps({**held, **{key.encode(): value for key, value in labels.items()}}, protocol=4)


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.tobytes())


@pytest.fixture
def files(tmp_path):
    """Every file of every dataset, small."""
    # fmt: off
    digits = {"x_train": RNG.integers(0, 256, (7, 28, 28)).astype("uint8"), "y_train": np.arange(7, dtype="uint8"),
              "x_test": RNG.integers(0, 256, (3, 28, 28)).astype("uint8"), "y_test": np.arange(3, dtype="uint8")}
    # fmt: on
    npz(tmp_path / "mnist.npz", **digits)
    for part, name in (("train", "train"), ("test", "t10k")):
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(idx(digits[f"x_{part}"]))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx(digits[f"y_{part}"]))
    npz(tmp_path / "imdb.npz", x_train=texts(30), y_train=np.arange(30) % 2, x_test=texts(20), y_test=np.arange(20) % 2)
    npz(tmp_path / "reuters.npz", x=texts(40), y=np.arange(40) % 46)
    npz(tmp_path / "boston_housing.npz", x=RNG.normal(size=(50, 13)), y=RNG.normal(size=50))
    npz(
        tmp_path / "california_housing.npz", x=RNG.normal(size=(700, 8)).astype("f"), y=RNG.normal(size=700).astype("f")
    )
    for name in ("imdb", "reuters"):
        (tmp_path / f"{name}_word_index.json").write_text(json.dumps({"the": 1, "café": 2}))
    folder = "cifar-10-batches-py"
    batches = {f"{folder}/data_batch_{i}": photographs(5, labels=[i] * 5) for i in range(1, 6)}
    tared(tmp_path / "cifar-10", {**batches, f"{folder}/test_batch": photographs(4, labels=[9, 8, 7, 6])})
    parts = {name: photographs(n, fine_labels=list(range(n)), coarse_labels=[n] * n) for name, n in
             (("train", 6), ("test", 4))}  # fmt: skip
    tared(tmp_path / "cifar-100", {f"cifar-100-python/{name}": held for name, held in parts.items()})
    return tmp_path


def get_file(files: Path):
    """In the place of get_file, ours and Keras': the small file of that name."""

    def get(fname=None, origin=None, extract=False, **_):
        assert origin.startswith("https://")
        if not extract:
            return str(files / fname)
        folder = files / f"{fname}_out"
        with tarfile.open(files / fname.removesuffix("-python-target").removesuffix("-batches-py-target")) as archive:
            archive.extractall(folder, filter="data")
        return str(folder)

    return get


def replaced(monkeypatch, files):
    get = get_file(files)
    monkeypatch.setattr(sources, "get_file", get)
    for name in ("cifar10", "cifar100"):
        monkeypatch.setattr(importlib.import_module(f"verax.datasets.{name}"), "get_file", get)
    with oracle():
        for name in datasets.__all__:
            if name != "digits":
                monkeypatch.setattr(importlib.import_module(f"keras.src.datasets.{name}"), "get_file", get)


def same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            if a.dtype == object:
                assert [list(map(int, one)) for one in a] == [list(map(int, one)) for one in b]
            else:
                np.testing.assert_array_equal(a, b)


WORDS = [{}, {"num_words": 30, "skip_top": 5}, {"maxlen": 9}, {"seed": 7}, {"start_char": None}, {"oov_char": None,
         "num_words": 20}, {"start_char": None, "index_from": None}, {"index_from": 10}]  # fmt: skip
CASES = [
    *[("mnist", {}), ("fashion_mnist", {}), ("cifar100", {}), ("cifar100", {"label_mode": "coarse"})],
    *[("boston_housing", a) for a in ({}, {"test_split": 0.5, "seed": 1}, {"test_split": 0})],
    *[("california_housing", a) for a in ({}, {"version": "small"}, {"test_split": 0.1, "seed": 3})],
    *[("imdb", a) for a in WORDS],
    *[("reuters", a) for a in [*WORDS, {"test_split": 0.5}]],
]


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=lambda value: str(value))
def test_arrays_are_those_keras_makes_of_the_file(files, monkeypatch, name, arguments):
    replaced(monkeypatch, files)
    with oracle() as keras:
        expected = getattr(keras.datasets, name).load_data(**arguments)
    same(getattr(datasets, name).load_data(**arguments), expected)


def test_cifar10_and_the_indices_of_words(files, monkeypatch):
    replaced(monkeypatch, files)
    (x_train, y_train), test = datasets.cifar10.load_data()
    folder = files / "cifar-10-batches-py-target_out/cifar-10-batches-py"
    with oracle() as keras:
        from keras.src.datasets.cifar import load_batch  # its load_data wants 10,000 rows in each file

        parts = [load_batch(folder / name) for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
        assert datasets.reuters.get_label_names() == keras.datasets.reuters.get_label_names()
    found = [(x_train[i : i + 5], y_train[i : i + 5]) for i in range(0, 25, 5)]
    for (x, y), (images, labels) in zip([*found, test], parts, strict=True):
        np.testing.assert_array_equal(x, images.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(y[:, 0], labels)
        assert (x.dtype, y.dtype) == (np.uint8, np.uint8)
    for room in (datasets.imdb, datasets.reuters):
        assert room.get_word_index() == {"the": 1, "café": 2}


def test_addresses_and_hashes_are_those_of_keras(files, monkeypatch):
    def asked(module, call):
        found = []

        def get(fname=None, origin=None, **further):
            found.append((fname, origin, further.get("file_hash"), further.get("cache_subdir", "datasets")))
            raise InterruptedError

        monkeypatch.setattr(module, "get_file", get)
        with pytest.raises(InterruptedError):
            call()
        return found

    for name in datasets.__all__:
        if name == "digits":
            continue
        ours = getattr(datasets, name)
        holder = ours if hasattr(ours, "get_file") else sources
        with oracle() as keras:
            theirs = importlib.import_module(f"keras.src.datasets.{name}")
            functions = [f for f in ("load_data", "get_word_index") if hasattr(theirs, f)]
            expected = [asked(theirs, getattr(getattr(keras.datasets, name), f)) for f in functions]
        found = [asked(holder, getattr(ours, f)) for f in functions]
        if name == "fashion_mnist":  # there the labels are asked for first, too
            assert found[0][0][1:] == expected[0][0][1:]
        else:
            assert found == expected


def test_a_file_in_the_cache_with_the_wrong_hash_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("VERAX_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    monkeypatch.setattr(sources, "_FOLDER", "http://127.0.0.1:9/")
    (tmp_path / "datasets").mkdir()
    npz(tmp_path / "datasets/mnist.npz", x=np.ones(2))
    with pytest.raises(DownloadError, match=r"put it at .*mnist\.npz"):
        datasets.mnist.load_data()


class Harm:
    def __reduce__(self):
        return (print, ("harm",))


def test_a_file_that_asks_for_more_than_arrays_is_refused(tmp_path, capsys):
    bad = np.empty(1, object)
    bad[0] = Harm()
    np.savez(tmp_path / "bad.npz", x=bad)
    with pytest.raises(DataError, match=r"builtins\.print"):
        sources.read_npz(str(tmp_path / "bad.npz"))
    (tmp_path / "bad").write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a zip"):
        sources.read_npz(str(tmp_path / "bad"))
    assert capsys.readouterr().out == ""


def test_wrong_arguments(files, monkeypatch):
    replaced(monkeypatch, files)
    with pytest.raises(UnknownNameError, match="coarse"):
        datasets.cifar100.load_data("corse")
    with pytest.raises(UnknownNameError, match="small"):
        datasets.california_housing.load_data("smal")
    with pytest.raises(InputError, match="test_split"):
        datasets.boston_housing.load_data(test_split=1.0)
    with pytest.raises(InputError, match="maxlen"):
        datasets.imdb.load_data(maxlen=2)
    (files / "t10k-images-idx3-ubyte.gz").write_bytes(b"broken")
    with pytest.raises(DataError, match="t10k-images"):
        datasets.fashion_mnist.load_data()
