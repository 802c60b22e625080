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


#: What Keras' older form cannot hold, in Keras either: a model that is only code, and other types of numbers.
NOT_OF_OLD = {"own_model", "mixed"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_writers_and_readers(name, tmp_path):
    """Both libraries write, both read, in every form both have: the same answers to the same rows."""
    build = ARCHITECTURES[name]
    rounding = 1e-2 if name == "mixed" else 1e-5
    ours = filled(build(verax))
    x = inputs_of(ours)
    ours.save(tmp_path / "verax.keras")
    ours.save_weights(tmp_path / "verax.weights.h5")
    ours.save_weights(tmp_path / "verax.safetensors")
    ours.save_weights(tmp_path / "verax.npz")
    older = name not in NOT_OF_OLD
    if older:
        ours.save(tmp_path / "verax.h5")
    with oracle() as keras:
        theirs = filled(build(keras))
        expected = answers(theirs, x)
        theirs.save(tmp_path / "keras.keras")
        theirs.save_weights(tmp_path / "keras.weights.h5")
        if older:
            theirs.save(tmp_path / "keras.h5")
            same(answers(keras.saving.load_model(tmp_path / "verax.h5"), x), expected, rounding)
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
        if older:
            same(answers(load_model(tmp_path / f"{writer}.h5"), x), expected, rounding)
        suffixes = [".weights.h5", ".keras", *([".h5"] if older else [])]
        for suffix in [*suffixes, *([".safetensors", ".npz"] if writer == "verax" else [])]:
            other = filled(build(verax), seed=1)
            other.load_weights(tmp_path / f"{writer}{suffix}")
            same(answers(other, x), expected, rounding)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_losses_and_metrics_of_ones_own(suffix, tmp_path):
    def my_loss(y_true, y_pred):
        return verax.ops.mean(verax.ops.square(y_true - y_pred), axis=-1)

    def my_metric(y_true, y_pred):
        return verax.ops.mean(verax.ops.abs(y_true - y_pred), axis=-1)

    inputs = verax.Input((4,))
    outputs = {name: verax.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
    model = verax.Model(inputs, outputs)
    model.compile("adam", {"a": my_loss, "b": "mae"}, metrics={"a": [my_metric]})
    x = np.ones((4, 4), "float32")
    y = {"a": np.zeros((4, 1)), "b": np.zeros((4, 1))}
    model.fit(x, y, verbose=0)
    model.save(tmp_path / f"m{suffix}")
    own = {"my_loss": my_loss, "my_metric": my_metric}
    again = load_model(tmp_path / f"m{suffix}", custom_objects=own)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    assert again.evaluate(x, y, verbose=0, return_dict=True) == expected
    assert "a_my_metric" in expected
    again.fit(x, y, verbose=0)
    assert again.steps_trained == 2
    with pytest.raises(verax.errors.UnknownNameError, match=r"my_loss[^~]*custom_objects[^~]*compile=False"):
        load_model(tmp_path / f"m{suffix}")
    assert load_model(tmp_path / f"m{suffix}", compile=False).optimizer is None


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
