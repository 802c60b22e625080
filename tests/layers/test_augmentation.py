"""Augmentation: what is done with given draws is Keras'; how it is drawn; dictionaries, modes, seeds; in the gap."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import InputError, ShapeError, UnknownNameError
from verax.frame.frame import call, values
from verax.frame.mode import Mode, ModeMap
from verax.layers.augmentation import BaseAugmentation
from verax.ledger import Cause

RNG = np.random.default_rng(0)
X = RNG.uniform(0, 255, (5, 9, 8, 3)).astype("float32")
BYTES = np.round(X)
U = X / np.float32(255)
WHOLE = BYTES.astype("uint8")
KEY = jax.random.key(7)


# Each program runs once or twice: compiling it is the time these tests take.
quickly_compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def drawn(layer: Any, shape=X.shape, key=KEY) -> Any:
    return quickly_compiled(lambda key: layer.draw(key, shape))(key)


def trainer(layer: Any) -> Any:
    """(input, key) -> output in training, compiled."""
    return quickly_compiled(lambda x, key: call(layer, *values(layer), (x,), mode=Mode.TRAIN, key=key).output)


def train(layer: Any, x: Any, key: Any = KEY) -> Any:
    jax.eval_shape(lambda x: call(layer, {}, {}, (x,), mode=Mode.INFER).output, x)
    return trainer(layer)(x, key)


def each(a: Any) -> np.ndarray:
    return np.asarray(a).reshape(-1, 1, 1, 1)


#: name -> (arguments, images, from our draws to the transformation Keras makes of its own).
GIVEN: dict[str, tuple[dict[str, Any], np.ndarray, Any]] = {
    "RandomFlip": ({"mode": "horizontal"}, X, lambda d: {"flips": each(d[:, 1])}),
    "RandomFlip down": ({"mode": "vertical"}, X, lambda d: {"flips": each(d[:, 0])}),
    "RandomRotation": ({"factor": 0.2}, X, lambda d: {"rotation_matrix": d}),
    "RandomRotation wrap": ({"factor": 0.2, "fill_mode": "wrap"}, X, lambda d: {"rotation_matrix": d}),
    "RandomRotation nearest": (
        {"factor": 0.2, "fill_mode": "nearest", "interpolation": "nearest"},
        X,
        lambda d: {"rotation_matrix": d},
    ),
    "RandomRotation constant": (
        {"factor": 1.0, "fill_mode": "constant", "fill_value": 9.0},
        X,
        lambda d: {"rotation_matrix": d},
    ),
    "RandomTranslation": (
        {"height_factor": 0.5, "width_factor": 0.3},
        X,
        lambda d: {"translations": -np.asarray(d)[:, [2, 5]]},
    ),
    "RandomTranslation constant": (
        {"height_factor": 1.0, "width_factor": 0.3, "fill_mode": "constant", "fill_value": 7.0},
        X,
        lambda d: {"translations": -np.asarray(d)[:, [2, 5]]},
    ),
    "RandomZoom": (
        {"height_factor": 0.5, "width_factor": 0.3},
        X,
        lambda d: {"width_zoom": d[:, :1], "height_zoom": d[:, 4:5]},
    ),
    "RandomZoom constant": (
        {"height_factor": 0.9, "fill_mode": "constant", "fill_value": 3.0},
        X,
        lambda d: {"width_zoom": d[:, :1], "height_zoom": d[:, 4:5]},
    ),
    "RandomShear": (
        {"x_factor": 0.5, "y_factor": (0.1, 0.3)},
        X,
        lambda d: {"shear_factor": np.asarray(d)[:, [1, 3]]},
    ),
    "RandomBrightness": ({"factor": 0.5}, X, lambda d: {"rgb_delta": each(d)}),
    "RandomContrast": ({"factor": (0.5, 0.7)}, X, lambda d: {"contrast_factor": each(d)}),
    "RandomHue": ({"factor": 1.0}, X, lambda d: {"factor": d}),
    "RandomSaturation": ({"factor": 0.9, "value_range": (0, 1)}, U, lambda d: {"factor": d}),
    "RandomColorDegeneration": ({"factor": (0.1, 0.9)}, X, lambda d: {"factor": each(d)}),
    "RandomGrayscale": ({"factor": 0.5}, X, each),
    "RandomSharpness": ({"factor": 1.0}, X, lambda d: {"factor": d}),
    "RandomPosterization": ({"factor": (1, 8)}, BYTES, lambda d: {"shift_factor": (8 - np.asarray(d)).astype("uint8")}),
    "Solarization": (
        {"addition_factor": 0.3, "threshold_factor": 0.8},
        X,
        lambda d: {"additions": each(d[0]), "thresholds": each(d[1])},
    ),
    "RandomInvert": ({"factor": (0.5, 0.5)}, X, lambda d: {"apply_inversion": d}),
    "RandomGaussianBlur": (
        {"factor": (1.0, 1.0), "kernel_size": (5, 3), "sigma": (0.3, 1.0)},
        X[:1],
        lambda d: {"should_apply_blur": d[0], "blur_factor": np.concatenate([d[1], d[2]])},
    ),
    "RandomErasing": (
        {"factor": (0.7, 0.7)},
        X,
        lambda d: {"batch_masks": d[0], "fill_value": d[1], "apply_erasing": np.ones(len(X), bool)},
    ),
    "MixUp": ({"alpha": 1.0}, X, lambda d: {"mix_weight": d[0], "permutation_order": d[1]}),
    "CutMix": ({}, X, lambda d: {"batch_masks": d[0], "permutation_order": d[1]}),
}


@pytest.mark.parametrize("case", GIVEN)
def test_what_is_done_with_given_draws_is_keras(case: str):
    arguments, x, transformation = GIVEN[case]
    name = case.split()[0]
    ours = getattr(layers, name)(**arguments)
    d = drawn(ours, x.shape)
    with oracle() as keras:
        theirs = getattr(keras.layers, name)(**arguments)
        given = jax.tree.map(jnp.asarray, transformation(d))
        expected = theirs.transform_images(jnp.asarray(x), given)
    got = ours.change(jnp.asarray(x), d)
    # A place that falls between two pixels is found by other roundings.
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * x.max())
    assert (np.asarray(got) != x).any()


def test_equalization_is_keras_of_each_image_by_itself():
    for images, arguments in ((BYTES, {}), (U, {"value_range": (0, 1)}), (BYTES, {"bins": 20}), (X, {})):
        with oracle() as keras:
            theirs = keras.layers.Equalization(**arguments)
            expected = np.stack([theirs(image, training=True) for image in images])
        for training in (True, False):  # what is learned in training is seen in inference, too
            got = layers.Equalization(**arguments)(images, training=training)
            np.testing.assert_allclose(got, expected, atol=1e-4 * images.max())
    flat = np.full((1, 3, 3, 1), 7.0, "float32")
    np.testing.assert_array_equal(layers.Equalization()(flat), flat)


def test_auto_contrast_of_one_value_stays_and_has_a_gradient():
    flat = jnp.full((1, 3, 3, 1), 7.0)
    np.testing.assert_array_equal(layers.AutoContrast()(flat), flat)
    gradient = jax.grad(lambda x: layers.AutoContrast().change(x, ()).sum())(flat)
    assert np.isfinite(gradient).all()
    got = layers.AutoContrast(data_format="channels_first")(np.moveaxis(X, -1, 1))
    np.testing.assert_allclose(np.moveaxis(np.asarray(got), 1, -1), layers.AutoContrast()(X), rtol=1e-5)


# ---- draws -----------------------------------------------------------------------------------------------------------

MANY = (4000, 9, 8, 3)


@pytest.mark.parametrize(
    ("layer", "read", "low", "high"),
    [
        (layers.RandomBrightness(0.2), lambda d: d / 255, -0.2, 0.2),
        (layers.RandomBrightness((0.1, 0.3), (0, 1)), lambda d: d, 0.1, 0.3),
        (layers.RandomContrast(0.3), lambda d: d, 0.7, 1.3),
        (layers.RandomContrast((0.5, 0.1)), lambda d: d, 0.5, 1.1),
        (layers.RandomHue(0.4), lambda d: d, -0.2, 0.2),
        (layers.RandomColorDegeneration(0.4), lambda d: d, 0.0, 0.4),
        (layers.RandomSharpness((0.2, 0.4)), lambda d: d, 0.2, 0.4),
        (layers.Solarization((0.1, 0.2)), lambda d: d[0] / 255, 0.1, 0.2),
        (layers.Solarization(threshold_factor=0.4), lambda d: d[1] / 255, 0.0, 0.4),
        (layers.RandomTranslation(0.2, (-0.1, 0.3)), lambda d: -d[:, 5] / 9, -0.2, 0.2),
        (layers.RandomTranslation(0.2, (-0.1, 0.3)), lambda d: -d[:, 2] / 8, -0.1, 0.3),
        (layers.RandomZoom((-0.3, 0.1)), lambda d: d[:, 0] - 1, -0.3, 0.1),
        (layers.RandomShear(0.2), lambda d: d[:, 1], -0.2, 0.2),
        (layers.RandomRotation(0.1), lambda d: jnp.arctan2(d[:, 3], d[:, 0]) / (2 * np.pi), -0.1, 0.1),
        (layers.RandomGaussianBlur(sigma=0.8), lambda d: d[1], 0.0, 0.8),
        (layers.RandomSaturation(0.6), lambda d: d / (1 + d), 0.0, 0.6),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_each_image_draws_uniformly_between_its_bounds(layer: Any, read: Any, low: float, high: float):
    got = np.asarray(read(drawn(layer, MANY)), np.float64)
    assert got.shape == MANY[:1]
    assert scipy.stats.kstest(got, "uniform", (low, high - low)).pvalue > 1e-3
    assert abs(np.corrcoef(got[:-1], got[1:])[0, 1]) < 0.06  # one image's draw says nothing of the next one's


@pytest.mark.parametrize(
    ("layer", "read", "probability"),
    [
        (layers.RandomFlip(), lambda d: d[:, 0], 0.5),
        (layers.RandomFlip(), lambda d: d[:, 0] ^ d[:, 1], 0.5),  # both flips are independent
        (layers.RandomFlip("horizontal"), lambda d: d[:, 0], 0.0),
        (layers.RandomGrayscale(0.3), lambda d: d, 0.3),
        (layers.RandomInvert(), lambda d: d, 0.5),
        (layers.RandomInvert((0.6, 0.8)), lambda d: d, 0.7),
        (layers.RandomGaussianBlur((0.25, 0.25)), lambda d: d[0], 0.25),
        (layers.RandomErasing((1.0, 1.0)), lambda d: d[0].any((1, 2, 3)), None),
        (layers.RandomPerspective(0.4), lambda d: d[:, 6] != 0, 0.2),
        (layers.RandomShear((0.1, 0.2)), lambda d: d[:, 1] < 0, 0.5),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_each_image_is_changed_with_its_probability(layer: Any, read: Any, probability: float | None):
    got = np.asarray(read(drawn(layer, MANY)))
    if probability is None:
        assert got.mean() > 0.7  # a box may fall between pixels
    else:
        assert abs(got.mean() - probability) <= 5 * np.sqrt(probability * (1 - probability) / len(got))


def test_bits_are_kept_and_all_of_the_interval_is_drawn():
    assert set(np.asarray(drawn(layers.RandomPosterization((2, 5)), MANY)).tolist()) == {2, 3, 4, 5}
    assert set(np.asarray(drawn(layers.RandomPosterization(3), MANY)).tolist()) == {3}
    got = layers.RandomPosterization(3, (0, 1))(U, training=True)
    assert set(np.round(np.asarray(got) * 255).astype(int).ravel().tolist()) <= set(range(0, 256, 32))


def test_the_erased_box_has_its_size():
    shape = (2000, 40, 40, 1)
    erased, fill = drawn(layers.RandomErasing((1.0, 1.0), (0.1, 0.4), fill_value=5.0), shape)
    rows, columns = (np.asarray(erased).any((axis, 3)).sum(1) / 40 for axis in (2, 1))
    for side in (rows, columns):
        assert side.min() > np.sqrt(0.1) - 0.06
        assert side.max() < np.sqrt(0.4) + 0.06
        assert np.mean(side**2) == pytest.approx(0.25, abs=0.02)
    assert fill.ravel().tolist() == [5.0]
    noise = drawn(layers.RandomErasing((1.0, 1.0)), shape)[1]
    assert noise.min() == 0
    assert noise.max() == 255
    colors = layers.RandomErasing((1.0, 1.0), (1.0, 1.0), fill_value=(1, 2, 3), data_format="channels_first")
    assert np.unique(np.asarray(colors(np.moveaxis(X, -1, 1), training=True))[:, 2]).tolist() == [3.0]


def test_perspective_moves_corners_within_the_scale():
    layer = layers.RandomPerspective((1.0, 1.0), 0.2)
    maps = np.asarray(drawn(layer, (500, 9, 8, 3)), np.float64)
    inverse = np.linalg.inv(np.concatenate([maps, np.ones((500, 1))], -1).reshape(-1, 3, 3))
    corners = np.array([[7.0, 0, 1], [0, 8, 1], [7, 8, 1]])
    there = np.einsum("bij,kj->bki", inverse, corners)
    there = there[..., :2] / there[..., 2:]
    share = np.concatenate([there[:, 0, 0] / 7, there[:, 1, 1] / 8, there[:, 2, 0] / 7, there[:, 2, 1] / 8]) - 1
    assert np.abs(share).max() < 0.1001
    assert scipy.stats.kstest(share, "uniform", (-0.1, 0.2)).pvalue > 1e-3


def test_mixing_weights_are_beta_and_labels_go_with_pixels():
    weight, order = drawn(layers.MixUp(0.4), MANY)
    assert scipy.stats.kstest(np.asarray(weight), "beta", (0.4, 0.4)).pvalue > 1e-3
    assert sorted(np.asarray(order).tolist()) == list(range(MANY[0]))
    # Each image is one number, and its label is that number: what is mixed can be read from both.
    n = 60
    value = np.arange(n, dtype="float32")
    images = np.broadcast_to(value[:, None, None, None], (n, 16, 16, 1))
    labels = np.eye(n, dtype="float32")
    for layer in (layers.MixUp(1.0), layers.CutMix()):
        got = layer({"images": images, "labels": labels})
        np.testing.assert_allclose(got["labels"].sum(1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(
            got["images"].mean((1, 2, 3)), np.asarray(got["labels"]) @ value, rtol=1e-4, atol=1e-4
        )
        flat = layer({"images": images, "labels": np.arange(n)})["labels"]
        assert flat.shape == (n,)
        assert flat.dtype == "float32"
        assert layer({"images": images, "labels": np.arange(n)}, training=False)["labels"].dtype == "float32"
    masks = train(layers.CutMix(seed=3), {"images": images, "segmentation_masks": images.astype("uint8")})
    assert masks["segmentation_masks"].dtype == "uint8"
    np.testing.assert_array_equal(masks["segmentation_masks"], masks["images"].astype("uint8"))


def test_random_crop_draws_a_place_for_each_image_and_takes_the_middle_in_inference():
    place = np.arange(9 * 8, dtype="float32").reshape(1, 9, 8, 1) * np.ones((3000, 1, 1, 1), "float32")
    layer = layers.RandomCrop(6, 7)
    got = np.asarray(train(layer, place))
    assert got.shape == (3000, 6, 7, 1)
    top, left = np.divmod(got[:, 0, 0, 0], 8)
    counts = np.unique(top * 2 + left, return_counts=True)[1]
    assert len(counts) == 8
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_array_equal(got, (top * 8 + left)[:, None, None, None] + place[:, :6, :7])
    np.testing.assert_array_equal(layer(place, training=False), layers.CenterCrop(6, 7)(place))
    for size in ((9, 4), (12, 6), (3, 20)):  # as high, smaller
        one = layers.RandomCrop(*size)(X, training=False)
        np.testing.assert_allclose(one, layers.CenterCrop(*size)(X), atol=1e-3)
        assert layers.RandomCrop(*size)(X, training=True).shape == (5, *size, 3)


def test_elastic_transform_bends_what_it_says():
    layer = layers.RandomElasticTransform((1.0, 1.0), (0.5, 0.5))
    rows, columns = drawn(layer, (50, 40, 60, 1))
    dy = np.asarray(rows) - np.arange(40)[None, :, None]
    assert 0.1 < dy.std() < 10
    assert (np.asarray(columns).std((0,)) > 0).all()
    assert (np.asarray(drawn(layers.RandomElasticTransform(0.0), (5, 9, 8, 1))[0]) == np.arange(9)[:, None]).all()
    np.testing.assert_allclose(layers.RandomElasticTransform(scale=0.0)(X, training=True), X, rtol=1e-5)


def test_resizing_keeps_integers():
    with oracle() as keras:
        for how in ("bilinear", "nearest", "bicubic"):
            expected = keras.layers.Resizing(4, 5, how)(jnp.asarray(WHOLE))
            got = layers.Resizing(4, 5, how)(WHOLE)
            assert got.dtype == expected.dtype == "uint8"
            np.testing.assert_allclose(got, np.asarray(expected), atol=1)


# ---- policies --------------------------------------------------------------------------------------------------------


def test_rand_augment_gives_each_image_operations_of_its_own():
    layer = layers.RandAugment(num_ops=1, factor=(0.5, 0.5))
    same = np.broadcast_to(BYTES[:1], (220, 9, 8, 3))
    got = np.asarray(train(layer, same))
    assert len(np.unique(got.round(2), axis=0)) >= 11
    choice, places, _ = drawn(layer, same.shape)
    counts = np.bincount(np.asarray(choice)[0], minlength=11)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    still = (np.asarray(places)[0] == np.array([1, 0, 0, 0, 1, 0, 0, 0])).all(1)
    np.testing.assert_array_equal(still, np.asarray(choice)[0] > 2)


def test_a_step_of_a_policy_is_the_layer_it_names():
    layer = layers.RandAugment(num_ops=1)
    choice, places, others = jax.tree.map(lambda a: a[0], drawn(layer, X.shape))
    rest = iter(others)
    step = quickly_compiled(lambda x, given: layer.take_step(x, given, layer.steps))
    for i, (_, one) in enumerate(layer.steps.items()):
        mine = jnp.full_like(choice, i)
        if i < 3:
            moved = one.draw(KEY, X.shape)
            got = step(X, (mine, moved, others))
            np.testing.assert_allclose(got, one.change(jnp.asarray(X), moved), rtol=1e-4, atol=0.05)
        else:
            still = jnp.broadcast_to(jnp.array([[1.0, 0, 0, 0, 1, 0, 0, 0]]), places.shape)
            got = step(X, (mine, still, others))
            np.testing.assert_allclose(got, one.change(jnp.asarray(X), next(rest)), rtol=1e-5, atol=1e-3)


def test_aug_mix_is_a_mean_of_chains():
    layer = layers.AugMix(num_chains=2, chain_depth=1, all_ops=False)
    mix, weight, steps = drawn(layer, X.shape)
    np.testing.assert_allclose(mix.sum(1), 1.0, rtol=1e-5)
    nothing = (
        jnp.full_like(steps[0], 7),
        jnp.broadcast_to(jnp.array([1.0, 0, 0, 0, 1, 0, 0, 0]), steps[1].shape),
        steps[2],
    )
    change = quickly_compiled(layer.change)
    np.testing.assert_allclose(change(X, (mix, weight, nothing)), X, rtol=1e-4, atol=1e-3)
    inverted = (jnp.full_like(steps[0], 4), nothing[1], steps[2])
    got = change(X, (mix, jnp.zeros_like(weight), inverted))
    chains = (
        layer.steps["solarization"]
        .change(jnp.repeat(jnp.asarray(X), 2, 0), jax.tree.map(lambda a: a[0], steps[2][1]))
        .reshape(5, 2, 9, 8, 3)
    )
    np.testing.assert_allclose(got, np.einsum("bk,bkhwc->bhwc", mix, chains), rtol=1e-4, atol=1e-2)


def test_color_jitter_is_its_steps():
    layer = layers.RandomColorJitter((0, 1), 0.2, 0.3, 0.4, 0.1)
    d = drawn(layer)
    x = jnp.asarray(U)
    for kind, one in zip(("Brightness", "Contrast", "Saturation", "Hue"), d, strict=True):
        x = getattr(layers, f"Random{kind}")(0.5, (0, 1)).change(x, one)
    np.testing.assert_allclose(layer.change(jnp.asarray(U), d), x, atol=1e-6)


def test_pipeline_is_its_layers_and_goes_both_ways():
    def make(m: Any) -> Any:
        return m.Pipeline([m.Resizing(4, 5), m.RandomFlip("vertical", seed=1), m.Rescaling(0.5, offset=0.0)], name="p")

    ours = make(layers)
    with oracle() as keras:
        theirs = make(keras.layers)
        np.testing.assert_allclose(ours(X, training=False), theirs(X, training=False), rtol=1e-4)
        said = theirs.get_config()
        assert [d["class_name"] for d in type(theirs).from_config(ours.get_config()).get_config()["layers"]] == [
            "Resizing",
            "RandomFlip",
            "Rescaling",
        ]
    again = layers.Pipeline.from_config(said)
    assert again.name == "p"
    np.testing.assert_array_equal(train(again, X), train(ours, X))
    assert ours(layers.Input((9, 8, 3))).shape == (None, 4, 5, 3)
    flips = layers.Pipeline([layers.RandomFlip(), layers.RandomBrightness(0.1)])
    got = flips({"images": X, "labels": np.arange(5)})
    assert (got["images"] != X).any()
    np.testing.assert_array_equal(flips(X, training=False), X)


# ---- what every layer gets -------------------------------------------------------------------------------------------

MAKE = {
    "RandomFlip": lambda: layers.RandomFlip(),
    "RandomRotation": lambda: layers.RandomRotation(0.2),
    "RandomTranslation": lambda: layers.RandomTranslation(0.2, 0.2),
    "RandomZoom": lambda: layers.RandomZoom(0.2),
    "RandomShear": lambda: layers.RandomShear(0.2, 0.2),
    "RandomCrop": lambda: layers.RandomCrop(5, 5),
    "RandomPerspective": lambda: layers.RandomPerspective((1.0, 1.0)),
    "RandomElasticTransform": lambda: layers.RandomElasticTransform((1.0, 1.0)),
    "RandomErasing": lambda: layers.RandomErasing((1.0, 1.0)),
    "RandomBrightness": lambda: layers.RandomBrightness(0.2),
    "RandomContrast": lambda: layers.RandomContrast(0.2),
    "RandomHue": lambda: layers.RandomHue(0.2),
    "RandomSaturation": lambda: layers.RandomSaturation(0.4),
    "RandomColorJitter": lambda: layers.RandomColorJitter(brightness_factor=0.2),
    "RandomColorDegeneration": lambda: layers.RandomColorDegeneration(0.4),
    "RandomGrayscale": lambda: layers.RandomGrayscale(0.5),
    "RandomSharpness": lambda: layers.RandomSharpness(0.9),
    "RandomPosterization": lambda: layers.RandomPosterization((2, 4)),
    "RandomGaussianBlur": lambda: layers.RandomGaussianBlur((1.0, 1.0)),
    "RandomInvert": lambda: layers.RandomInvert(),
    "Solarization": lambda: layers.Solarization(0.3, 0.8),
    "MixUp": lambda: layers.MixUp(),
    "CutMix": lambda: layers.CutMix(),
    "RandAugment": lambda: layers.RandAugment(num_ops=1),
    "AugMix": lambda: layers.AugMix(num_chains=2, chain_depth=2, all_ops=False),
}
ALWAYS = {"AutoContrast", "CenterCrop", "ContrastLimitedAdaptiveHistogramEqualization", "Equalization", "Resizing"}


def test_every_layer_is_in_the_table():
    found = {n for n, c in vars(layers).items() if isinstance(c, type) and issubclass(c, BaseAugmentation)}
    assert found == MAKE.keys() | ALWAYS
    assert all(getattr(layers, n).always == (n in ALWAYS) for n in found)


@pytest.mark.parametrize("name", MAKE)
def test_draws_follow_the_key_the_seed_and_the_mode(name: str):
    layer, effects = MAKE[name](), []

    def observed(x, key):
        outcome = call(layer, {}, {}, (x,), mode=Mode.TRAIN, key=key)
        effects.extend(o.effect for o in outcome.observed.values())
        return outcome.output

    run = quickly_compiled(observed)
    x = run(WHOLE, KEY)
    assert effects == ["augmentation"]
    assert x.dtype == "float32"
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(run(WHOLE, KEY), x)
    assert (np.asarray(run(WHOLE, jax.random.key(8))) != x).any()
    seeded = type(layer)(**{**layer.get_config(), "seed": 5})
    assert (np.asarray(train(seeded, WHOLE)) != x).any()
    if name != "RandomCrop":
        np.testing.assert_array_equal(layer(WHOLE, training=False), WHOLE.astype("float32"))
    # A flag that is traced, and the gradient: one program for both modes.
    plain = np.asarray(layer(WHOLE, training=False))

    def by_flag(on, x):
        return call(layer, {}, {}, (x,), mode=ModeMap(Mode.INFER, effects={"augmentation": on}), key=KEY).output

    @quickly_compiled
    def both(x):
        gradient = jax.grad(lambda x: by_flag(jnp.array(True), x).sum())(x)
        return by_flag(jnp.array(True), x), by_flag(jnp.array(False), x), gradient

    on, off, gradient = both(jnp.asarray(BYTES))
    np.testing.assert_allclose(on, x, rtol=1e-4, atol=0.02 if name not in ("RandAugment", "AugMix") else 300)
    np.testing.assert_allclose(off, plain, rtol=1e-6)
    assert np.isfinite(gradient).all()


SOME = {"RandomTranslation", "RandomCrop", "RandomElasticTransform", "RandomErasing", "RandomHue", "RandAugment"}


@pytest.mark.parametrize("name", sorted(SOME | ALWAYS))
def test_one_image_and_channels_first_are_the_same_maths(name: str):
    layer = (
        MAKE[name]() if name in MAKE else getattr(layers, name)(*((5, 4) if name in ("CenterCrop", "Resizing") else ()))
    )
    layer = type(layer)(**{**layer.get_config(), "seed": 1, "name": "one"} if name in MAKE else layer.get_config())
    first = type(layer)(**{**layer.get_config(), "data_format": "channels_first"})
    expected = np.asarray(train(layer, BYTES[:1]))
    np.testing.assert_allclose(train(layer, BYTES[0]), expected[0], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(
        np.moveaxis(np.asarray(train(first, np.moveaxis(BYTES, -1, 1)))[:1], 1, -1),
        np.asarray(train(layer, BYTES))[:1],
        rtol=1e-5,
        atol=1e-3,
    )


def test_a_dictionary_goes_along():
    data = {"images": WHOLE, "labels": np.arange(5), "segmentation_masks": WHOLE[..., :1], "id": "a"}
    layer = layers.RandomTranslation((0.3, 0.3), 0.0, interpolation="nearest")
    got = layer(data)
    assert data["images"] is WHOLE
    assert got["id"] == "a"
    assert got["segmentation_masks"].dtype == "uint8"
    np.testing.assert_array_equal(got["segmentation_masks"], got["images"][..., :1].astype("uint8"))
    np.testing.assert_array_equal(got["labels"], np.arange(5))
    one = layers.RandomFlip()({"images": WHOLE[0], "segmentation_masks": WHOLE[0]})
    np.testing.assert_array_equal(one["images"], one["segmentation_masks"])
    kept = layers.RandomBrightness(0.3)(data)
    np.testing.assert_array_equal(kept["segmentation_masks"], data["segmentation_masks"])
    cropped = layers.RandomCrop(4, 4)(data, training=False)
    assert cropped["segmentation_masks"].shape == (5, 4, 4, 1)
    small = layers.Resizing(3, 3)(data)
    assert small["segmentation_masks"].shape == (5, 3, 3, 1)
    moved = layers.RandAugment(interpolation="nearest")(data)
    assert moved["segmentation_masks"].dtype == "uint8"


def test_outside_of_a_model_it_augments_and_in_a_model_it_follows_the_pass():
    layer = layers.RandomInvert((1.0, 1.0))
    np.testing.assert_allclose(layer(X), 255 - X)
    np.testing.assert_allclose(layer(X, training=True), 255 - X)
    np.testing.assert_array_equal(layer(X, training=False), X)
    model = verax.Sequential([verax.Input((9, 8, 3)), layers.RandomInvert((1.0, 1.0))])
    np.testing.assert_array_equal(model(X), X)
    np.testing.assert_array_equal(model.predict(X, verbose=0), X)
    np.testing.assert_allclose(model(X, training=True), 255 - X)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: layers.RandomRotation(2.0), InputError, "from -1 to 1"),
        (lambda: layers.RandomRotation((0.1, 0.2, 0.3)), InputError, "two of them"),
        (lambda: layers.RandomRotation(0.1, "edge"), UnknownNameError, "fill_mode"),
        (lambda: layers.RandomRotation(0.1, interpolation="cubic"), UnknownNameError, "interpolation"),
        (lambda: layers.RandomFlip("sideways"), UnknownNameError, "horizontal"),
        (lambda: layers.RandomFlip(seed=1.5), InputError, "a seed is an int"),
        (lambda: layers.RandomZoom(-1.0), InputError, "nothing of the image"),
        (lambda: layers.RandomBrightness(0.1, (3, 3)), InputError, "value_range"),
        (lambda: layers.RandomBrightness(0.1, 255), InputError, "value_range"),
        (lambda: layers.RandomPosterization(9), InputError, "from 1 to 8"),
        (lambda: layers.RandomGaussianBlur(kernel_size=4), InputError, "odd"),
        (lambda: layers.RandomErasing(fill_value="red"), InputError, "fill_value"),
        (lambda: layers.RandomErasing(fill_value=(1, 2))(X), ShapeError, "2 fill values for 3 channels"),
        (lambda: layers.MixUp(0.0), InputError, "alpha"),
        (lambda: layers.AugMix(alpha=-1), InputError, "alpha"),
        (lambda: layers.RandAugment(num_ops=0), InputError, "num_ops"),
        (lambda: layers.Equalization(bins=1), InputError, "bins"),
        (lambda: layers.Resizing(0, 3), InputError, "positive"),
        (lambda: layers.Resizing(3, 3, "cubic"), UnknownNameError, "interpolation"),
        (lambda: layers.Resizing(3, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), InputError, "alone"),
        (lambda: layers.CenterCrop(3, 3, "last"), UnknownNameError, "data_format"),
        (lambda: layers.RandomHue(0.1)(X[..., :1]), ShapeError, "1 channels"),
        (lambda: layers.RandomHue(0.1)(X[0, 0]), ShapeError, "3 axes"),
        (lambda: layers.RandomHue(0.1)({"image": X}), InputError, "a dictionary with"),
        (lambda: layers.RandomFlip()({"images": X, "bounding_boxes": {}}), InputError, "not moved"),
    ],
)
def test_what_cannot_be_is_said(make: Any, error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        make()


# ---- in fit, and explained -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("augment", "moved"),
    [
        (layers.RandomTranslation((0.5, 0.5), 0.0, "wrap"), lambda x: np.roll(x, 3, 1)),
        (layers.RandomRotation((0.25, 0.25)), lambda x: np.rot90(x, 1, (1, 2))),
        (layers.RandomTranslation(0.5, 0.5), None),
        (layers.RandomRotation(0.5), None),
    ],
    ids=["one translation", "one rotation", "translations", "rotations"],
)
def test_the_gap_names_augmentation_with_its_sign_and_amount(augment: Any, moved: Any):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6, 6, 1)).astype("float32")
    truth = rng.normal(size=(36, 1)).astype("float32")
    y = x.reshape(400, 36) @ truth
    verax.utils.set_random_seed(0)
    model = verax.Sequential([verax.Input((6, 6, 1)), augment, layers.Flatten(), layers.Dense(1, use_bias=False)])
    model.set_weights([truth])
    model.compile(verax.optimizers.SGD(1e-9), "mse")
    history = model.fit(x[:200], y[:200], validation_data=(x[200:], y[200:]), epochs=1, batch_size=50, verbose=0)
    amounts = history.gap("loss").by_cause()
    # The weights are the true ones: rows that are moved are predicted wrongly, plain rows are not.
    assert max(amounts, key=lambda cause: abs(amounts[cause])) is Cause.AUGMENTATION
    assert amounts[Cause.AUGMENTATION] < 0
    if moved is not None:
        wrong = moved(x[:200]).reshape(200, 36) @ truth - y[:200]
        assert amounts[Cause.AUGMENTATION] == pytest.approx(-np.mean(wrong**2), rel=1e-3)


def test_a_model_learns_through_augmentation_of_bytes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = (rng.integers(0, 100, (200, 8, 8, 3)) + 100 * y[:, None, None, None]).astype("uint8")
    verax.utils.set_random_seed(0)
    model = verax.Sequential(
        [
            verax.Input((8, 8, 3), dtype="uint8"),
            layers.Pipeline([layers.RandomFlip(), layers.RandomCrop(6, 6), layers.RandomContrast(0.1)]),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(verax.optimizers.Adam(0.03), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=12, batch_size=20, verbose=0)
    assert history.history["accuracy"][-1] > 0.95
