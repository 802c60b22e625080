"""Networks that Keras built and saved: whole models, and weights for ``weights=``, in every form Keras writes."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import applications

NETWORKS = {
    "MobileNet": {"alpha": 0.25, "input_shape": (32, 32, 3)},
    "MobileNetV2": {"alpha": 0.35, "input_shape": (32, 32, 3)},
    "MobileNetV3Small": {"alpha": 0.75, "input_shape": (32, 32, 3), "minimalistic": True},
}


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, 32, 32, 3)).astype("float32")


def same(model, weights) -> None:
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_keras_saved(name, tmp_path):
    arguments = {"weights": None, "classes": 5, **NETWORKS[name]}
    x = images()
    with oracle() as keras:
        keras.utils.set_random_seed(3)
        theirs = getattr(keras.applications, name)(**arguments)
        expected = theirs.predict(x, verbose=0)
        theirs.save(tmp_path / "whole.keras")
        theirs.save(tmp_path / "whole.h5")
        theirs.save_weights(tmp_path / "w.weights.h5")
        with h5py.File(tmp_path / "old.h5", "w") as file:  # as the files of keras.applications are
            keras.src.legacy.saving.legacy_h5_format.save_weights_to_hdf5_group(file, theirs)
        weights = theirs.get_weights()
    made = verax.saving.load_model(tmp_path / "whole.keras")
    np.testing.assert_allclose(made.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    assert made.name == theirs.name
    same(made, weights)
    same(verax.saving.load_model(tmp_path / "whole.h5"), weights)
    for file in ("w.weights.h5", "old.h5", "whole.keras"):
        same(getattr(applications, name)(**{**arguments, "weights": str(tmp_path / file)}), weights)


def test_what_verax_saved_in_keras(tmp_path):
    arguments = {"weights": None, "classes": 5, **NETWORKS["MobileNetV2"]}
    ours = applications.MobileNetV2(**arguments)
    x = images()
    expected = ours.predict(x, verbose=0)
    ours.save(tmp_path / "whole.keras")
    ours.save_weights(tmp_path / "w.weights.h5")
    with oracle() as keras:
        again = keras.saving.load_model(tmp_path / "whole.keras")
        np.testing.assert_allclose(again.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
        theirs = keras.applications.MobileNetV2(**{**arguments, "weights": str(tmp_path / "w.weights.h5")})
        same(theirs, ours.get_weights())
