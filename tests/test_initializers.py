"""Initializers: the values of constants, the moments and bounds of draws."""

from __future__ import annotations

import doctest
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import initializers
from verax.errors import DtypeError, InputError, ShapeError, UnknownNameError
from verax.frame.seeds import set_random_seed

DRAWN = [
    "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "GlorotUniform", "GlorotNormal",
    "HeUniform", "HeNormal", "LecunUniform", "LecunNormal", "Orthogonal",
]  # fmt: skip
SHAPES = [(), (7,), (3, 2), (3, 3, 2, 4)]


def moments(x):
    x = np.asarray(x, "float64")
    return x.mean(), x.std(), x.min(), x.max()


@pytest.mark.parametrize("name", [n for n in DRAWN if n != "Orthogonal"])
def test_same_distribution_as_keras(name):
    shape = (3, 3, 40, 60)
    ours = np.sort(np.asarray(getattr(initializers, name)(seed=1)(shape)).ravel())
    with oracle() as keras:
        theirs = np.sort(np.asarray(getattr(keras.initializers, name)(seed=2)(shape)).ravel())
    # Kolmogorov-Smirnov: the largest distance of the two distribution functions, at a level of 1e-4.
    grid = np.concatenate([ours, theirs])
    n = len(ours)
    distance = np.abs(np.searchsorted(ours, grid, "right") - np.searchsorted(theirs, grid, "right")).max() / n
    assert distance < math.sqrt(-math.log(1e-4 / 2) / n)


SMALL = {"seed": 3}
#: name, arguments: every argument of what is drawn; the distribution and the configuration are compared.
ROWS = [
    ("RandomNormal", {"mean": 0.5, "stddev": 2.0, **SMALL}),
    ("RandomNormal", {"stddev": 0.01}),
    ("TruncatedNormal", {"mean": -1.0, "stddev": 0.5, **SMALL}),
    ("RandomUniform", {"minval": -2.0, "maxval": 1.0, **SMALL}),
    ("RandomUniform", {"minval": 0.0, "maxval": 0.5}),
    *(
        ("VarianceScaling", {"scale": scale, "mode": mode, "distribution": distribution})
        for scale, mode in ((1.0, "fan_in"), (2.0, "fan_out"), (0.5, "fan_avg"))
        for distribution in ("truncated_normal", "untruncated_normal", "uniform")
    ),
    ("VarianceScaling", {"input_axes": [0, 1], "output_axes": [3], **SMALL}),
    ("GlorotUniform", {"input_axes": [2], "output_axes": [0, 3]}),
    ("GlorotNormal", SMALL),
    ("HeUniform", SMALL),
    ("HeNormal", {"input_axes": [3], "output_axes": [2]}),
    ("LecunUniform", {"input_axes": [0, 2], "output_axes": [1]}),
    ("LecunNormal", SMALL),
]


