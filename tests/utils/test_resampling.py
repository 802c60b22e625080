"""Images in another size against Keras on JAX, and against what TensorFlow computed where JAX has no such kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import oracle
from verax.errors import InputError, ShapeError
from verax.preprocessing.image import smart_resize
from verax.utils.resampling import INTERPOLATIONS, crop_to_ratio, pad_to_ratio, resize

IMAGE = np.random.default_rng(0).normal(size=(13, 17, 3)).astype("float32")


@pytest.mark.parametrize("size", [(5, 6), (20, 30), (13, 40), (13, 17)], ids=str)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"])
def test_resize_is_that_of_keras(interpolation, size):
    with oracle() as keras:
        expected = keras.ops.image.resize(IMAGE, size, interpolation=interpolation)
    np.testing.assert_allclose(resize(IMAGE, size, interpolation), expected, rtol=2e-5, atol=2e-5)


# Computed by TensorFlow 2.21: tf.image.resize of the squares of 0 to 14 in three rows, to (2, 3).
SQUARES = (np.arange(15.0) ** 2).reshape(3, 5, 1)
COMPUTED = {
    "area": [[10.0667, 19.4, 33.5333], [82.0667, 112.7333, 148.2]],
    "gaussian": [[7.9751, 16.3154, 30.1941], [86.0411, 118.6636, 156.8245]],
    "mitchellcubic": [[5.7042, 13.352, 26.9448], [88.0959, 122.3596, 162.5685]],
}


@pytest.mark.parametrize("interpolation", COMPUTED)
def test_resize_is_that_of_tensorflow(interpolation):
    got = resize(SQUARES, (2, 3), interpolation)[..., 0]
    np.testing.assert_allclose(got, COMPUTED[interpolation], atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(INTERPOLATIONS), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_an_even_image_stays_even(interpolation, height, width, high, wide):
    got = resize(np.full((height, width, 2), 3.0), (high, wide), interpolation)
    assert got.shape == (high, wide, 2)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, 3.0, rtol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (3, 8), (30, 10), (26, 34)], ids=str)
def test_ratios_are_kept_as_in_keras(size):
    with oracle() as keras:
        cropped = keras.preprocessing.image.smart_resize(IMAGE, size)
        padded = keras.ops.image.resize(IMAGE, size, pad_to_aspect_ratio=True)
        first = keras.preprocessing.image.smart_resize(IMAGE.transpose(2, 0, 1), size, data_format="channels_first")
    close = {"rtol": 2e-5, "atol": 2e-5}
    np.testing.assert_allclose(smart_resize(IMAGE, size), cropped, **close)
    np.testing.assert_allclose(resize(crop_to_ratio(IMAGE, size), size), cropped, **close)
    np.testing.assert_allclose(resize(pad_to_ratio(IMAGE, size), size), padded, **close)
    np.testing.assert_allclose(
        smart_resize(IMAGE.transpose(2, 0, 1), size, data_format="channels_first"), first, **close
    )


def test_resize_refuses():
    with pytest.raises(InputError, match="bilinear"):
        resize(IMAGE, (2, 2), "linear")
    with pytest.raises(ShapeError, match=r"image\[\.\.\., None\]"):
        resize(IMAGE[..., 0], (2, 2))
    with pytest.raises(ShapeError, match="three axes"):
        smart_resize(IMAGE[..., 0], (2, 2))
    with pytest.raises(InputError, match="a size is height and width"):
        smart_resize(IMAGE, (2, 2, 3))
