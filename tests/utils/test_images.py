"""Images as files and arrays, against Keras' functions of the same names."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from tests.oracle import oracle
from verax.errors import InputError, MissingExtraError, ShapeError
from verax.utils import array_to_img, img_to_array, load_img, save_img

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_arrays_and_images_go_both_ways_as_in_keras(channels, scale, data_format):
    shape = (5, 7, channels) if data_format == "channels_last" else (channels, 5, 7)
    x = RNG.uniform(0, 255, shape)
    with oracle() as keras:
        image = keras.utils.array_to_img(x, data_format, scale)
        array = keras.utils.img_to_array(image, data_format)
    ours = array_to_img(x, data_format, scale)
    assert (ours.mode, ours.size) == (image.mode, image.size)
    got = img_to_array(ours, data_format)
    assert got.dtype == array.dtype == np.float32
    np.testing.assert_array_equal(got, array)


def test_a_gray_image_of_more_than_8_bits_is_of_whole_numbers():
    ours = array_to_img(np.array([[[300.0], [70000.0]]]), scale=False)
    assert ours.mode == "I"
    assert img_to_array(ours, dtype="int32").ravel().tolist() == [300, 70000]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "image.png"
    Image.fromarray(RNG.integers(0, 255, (20, 30, 4), dtype=np.uint8)).save(file)
    return file


@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("keep", [False, True])
def test_load_img_is_that_of_keras(path, color_mode, interpolation, keep):
    arguments = (color_mode, (8, 9), interpolation, keep)
    with oracle() as keras:
        expected = np.asarray(keras.utils.load_img(path, *arguments))
    np.testing.assert_array_equal(np.asarray(load_img(path, *arguments)), expected)


def test_load_img_reads_paths_and_bytes_in_their_own_size(path):
    expected = np.asarray(load_img(path))
    assert expected.shape == (20, 30, 3)
    np.testing.assert_array_equal(np.asarray(load_img(str(path))), expected)
    np.testing.assert_array_equal(np.asarray(load_img(io.BytesIO(path.read_bytes()))), expected)


def test_save_img_writes_what_load_img_reads(tmp_path):
    x = RNG.integers(0, 255, (4, 6, 3)).astype("float32")
    save_img(tmp_path / "a.png", x, scale=False)
    np.testing.assert_array_equal(img_to_array(load_img(tmp_path / "a.png")), x)
    save_img(tmp_path / "a.jpg", x)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"
    with pytest.raises(InputError, match="JPEG holds no opacity"):
        save_img(tmp_path / "b.jpg", np.ones((2, 2, 4)))


def test_what_is_no_image_is_refused(path):
    with pytest.raises(ShapeError, match="Pass one image"):
        array_to_img(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="2 channels"):
        array_to_img(np.ones((2, 3, 2)))
    with pytest.raises(ShapeError, match="two axes"):
        img_to_array(np.ones(3))
    with pytest.raises(InputError, match="color_mode"):
        load_img(path, "gray")
    with pytest.raises(InputError, match="interpolation of load_img"):
        load_img(path, target_size=(2, 2), interpolation="cubic")
    with pytest.raises(InputError, match="data_format"):
        array_to_img(np.ones((2, 3, 3)), "first")


def test_without_pillow_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'verax\[images\]'"):
        array_to_img(np.ones((2, 3, 3)))
