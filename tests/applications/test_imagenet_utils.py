"""Pixels made ready and classes named, as Keras does it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import applications
from verax.applications import imagenet_utils
from verax.errors import DownloadError, InputError, ShapeError, UnknownNameError

PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 3)).astype("float32")
FORMATS = ("channels_last", "channels_first")


def laid_out(x: np.ndarray, data_format: str) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -1, -3)) if data_format == "channels_first" else x


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8"])
def test_pixels_are_made_ready_as_in_keras(mode: str, data_format: str, one: bool, dtype: str):
    x = laid_out(PIXELS[0] if one else PIXELS, data_format).astype(dtype)
    with oracle() as keras:
        expected = keras.applications.imagenet_utils.preprocess_input(x.copy(), data_format, mode)
    before = x.copy()
    found = imagenet_utils.preprocess_input(x, data_format, mode)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-2 if dtype == "float16" else 1e-5, atol=1e-5)
    np.testing.assert_array_equal(x, before)  # Keras writes over it
    if dtype == "float64":
        return
    reference = np.asarray(expected, "float32")
    tolerance = {"rtol": 1e-2, "atol": 0.3} if dtype == "float16" else {"rtol": 1e-5, "atol": 1e-4}
    array = imagenet_utils.preprocess_input(jnp.asarray(x), data_format, mode)
    assert array.dtype.name == ("float32" if dtype == "uint8" else dtype)
    np.testing.assert_allclose(np.asarray(array, "float32"), reference, **tolerance)
    if not one:
        image = verax.Input(x.shape[1:], dtype=dtype)
        model = verax.Model(image, imagenet_utils.preprocess_input(image, data_format, mode))
        np.testing.assert_allclose(np.asarray(model(x), "float32"), reference, **tolerance)


def test_pixels_of_an_unknown_size_in_a_model_that_goes_through_a_configuration():
    image = verax.Input((None, None, 3), dtype="uint8")
    model = verax.Model(image, applications.resnet.preprocess_input(image))
    again = verax.Model.from_config(json.loads(json.dumps(model.get_config())))
    x = PIXELS.astype("uint8")
    np.testing.assert_array_equal(again(x), model(x))
    np.testing.assert_allclose(model(x), applications.resnet.preprocess_input(x), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("family", ["densenet", "resnet", "resnet50", "resnet_v2", "vgg16", "vgg19"])
def test_each_family_has_its_own_way(family: str):
    ours = getattr(applications, family)
    for data_format in (None, "channels_first"):
        x = laid_out(PIXELS, data_format or "")
        with oracle() as keras:
            expected = getattr(keras.applications, family).preprocess_input(x.copy(), data_format=data_format)
        np.testing.assert_allclose(ours.preprocess_input(x, data_format=data_format), expected, rtol=1e-5, atol=1e-5)
    assert ours.decode_predictions is imagenet_utils.decode_predictions
    verax.config.set_image_data_format("channels_first")
    first = ours.preprocess_input(laid_out(PIXELS, "channels_first"))
    np.testing.assert_array_equal(first, ours.preprocess_input(laid_out(PIXELS, "channels_first"), "channels_first"))


@pytest.mark.parametrize(
    ("x", "arguments", "error", "text"),
    [
        (PIXELS, {"mode": "caffee"}, UnknownNameError, "caffe"),
        (PIXELS, {"data_format": "last"}, UnknownNameError, "channels_last"),
        (PIXELS[..., 0], {"data_format": "channels_last"}, ShapeError, "5 channels"),
        (PIXELS[0, 0], {}, ShapeError, "3 axes"),
        (PIXELS[..., :1], {"mode": "torch"}, ShapeError, "np.repeat"),
    ],
)
def test_what_is_no_image(x, arguments, error, text):
    with pytest.raises(error, match=text):
        imagenet_utils.preprocess_input(x, **arguments)


@pytest.fixture
def class_names(tmp_path, monkeypatch):
    """A table of names in the cache, with a hash of its own."""
    held = json.dumps({str(i): [f"n{i:08d}", f"thing_{i}"] for i in range(1000)}).encode()
    monkeypatch.setenv("VERAX_HOME", str(tmp_path))
    monkeypatch.setattr(imagenet_utils, "_CLASSES_HASH", hashlib.md5(held).hexdigest())
    path = tmp_path / "models/imagenet_class_index.json"
    path.parent.mkdir()
    path.write_bytes(held)
    return path


@pytest.mark.parametrize("top", [1, 3, 1000])
def test_classes_are_named_as_in_keras(class_names: Path, monkeypatch, top: int):
    scores = np.random.default_rng(1).random((2, 1000), "float32")
    with oracle() as keras:
        from keras.src.applications import imagenet_utils as theirs

        monkeypatch.setattr(theirs.file_utils, "get_file", lambda *a, **k: str(class_names))
        monkeypatch.setattr(theirs, "CLASS_INDEX", None)
        expected = keras.applications.imagenet_utils.decode_predictions(scores, top)
    for given in (scores, jnp.asarray(scores)):
        assert imagenet_utils.decode_predictions(given, top) == expected


def test_what_cannot_be_named(class_names: Path, monkeypatch):
    with pytest.raises(ShapeError, match=r"shape \(1, 10\)"):
        imagenet_utils.decode_predictions(np.zeros((1, 10)))
    with pytest.raises(ShapeError, match="the axis of the batch"):
        imagenet_utils.decode_predictions(np.zeros(1000))
    with pytest.raises(InputError, match="top"):
        imagenet_utils.decode_predictions(np.zeros((1, 1000)), top=0)
    class_names.unlink()
    monkeypatch.setattr(imagenet_utils, "_CLASSES", "http://127.0.0.1:9/imagenet_class_index.json")
    with pytest.raises(DownloadError, match=rf"put it at {class_names}"):
        imagenet_utils.decode_predictions(np.zeros((1, 1000)))


def test_the_table_of_classes_is_the_one_keras_fetches(monkeypatch):
    from keras.src.applications import imagenet_utils as theirs

    found = []
    monkeypatch.setattr(theirs, "CLASS_INDEX", None)
    for module in (theirs.file_utils, imagenet_utils):

        def get(fname, origin, cache_subdir, file_hash):
            found.append((fname, origin, cache_subdir, file_hash))
            raise InterruptedError

        monkeypatch.setattr(module, "get_file", get)
    for module in (theirs, imagenet_utils):
        with pytest.raises(InterruptedError):
            module.decode_predictions(np.zeros((1, 1000)))
    assert found[0] == found[1]
