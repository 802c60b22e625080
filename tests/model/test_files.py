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
        assert name == "own_model" or names(again) == names(ours)  # there names are automatic
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
        assert name == "own_model" or names(made) == listed
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


def rows(model):
    rng = np.random.default_rng(3)
    return rng.normal(size=(12, *model.input_shape[1:])).astype("float32"), rng.integers(0, 3, 12).astype("int32")


@pytest.mark.parametrize("written", ["keras", "verax"])
@pytest.mark.parametrize("optimizer", ["Adam", "SGD", "RMSprop", "Nadam", "Adafactor"])
def test_training_goes_on_in_the_other_library(optimizer, written, tmp_path):
    """Three steps in one library, saved; the next steps are the same in both."""

    def build(k):
        model = k.Sequential([k.Input((4,)), k.layers.Dense(5, "tanh"), k.layers.Dense(3)])
        further = {"momentum": 0.9} if optimizer in ("SGD", "RMSprop") else {}
        model.compile(
            getattr(k.optimizers, optimizer)(0.02, **further),
            k.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return filled(model)

    path = tmp_path / "m.keras"
    with oracle() as keras:
        first = build(keras) if written == "keras" else build(verax)
    x, y = rows(first)
    with oracle() as keras:
        first.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
        first.save(path)
        theirs = keras.saving.load_model(path)
        theirs.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        expected = theirs.get_weights()
    ours = load_model(path)
    assert ours.steps_trained == 3
    ours.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    # The same process, and a file between, are one.
    ours.save(path)
    again = load_model(path)
    for model in (ours, again):
        model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
