"""Functions of images against Keras, over a table of options, compiled and not, channels last and first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from tests.oracle import oracle
from verax import layers, ops
from verax.errors import DtypeError, InputError, ShapeError, UnknownNameError
from verax.ops.image_filters import gaussian, smooth
from verax.ops.image_sampling import displacements, homography, warp, warp_along_axes

# Each program runs once: compiling it is the time these tests take.
quickly_compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 7, 9, 3)).astype("float32")
U = RNG.uniform(size=(2, 7, 9, 3)).astype("float32")
BYTES = RNG.integers(0, 256, size=(2, 7, 9, 3)).astype("uint8")
BIG = RNG.uniform(size=(2, 14, 13, 3)).astype("float32")
VOLUME = RNG.normal(size=(2, 4, 5, 6, 2)).astype("float32")
TURN = np.float32([[0.9, 0.31, -0.77, -0.29, 1.1, 1.23, 0, 0], [1.13, 0, 2.3, 0, 0.83, -1.37, 0, 0]])
FAR = np.float32([[1, 0, 11.3, 0, 1, -17.7, 0, 0]] * 2)
START = np.float32([[[0, 0], [8, 0], [0, 6], [8, 6]], [[0, 0], [8, 0], [0, 6], [8, 6]]])
END = START + RNG.uniform(-1, 1, START.shape).astype("float32")
FILLS = ("constant", "nearest", "wrap", "mirror", "reflect")
HOW = ("bilinear", "nearest", "bicubic")
SIZES = ((4, 5), (10, 12), (7, 3), (3, 18))

#: (name, arguments, keywords): images come first.
ROWS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *(("resize", (X, size), {"interpolation": how}) for size in SIZES[:3] for how in HOW),
    *(("resize", (X, (4, 12)), {"interpolation": how, "antialias": True}) for how in ("lanczos3", "lanczos5")),
    *(("resize", (X, size), {way: True}) for size in SIZES for way in ("crop_to_aspect_ratio", "pad_to_aspect_ratio")),
    ("resize", (X, (4, 4)), {"pad_to_aspect_ratio": True, "fill_value": 2.5}),
    *(("resize", (BYTES, (5, 6)), {"interpolation": how}) for how in HOW),
    ("resize", (BYTES, (5, 5)), {"pad_to_aspect_ratio": True, "fill_value": 3.0}),
    ("resize", (X[0], (5, 6)), {}),
    *(
        ("affine_transform", (X, matrix), {"interpolation": how, "fill_mode": fill, "fill_value": 0.5})
        for matrix in (TURN, FAR)
        for how in ("bilinear", "nearest")
        for fill in FILLS
    ),
    ("affine_transform", (X[0], TURN[0]), {}),
    ("affine_transform", (BYTES, TURN), {"fill_mode": "reflect"}),
    *(("perspective_transform", (X, START, END), {"interpolation": how, "fill_value": 0.3}) for how in HOW[:2]),
    ("perspective_transform", (X[0], START[0], END[0]), {}),
    ("perspective_transform", (BYTES, START, END), {}),
    *(("extract_patches", (X, size), {}) for size in (2, (3, 2))),
    *(("extract_patches", (X, (3, 2)), {"strides": (1, 2), "padding": p}) for p in ("valid", "same")),
    *(("extract_patches", (X, 2), {"strides": 1, "dilation_rate": 2, "padding": p}) for p in ("valid", "same")),
    ("extract_patches", (X[0], 3), {"strides": 2}),
    ("pad_images", (X, 1, 2, 3, 0), {}),
    ("pad_images", (X, 1), {"right_padding": 2, "target_height": 12, "target_width": 13}),
    ("pad_images", (X[0],), {"bottom_padding": 0, "left_padding": 1, "target_height": 8, "target_width": 11}),
    ("pad_images", (BYTES, 1, 2, 3, 0), {}),
    ("crop_images", (X, 1, 2, 3, 0), {}),
    ("crop_images", (X, 1), {"right_cropping": 2, "target_height": 4, "target_width": 3}),
    ("crop_images", (X[0],), {"bottom_cropping": 0, "left_cropping": 1, "target_height": 6, "target_width": 7}),
    ("rgb_to_grayscale", (U,), {}),
    ("rgb_to_grayscale", (BYTES,), {}),
    ("rgb_to_grayscale", (U[0],), {}),
    ("rgb_to_grayscale", (U[..., :1],), {}),
    ("rgb_to_hsv", (U,), {}),
    ("rgb_to_hsv", (np.round(U * 2) / 2,), {}),
    ("rgb_to_hsv", (U[0],), {}),
    ("hsv_to_rgb", (U,), {}),
    ("hsv_to_rgb", (3 * X,), {}),
    ("gaussian_blur", (X,), {}),
    ("gaussian_blur", (X, (5, 3), (0.7, 2.0)), {}),
    ("gaussian_blur", (X, (4, 1), (0.7, 2.0)), {}),
    ("gaussian_blur", (X, (21, 17), (5.0, 3.0)), {}),
    ("gaussian_blur", (X[0], (3, 5), (1.5, 0.5)), {}),
    ("sobel_edges", (X,), {}),
    ("ssim", (BIG, BIG**2), {}),
    ("ssim", (BIG[0], BIG[1]), {"max_val": 2.0}),
    ("ssim", (X, U), {"filter_size": 5, "filter_sigma": 0.8, "k1": 0.1, "k2": 0.2}),
]  # fmt: skip

PLAIN: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *(
        ("map_coordinates", (X[0, ..., 0], RNG.uniform(-9, 15, (2, 4, 5)).astype("float32"), order, fill), {})
        for order in (0, 1)
        for fill in FILLS
    ),
    ("map_coordinates", (X[0], RNG.uniform(0, 3, (3, 6)).astype("float32"), 1), {}),
    ("map_coordinates", (BYTES[0, ..., 0], RNG.uniform(-1, 7, (2, 6)).astype("float32"), 1), {"fill_value": 7}),
    *(
        ("scale_and_translate", (X, (2, 9, 8, 3), S, S[::-1], (1, 2), how), {"antialias": anti})
        for S in [np.float32([0.7, 1.3])]
        for how in ("linear", "bilinear", "trilinear", "cubic", "bicubic", "tricubic", "lanczos3", "lanczos5")
        for anti in (True, False)
    ),
    *(("extract_patches_3d", (VOLUME, 2), {"strides": 1, "padding": p}) for p in ("valid", "same")),
    ("extract_patches_3d", (VOLUME, (2, 3, 2)), {"data_format": "channels_last"}),
    ("extract_patches_3d", (np.moveaxis(VOLUME, -1, 1), (2, 3, 2)), {"data_format": "channels_first"}),
    ("extract_patches_3d", (VOLUME[0], 2), {"dilation_rate": 2, "strides": 1}),
    ("extract_patches", (VOLUME, (2, 3, 2)), {}),
]


def first(name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with the channels of the images before height and width."""
    count = 2 if name == "ssim" else 1
    return (*(np.moveaxis(a, -1, -3) for a in arguments[:count]), *arguments[count:])


