"""Whole models and weights as files: what Keras wrote, Verax reads, and what Verax wrote, Keras reads."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

import verax
from tests.model.architectures import ARCHITECTURES, answers, filled, inputs_of
from tests.oracle import oracle
from verax.saving import load_model


def same(found, expected, rounding=1e-5):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding * max(1.0, float(np.abs(b).max())))


def rounded(config):
    if isinstance(config, dict):
        return {key: rounded(value) for key, value in config.items()}
    return float(f"{config:.6g}") if isinstance(config, float) else config


def names(model):
    return [layer.name for layer in model.layers]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_writers_and_readers(name, tmp_path):
    """Both libraries write, both read, in both forms: the same answers to the same rows."""
    build = ARCHITECTURES[name]
    rounding = 1e-2 if name == "mixed" else 1e-5
    ours = filled(build(verax))
    x = inputs_of(ours)
    ours.save(tmp_path / "verax.keras")
    ours.save_weights(tmp_path / "verax.weights.h5")
    with oracle() as keras:
        theirs = filled(build(keras))
        expected = answers(theirs, x)
        theirs.save(tmp_path / "keras.keras")
        theirs.save_weights(tmp_path / "keras.weights.h5")
        # Keras reads what Verax wrote.
        again = keras.saving.load_model(tmp_path / "verax.keras")
        same(answers(again, x), expected, rounding)
        assert names(again) == names(ours)
        weights = filled(build(keras), seed=1)
        weights.load_weights(tmp_path / "verax.weights.h5")
        same(answers(weights, x), expected, rounding)
        optimizer = theirs.optimizer.get_config() if getattr(theirs, "optimizer", None) else None
        listed, kept = names(theirs), {"keras": theirs.get_weights(), "verax": ours.get_weights()}
    same(answers(ours, x), expected, rounding)
    # Verax reads what both wrote.
    for writer in ("keras", "verax"):
        made = load_model(tmp_path / f"{writer}.keras")
        assert type(made) is type(ours)
        assert names(made) == listed
        same(answers(made, x), expected, rounding)
        for weight, other in zip(made.get_weights(), kept[writer], strict=True):
            np.testing.assert_array_equal(weight, other)
            assert weight.dtype == other.dtype
        found = None if made.optimizer is None else made.optimizer.get_config()
        assert (found is None) == (optimizer is None)
        if found is not None and optimizer is not None:
            assert rounded({**found, "name": 0}) == rounded({**optimizer, "name": 0})
        for suffix in (".weights.h5", ".keras"):
            other = filled(build(verax), seed=1)
            other.load_weights(tmp_path / f"{writer}{suffix}")
            same(answers(other, x), expected, rounding)


def test_what_is_in_a_file(tmp_path):
    model = ARCHITECTURES["convnet"](verax)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as file:
        assert file.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert file.testzip() is None
        said = json.loads(file.read("metadata.json"))
    assert said["keras_version"].startswith("3.")
    assert said["verax_version"] == verax.__version__