@pytest.mark.parametrize(("name", "arguments"), ROWS, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_arguments(name, arguments):
    shape = (2, 3, 20, 30)
    made = getattr(initializers, name)(**arguments)
    ours = np.sort(np.asarray(made(shape)).ravel())
    with oracle() as keras:
        reference = getattr(keras.initializers, name)(**arguments)
        theirs = np.sort(np.asarray(reference(shape)).ravel())
        again = initializers.deserialize(keras.initializers.serialize(reference))
        back = keras.initializers.deserialize(initializers.serialize(made))
    grid = np.concatenate([ours, theirs])
    distance = np.abs(np.searchsorted(ours, grid, "right") - np.searchsorted(theirs, grid, "right")).max() / len(ours)
    assert distance < math.sqrt(-math.log(1e-4 / 2) / len(ours))
    assert again.get_config() == made.get_config() | ({} if "seed" in arguments else {"seed": again.seed})
    assert type(back).__name__ == name


FIXED = [
    ("Zeros", {}),
    ("Ones", {}),
    ("Constant", {"value": -1.5}),
    ("Constant", {"value": 0.0}),
    ("Identity", {}),
    ("Identity", {"gain": 0.3}),
    ("STFT", {}),
    ("STFT", {"side": "imag"}),
    ("STFT", {"window": "hamming"}),
    ("STFT", {"window": None}),
    ("STFT", {"scaling": "spectrum", "periodic": True}),
    ("STFT", {"scaling": None, "window": "blackman", "side": "imag"}),
    ("STFT", {"window": [0.1, 0.5, 1.0, 0.5, 0.2]}),
]


@pytest.mark.parametrize(("name", "arguments"), FIXED, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_what_is_not_drawn_is_that_of_keras(name, arguments):
    shape = (5, 1, 4) if name == "STFT" else (3, 4)
    made = getattr(initializers, name)(**arguments)
    with oracle() as keras:
        theirs = getattr(keras.initializers, name)(**arguments)
        np.testing.assert_allclose(made(shape), theirs(shape), rtol=1e-5, atol=1e-6)
        back = keras.initializers.deserialize(initializers.serialize(made))
        np.testing.assert_allclose(back(shape), theirs(shape))
        again = initializers.deserialize(keras.initializers.serialize(theirs))
    if (name, *arguments) != ("Identity", "gain"):  # Keras forgets it
        np.testing.assert_array_equal(again(shape), made(shape))


def test_stft_is_a_fourier_transform():
    x = np.random.default_rng(0).normal(size=8)
    parts = [np.asarray(initializers.STFT(side, window=None)((8, 1, 5)))[:, 0] for side in ("real", "imag")]
    np.testing.assert_allclose(x @ parts[0] + 1j * (x @ parts[1]), np.fft.rfft(x), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "n"), [("he", lambda i, o: i / 2), ("lecun", lambda i, o: i), ("glorot", lambda i, o: (i + o) / 2)]
)
@pytest.mark.parametrize("shape", [(200, 150), (3, 3, 40, 70)])
def test_variance_follows_the_fans(name, n, shape):
    window = math.prod(shape[:-2])
    variance = 1 / n(window * shape[-2], window * shape[-1])
    for kind, cut in (("uniform", math.sqrt(3)), ("normal", 2 / 0.87962566103423978)):
        mean, std, low, high = moments(initializers.get(f"{name}_{kind}")(shape))
        assert abs(mean) < 5 * math.sqrt(variance / math.prod(shape))
        assert std == pytest.approx(math.sqrt(variance), rel=0.02)
        assert -low <= cut * math.sqrt(variance) * (1 + 1e-6)
        assert high <= cut * math.sqrt(variance) * (1 + 1e-6)


def test_given_axes_are_the_fans():
    x = initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal", input_axes=[2], output_axes=[0, 1])(
        (20, 30, 50)
    )
    assert moments(x)[1] == pytest.approx(math.sqrt(1 / 50), rel=0.02)
    x = initializers.GlorotUniform(input_axes=[1, 2], output_axes=[0])((20, 30, 50))
    assert moments(x)[3] == pytest.approx(math.sqrt(6 / (1500 + 20)), rel=0.01)


@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8), (3, 3, 4, 10)])
def test_orthogonal(shape):
    q = np.asarray(initializers.Orthogonal(gain=2.0)(shape)).reshape(-1, shape[-1])
    gram = q @ q.T if q.shape[0] < q.shape[1] else q.T @ q
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_constants(shape):
    with oracle() as keras:
        for name, arguments in (("Zeros", {}), ("Ones", {}), ("Constant", {"value": 2.5})):
            ours = getattr(initializers, name)(**arguments)(shape)
            np.testing.assert_array_equal(ours, getattr(keras.initializers, name)(**arguments)(shape))
        for ints in (initializers.Zeros()(shape, "int32"), initializers.Constant(3)(shape, "int32")):
            assert ints.dtype == jnp.int32