def row_id(row: Any) -> str:
    name, arguments, keywords = row
    return " ".join([name, *(str(a) for a in arguments if not isinstance(a, np.ndarray)), *map(str, keywords.values())])


def compare(name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], *, compiled: bool = True):
    with oracle() as keras:
        expected = getattr(keras.ops.image, name)(*arguments, **keywords)
    function: Callable[..., Any] = getattr(ops.image, name)
    arrays = [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray)]

    def run(*given: Any):
        full = list(arguments)
        for i, value in zip(arrays, given, strict=True):
            full[i] = value
        return function(*full, **keywords)

    got = quickly_compiled(run)(*(arguments[i] for i in arrays)) if compiled else function(*arguments, **keywords)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    apart = 1 if got.dtype == "uint8" else 2e-5  # a number halfway between two may be rounded to either
    np.testing.assert_allclose(got, np.asarray(expected).astype(got.dtype), rtol=2e-5, atol=apart)
    if got.dtype == "uint8":
        assert (np.asarray(got) == np.asarray(expected)).mean() > 0.97


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_of_images_as_keras(row: Any):
    name, arguments, keywords = row
    compare(name, arguments, {**keywords, "data_format": "channels_last"})


@pytest.mark.parametrize("row", [r for i, r in enumerate(ROWS) if [q[0] for q in ROWS[:i]].count(r[0]) < 3], ids=row_id)
def test_of_images_with_their_channels_first_as_keras(row: Any):
    name, arguments, keywords = row
    compare(name, first(name, arguments), {**keywords, "data_format": "channels_first"}, compiled=False)


