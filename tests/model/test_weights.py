"""Weights in a file: all of them or none, the old file or the new one, and of the right model only."""

from __future__ import annotations

import os

import numpy as np
import pytest

import verax
from tests.model.twins import rows
from verax import layers
from verax.errors import DataError, InputError, NotBuiltError, ShapeError


def network(units=3, name=None):
    return verax.Sequential(
        [
            verax.Input((4,)),
            layers.Dense(units, name="a"),
            layers.BatchNormalization(name="n"),
            layers.Dense(1, name="b"),
        ],
        name=name,
    )


def test_roundtrip(tmp_path):
    one, other = network(), network()
    one.compile("sgd", "mse")
    one.fit(rows(12), rows(12, 1), verbose=0)
    one.save_weights(tmp_path / "deep" / "w.npz")
    other.load_weights(str(tmp_path / "deep" / "w.npz"))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with np.load(tmp_path / "deep" / "w.npz") as file:
        assert sum("moving_mean" in name for name in file.files) == 1


@pytest.mark.parametrize("broken", ["savez", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "w.npz"
    model = network()
    model.save_weights(path)
    before = path.read_bytes()
    model.set_weights([w + 1 for w in model.get_weights()])

    def fail(file, *args, **kwargs):
        if broken == "savez":
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(*((np, "savez") if broken == "savez" else (os, "replace")), fail)
    with pytest.raises(OSError, match="disk full"):
        model.save_weights(path)
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]
    assert path.read_bytes() == before


def test_the_wrong_model_is_refused_and_unchanged(tmp_path):
    path = tmp_path / "w.npz"
    network().save_weights(path)
    wider = network(units=5)
    before = wider.get_weights()
    with pytest.raises(InputError, match=r"\(4, 3\)"):
        wider.load_weights(path)
    other = verax.Sequential([verax.Input((4,)), layers.Dense(3, name="a"), layers.Dense(1, name="c")])
    with pytest.raises(DataError, match="c/"):
        other.load_weights(path)
    for a, b in zip(before, wider.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_broken_file_and_other_names(tmp_path):
    model, path = network(), tmp_path / "w.npz"
    model.save_weights(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not a whole"):
        model.load_weights(path)
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r".npz"):
        model.save_weights(tmp_path / "w.txt")
    with pytest.raises(InputError, match="exists"):
        model.save_weights(path, overwrite=False)
    model.save_weights(path)
    unbuilt = verax.Sequential([layers.Dense(1)])
    with pytest.raises(NotBuiltError):
        unbuilt.load_weights(path)


def test_set_weights_sets_all_or_none():
    model = network()
    before = model.get_weights()
    for weights in (before[:-1], [*before[:-1], np.zeros((2, 1))]):
        with pytest.raises(ShapeError, match="set_weights"):
            model.set_weights(weights)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.set_weights([w.astype("float64") for w in before])
    assert {w.dtype for w in model.get_weights()} == {np.dtype("float32")}
