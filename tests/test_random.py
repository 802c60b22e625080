"""Random numbers: Keras' own where a seed is given, the pass's inside of a call, the right distributions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import verax
from tests.oracle import oracle
from verax import layers, random
from verax.errors import FrameError, InputError

LOGITS = np.log(np.float32([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]]))
X = np.arange(24, dtype="float32").reshape(4, 6) + 1

CALLS = {
    "normal": lambda r, s: r.normal((3, 4), 1.0, 2.0, seed=s),
    "normal, half": lambda r, s: r.normal(shape=(3, 4), mean=1.0, dtype="bfloat16", seed=s),
    "uniform": lambda r, s: r.uniform((3, 4), minval=-1.0, maxval=3.0, seed=s),
    "truncated_normal": lambda r, s: r.truncated_normal((3, 4), stddev=0.5, seed=s),
    "categorical": lambda r, s: r.categorical(LOGITS, 5, seed=s),
    "categorical, uint8": lambda r, s: r.categorical(logits=LOGITS, num_samples=5, dtype="uint8", seed=s),
    "randint": lambda r, s: r.randint((3, 4), minval=-2, maxval=9, seed=s),
    "gamma": lambda r, s: r.gamma((3, 4), 2.0, seed=s),
    "gamma, each": lambda r, s: r.gamma((3, 2), alpha=np.float32([0.5, 2.0]), seed=s),
    "beta": lambda r, s: r.beta((3, 4), 2.0, 0.5, seed=s),
    "binomial": lambda r, s: r.binomial((3, 4), 10, 0.3, seed=s),
    "binomial, each": lambda r, s: r.binomial((3, 2), counts=[4, 9], probabilities=[0.5, 0.1], seed=s),
    "dropout": lambda r, s: r.dropout(X, 0.3, seed=s),
    "dropout, rows": lambda r, s: r.dropout(X, 0.3, noise_shape=(None, 1), seed=s),
    "dropout, none": lambda r, s: r.dropout(X, 0, seed=s),
    "dropout, all": lambda r, s: r.dropout(X, 1.0, seed=s),
    "shuffle": lambda r, s: r.shuffle(X, seed=s),
    "shuffle, columns": lambda r, s: r.shuffle(X, axis=1, seed=s),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("seed", [0, 1337, 2**31 + 5])
def test_numbers_of_a_seed_are_keras_own(call: str, seed: int):
    with oracle() as keras:
        expected = np.asarray(CALLS[call](keras.random, seed))
    got = CALLS[call](random, seed)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(np.asarray(got, "float32"), np.asarray(expected, "float32"), rtol=1e-6)


def test_numbers_of_a_generator_are_keras_own():
    with oracle() as keras:
        theirs = keras.random.SeedGenerator(11)
        expected = [np.asarray(keras.random.normal((3,), seed=theirs)) for _ in range(3)]
        config = theirs.get_config()
    generator = random.SeedGenerator(11)
    got = [random.normal((3,), seed=generator) for _ in range(3)]
    np.testing.assert_array_equal(got, expected)
    assert set(generator.get_config()) == set(config)
    assert generator.state.tolist() == [11, 3]
    again = random.SeedGenerator.from_config(generator.get_config())
    np.testing.assert_array_equal(random.normal((3,), seed=again), expected[0])


def test_without_a_seed_numbers_follow_the_global_one():
    verax.utils.set_random_seed(3)
    first = [random.normal((3,)), random.uniform((3,))]
    verax.utils.set_random_seed(3)
    second = [random.normal((3,)), random.uniform((3,))]
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(random.normal((3,)), first[0])
    a, b = random.SeedGenerator(), random.SeedGenerator()
    assert not np.array_equal(random.normal((3,), seed=a), random.normal((3,), seed=b))


@pytest.mark.parametrize("seed", [jnp.uint32([3, 4]), jax.random.key(5), np.uint32([3, 4])])
def test_a_key_of_jax_is_a_seed(seed):
    key = seed if jnp.shape(seed) == () else jax.random.wrap_key_data(jnp.asarray(seed))
    np.testing.assert_array_equal(random.normal((3,), seed=seed), jax.random.normal(key, (3,)))
    np.testing.assert_array_equal(
        jax.jit(lambda k: random.normal((3,), seed=k))(jnp.asarray(seed)), random.normal((3,), seed=seed)
    )


DISTRIBUTIONS = [
    (lambda n: random.normal((n,), 1.0, 2.0), stats.norm(1, 2)),
    (lambda n: random.uniform((n,), -1.0, 3.0), stats.uniform(-1, 4)),
    (lambda n: random.truncated_normal((n,), 1.0, 0.5), stats.truncnorm(-2, 2, 1, 0.5)),
    (lambda n: random.gamma((n,), 2.5), stats.gamma(2.5)),
    (lambda n: random.beta((n,), 2.0, 0.5), stats.beta(2.0, 0.5)),
]


@pytest.mark.parametrize(
    ("draw", "distribution"), DISTRIBUTIONS, ids=lambda v: getattr(getattr(v, "dist", 0), "name", "")
)
def test_distributions(draw, distribution):
    assert stats.kstest(np.asarray(draw(4000), "float64"), distribution.cdf).pvalue > 1e-3


def test_distributions_of_counts():
    n = 6000
    drawn = np.asarray(random.binomial((n,), 10, 0.3))
    assert abs(drawn.mean() - 3) < 0.1
    assert abs(drawn.var() - 2.1) < 0.2
    shares = np.bincount(np.asarray(random.categorical(LOGITS, n))[0], minlength=3) / n
    np.testing.assert_allclose(shares, [0.1, 0.6, 0.3], atol=0.03)
    whole = np.asarray(random.randint((n,), 2, 5))
    np.testing.assert_allclose(np.bincount(whole) / n, [0, 0, 1 / 3, 1 / 3, 1 / 3], atol=0.03)
    kept = np.asarray(random.dropout(np.ones(n, "float32"), 0.25))
    assert set(np.unique(kept)) == {0, np.float32(1 / 0.75)}
    assert abs(kept.mean() - 1) < 0.03
    assert sorted(np.asarray(random.shuffle(np.arange(9))).tolist()) == list(range(9))


class Noisy(layers.Layer):
    """Adds noise in every mode, as a sampling layer does."""

    def __init__(self, seed=None):
        super().__init__()
        self.seed = seed
        self.generator = random.SeedGenerator(seed) if isinstance(seed, int) else None

    def call(self, x):
        return x + random.normal(x.shape, seed=self.generator) + random.uniform(x.shape, seed=self.generator)


@pytest.mark.parametrize("seed", [None, 5])
def test_a_layer_draws_from_the_pass(seed):
    layer = Noisy(seed)
    layer(np.zeros((1, 3), "float32"))
    run = jax.jit(lambda x, key: verax.pure(layer)({}, {}, x, mode=verax.Mode.INFER, key=key)[0])
    x = jnp.zeros((2, 3))
    one, again, other = run(x, jax.random.key(1)), run(x, jax.random.key(1)), run(x, jax.random.key(2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    another = Noisy(6)
    another(x)
    changed = verax.pure(another)({}, {}, x, mode=verax.Mode.INFER, key=jax.random.key(1))[0]
    assert not np.allclose(one, changed)
    assert layer(x).shape == (2, 3)  # eagerly, in inference too
    assert not np.allclose(layer(x), layer(x))


def test_draws_do_not_depend_on_the_feeding():
    def trained(**given):
        verax.utils.set_random_seed(1)
        model = verax.Sequential([verax.Input((6,)), Noisy(), layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=given.pop("eager", False))
        source = iter([(X[:2], X[:2, :1]), (X[2:], X[2:, :1])]) if given.pop("stream", False) else (X, X[:, :1])
        data = (source,) if not isinstance(source, tuple) else source
        model.fit(*data, verbose=0, shuffle=False, explain="off", **given)
        return model.layers[-1].kernel.numpy()

    reference = trained(batch_size=2)
    np.testing.assert_allclose(trained(batch_size=2, eager=True), reference, rtol=1e-5)
    np.testing.assert_allclose(trained(stream=True), reference, rtol=1e-5)


def test_in_a_functional_model():
    x = verax.Input((6,))
    model = verax.Model(x, random.dropout(x, 0.5) * 1.0)
    y = model.predict(X, verbose=0)
    assert 0 < (y == 0).mean() < 1
    np.testing.assert_allclose(y[y != 0], 2 * X[y != 0])


def test_what_would_be_the_same_in_every_run_is_refused():
    with pytest.raises(FrameError, match="without a seed inside a jax transformation"):
        jax.jit(lambda: random.normal((3,)))()
    generator = random.SeedGenerator(1)
    with pytest.raises(FrameError, match="asked for a seed"):
        jax.jit(lambda: random.normal((3,), seed=generator))()
    jax.jit(lambda: random.normal((3,), seed=4))()
    assert jnp.isfinite(jax.grad(lambda a: random.normal((), seed=None) * a)(1.0))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: random.normal((2,), seed="one"), "seed='one'"),
        (lambda: random.SeedGenerator("one"), "a seed is an int"),
        (lambda: random.dropout(X, 1.5), "rate=1.5"),
        (lambda: random.categorical(X[0], 2), "batch, classes"),
    ],
)
def test_a_wrong_argument_is_named(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_all_of_keras_random_is_there():
    with oracle() as keras:
        assert {n for n in dir(keras.random) if not n.startswith("_")} == set(random.__all__)