@pytest.mark.parametrize("row", PLAIN, ids=row_id)
def test_of_arrays_as_keras(row: Any):
    compare(*row)


def test_every_name_of_keras_is_here():
    with oracle() as keras:
        assert {n for n in dir(keras.ops.image) if not n.startswith("_")} == set(ops.image.__all__)


@pytest.mark.parametrize("name", [n for n in ops.image.__all__ if n not in ("map_coordinates", "scale_and_translate")])
def test_symbolic_tensors_have_the_shape_of_what_is_computed(name: str):
    arguments = next((row[1] for row in [*ROWS, *PLAIN] if row[0] == name), (X,))
    if name in ("affine_transform", "perspective_transform"):  # of one image: how many there are is not known
        arguments = (arguments[0], *(a[0] for a in arguments[1:]))
    count = 2 if name == "ssim" else 1
    images = [layers.Input(a.shape[1:]) for a in arguments[:count]]
    symbolic = getattr(ops.image, name)(*images, *arguments[count:])
    computed = getattr(ops.image, name)(*arguments)
    assert tuple(symbolic.shape) == (None, *computed.shape[1:])


def test_gradients_flow_to_the_images_and_to_the_transform():
    def total(images, transform):
        return jnp.sum(jnp.sin(ops.image.affine_transform(images, transform, fill_mode="reflect")))

    images, transform = jnp.asarray(X), jnp.asarray(TURN)
    gradients = jax.grad(total, (0, 1))(images, transform)
    moved = jnp.zeros_like(transform).at[0, 2].set(1e-3)
    slope = (total(images, transform + moved) - total(images, transform - moved)) / 2e-3
    np.testing.assert_allclose(gradients[1][0, 2], slope, rtol=0.02)
    assert float(jnp.abs(gradients[0]).sum()) > 0


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("how", ["bilinear", "nearest"])
def test_an_axis_after_the_other_is_the_general_case(how: str, fill: str):
    matrix = jnp.asarray(TURN).at[:, jnp.array([1, 3])].set(0.0)
    for images in (X, BYTES):
        a = warp(jnp.asarray(images), matrix, how, fill, 0.5)
        b = warp_along_axes(jnp.asarray(images), matrix, how, fill, 0.5)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, atol=1 if images is BYTES else 1e-5)


def test_the_transform_is_projective():
    matrix = homography(START, END)
    by_points = ops.image.perspective_transform(X, START, END)
    np.testing.assert_allclose(ops.image.affine_transform(X, matrix), by_points, atol=1e-6)


def test_points_go_where_they_are_sent():
    x, y = START[0, :, 0], START[0, :, 1]
    u, v = END[0, :, 0], END[0, :, 1]
    a0, a1, a2, b0, b1, b2, c0, c1 = np.asarray(homography(START, END))[0]
    k = c0 * u + c1 * v + 1
    np.testing.assert_allclose((a0 * u + a1 * v + a2) / k, x, atol=1e-4)
    np.testing.assert_allclose((b0 * u + b1 * v + b2) / k, y, atol=1e-4)


def test_blur_is_scipys():
    kernel = np.asarray(gaussian(13, jnp.array([2.0])))[0]
    np.testing.assert_allclose(kernel, scipy.ndimage.gaussian_filter1d(np.eye(13)[6], 2.0, truncate=3), atol=1e-6)
    image = RNG.normal(size=(1, 40, 30, 1)).astype("float32")
    short = smooth(jnp.asarray(image), jnp.asarray(kernel[None]), 1)
    wide = jnp.pad(jnp.asarray(kernel[None]), ((0, 0), (6, 6)))  # the same kernel by the other way
    np.testing.assert_allclose(short, smooth(jnp.asarray(image), wide, 1), atol=1e-5)
    np.testing.assert_allclose(short, scipy.ndimage.correlate1d(image, kernel, 1, mode="constant"), atol=1e-5)


def test_elastic_fields_are_independent_smooth_and_of_their_size():
    size = jnp.ones(16)
    dy, dx = displacements(jax.random.key(0), (16, 48, 48), 3.0 * size, 2.0 * size, 6)
    inner = np.s_[:, 10:-10, 10:-10]
    # Noise of deviation sigma, blurred: alpha * sigma * sum(kernel²), once for each axis.
    kernel = np.asarray(gaussian(13, jnp.array([2.0])))[0]
    deviation = 3.0 * 2.0 * np.sum(kernel**2)
    assert np.std(dy[inner]) == pytest.approx(deviation, rel=0.1)
    assert np.std(dx[inner]) == pytest.approx(deviation, rel=0.1)
    assert abs(np.corrcoef(np.ravel(dy), np.ravel(dx))[0, 1]) < 0.1
    neighbours = np.corrcoef(np.ravel(dy[:, :-1]), np.ravel(dy[:, 1:]))[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 2.0**2)), abs=0.02)