def test_identity():
    np.testing.assert_array_equal(initializers.Identity(3.0)((2, 4)), 3 * np.eye(2, 4))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", [*DRAWN, "Zeros", "Ones", "Constant", "Identity"])
def test_shape_and_dtype_also_traced(name, dtype):
    initializer = getattr(initializers, name)()
    x = jax.eval_shape(lambda key: initializer((4, 6), dtype, key=key), jax.random.key(0))
    assert (x.shape, x.dtype, x.weak_type) == ((4, 6), jnp.dtype(dtype), False)


@pytest.mark.parametrize("name", DRAWN)
def test_where_the_randomness_comes_from(name):
    cls, shape = getattr(initializers, name), (4, 5)
    keys = jax.random.split(jax.random.key(0))
    same = np.testing.assert_array_equal
    same(cls(seed=3)(shape), cls(seed=3)(shape))
    same(cls(seed=3)(shape, key=keys[0]), cls(seed=3)(shape, key=keys[1]))
    same(cls()(shape, key=keys[0]), cls()(shape, key=keys[0]))
    assert not np.array_equal(cls()(shape, key=keys[0]), cls()(shape, key=keys[1]))
    unseeded = cls()
    assert not np.array_equal(unseeded(shape), unseeded(shape))
    set_random_seed(5)
    first = unseeded(shape)
    set_random_seed(5)
    same(unseeded(shape), first)


def test_every_name_of_keras():
    with oracle() as keras:
        names = set(keras.src.initializers.ALL_OBJECTS_DICT) - {"Initializer", "initializer"}
        public = {name for name in dir(keras.initializers) if not name.startswith("_")}
    assert public <= set(initializers.__all__)
    for name in names:
        assert isinstance(initializers.get(name), initializers.Initializer), name


@pytest.mark.parametrize("name", [*DRAWN, "Zeros", "Ones", "Constant", "Identity"])
def test_configuration(name):
    made = getattr(initializers, name)()
    config = initializers.serialize(made)
    with oracle() as keras:
        theirs = getattr(keras.initializers, name)().get_config()
    # Keras forgets Identity's gain.
    assert config["config"] == (theirs or made.get_config())
    again = initializers.deserialize(config)
    assert type(again) is type(made)
    assert initializers.serialize(again) == config


def test_a_function_or_an_array_serves():
    assert initializers.get(jnp.zeros) is jnp.zeros
    np.testing.assert_array_equal(initializers.get(np.arange(4.0))((4,)), np.arange(4.0))
    with pytest.raises(ShapeError, match="never broadcast"):
        initializers.get(np.arange(4.0))((2, 4))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: initializers.VarianceScaling(scale=0.0), InputError),
        (lambda: initializers.VarianceScaling(mode="fan"), InputError),
        (lambda: initializers.VarianceScaling(distribution="gamma"), InputError),
        (lambda: initializers.VarianceScaling(input_axes=[0]), InputError),
        (lambda: initializers.Identity()((3,)), ShapeError),
        (lambda: initializers.STFT("both"), InputError),
        (lambda: initializers.STFT(scaling="power"), InputError),
        (lambda: initializers.STFT(window="door"), InputError),
        (lambda: initializers.STFT()((3, 4)), ShapeError),
        (lambda: initializers.STFT(window=[1.0, 2.0])((3, 1, 4)), ShapeError),
        (lambda: initializers.Orthogonal()((3,)), ShapeError),
        (lambda: initializers.RandomNormal()((3,), "int32"), DtypeError),
        (lambda: initializers.get("glorot"), UnknownNameError),
    ],
)
def test_errors(make, error):
    with pytest.raises(error):
        make()


@pytest.mark.parametrize("module", ["", ".base", ".constant", ".random"])
def test_examples(module):
    names = {"jnp": jnp, "np": np}
    assert doctest.testmod(importlib.import_module("verax.initializers" + module), extraglobs=names).failed == 0