def test_elastic_transform_moves_by_its_seed():
    a, b, other = (ops.image.elastic_transform(X, 3.0, 0.8, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != other).any()
    assert (a != X).any()
    np.testing.assert_allclose(ops.image.elastic_transform(X, 0.0, 0.8, seed=1), X, atol=1e-6)
    key = jax.random.key(1)
    np.testing.assert_array_equal(ops.image.elastic_transform(X, 3.0, 0.8, seed=key), a)
    assert ops.image.elastic_transform(BYTES[0]).dtype == "uint8"
    moved = ops.image.elastic_transform(np.moveaxis(X, -1, 1), 3.0, 0.8, seed=1, data_format="channels_first")
    np.testing.assert_allclose(np.moveaxis(np.asarray(moved), 1, -1), a, atol=1e-6)


def test_similarity_of_integers_is_a_float():
    assert float(ops.image.ssim(BYTES, BYTES, 255.0, 5)[0]) == pytest.approx(1.0)
    some = ops.image.ssim(BYTES, 255 - BYTES, 255.0, 5)
    assert some.dtype == "float32"
    assert (some < 0.5).all()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda i: i.resize(X[0, 0], (2, 2)), ShapeError, "3 axes"),
        (lambda i: i.resize(X, (2, 2), "linear"), UnknownNameError, "Did you mean 'bilinear'"),
        (lambda i: i.resize(X, (2, 2), fill_mode="wrap"), UnknownNameError, "constant"),
        (lambda i: i.resize(X, 3), InputError, "a pair"),
        (lambda i: i.resize(X, (0, 3)), InputError, "at least 1"),
        (lambda i: i.resize(X, (2, 2), crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), InputError, "alone"),
        (lambda i: i.resize(X, (2, 2), data_format="last"), UnknownNameError, "data_format"),
        (lambda i: i.affine_transform(X, TURN[:, :6]), ShapeError, "eight numbers"),
        (lambda i: i.affine_transform(X, TURN, "cubic"), UnknownNameError, "interpolation"),
        (lambda i: i.affine_transform(X, TURN, fill_mode="edge"), UnknownNameError, "fill_mode"),
        (lambda i: i.perspective_transform(X, START[:, :3], END), ShapeError, "start_points of shape"),
        (lambda i: i.map_coordinates(X, START[0, :3], 1), ShapeError, "first axis of coordinates"),
        (lambda i: i.map_coordinates(X[0, 0], START[0, :2], 3), InputError, "order=3"),
        (lambda i: i.pad_images(X, 1, 1, 1), InputError, "exactly two"),
        (lambda i: i.pad_images(X, 1, 1, target_height=2, target_width=20), InputError, "bottom_padding is -6"),
        (lambda i: i.crop_images(X, 9, 1, 1, 1), InputError, "top_cropping is 9"),
        (lambda i: i.rgb_to_grayscale(X[..., :2]), ShapeError, "2 channels"),
        (lambda i: i.rgb_to_hsv(BYTES), DtypeError, "between 0 and 1"),
        (lambda i: i.gaussian_blur(BYTES), InputError, "Cast them first"),
        (lambda i: i.gaussian_blur(X, 3), InputError, "kernel_size"),
        (lambda i: i.sobel_edges(X[0]), ShapeError, "4 axes"),
        (lambda i: i.ssim(X, X), ShapeError, "inside of them"),
        (lambda i: i.extract_patches(X, (1, 2, 3, 4)), InputError, "three for volumes"),
        (lambda i: i.extract_patches(X, 0), InputError, "positive"),
        (lambda i: i.extract_patches(X, 8), ShapeError, "no patch fits"),
        (lambda i: i.extract_patches(X, 2, padding="full"), UnknownNameError, "padding"),
        (lambda i: i.scale_and_translate(X, X.shape, [1.0], [0.0], [1], "nearest"), UnknownNameError, "method"),
    ],
)
def test_what_cannot_be_is_said(call: Any, error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        call(ops.image)
