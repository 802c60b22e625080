"""The recurrences with hand-written gradients against the plain scan: values, gradients, masks, extremes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels import kernels
from verax import layers
from verax.frame.frame import pure, values
from verax.frame.mode import Mode
from verax.frame.speed import fast_kernels
from verax.ops import onednn

# Each program runs once: compiling it is the time these tests take.
quickly_compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RNG = np.random.default_rng(0)
B, T, F, UNITS = 3, 5, 4, 6
# With few features, with some, and with more than there are gates: an LSTM has a form for each.
INPUTS = {n: jnp.asarray(RNG.normal(size=(B, T, n)).astype("float32")) for n in (2, F, 30)}
X = INPUTS[F]
MASK = jnp.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)

# Options, whether the mask is given, whether the first state is.
CASES = [
    ({}, False, False),
    ({"return_sequences": True, "return_state": True}, False, True),
    ({"return_sequences": True}, True, False),
    ({"go_backwards": True, "use_bias": False, "return_state": True}, True, True),
    ({"go_backwards": True, "return_sequences": True, "dropout": 0.5}, False, False),
]


@pytest.fixture(autouse=True, params=["own", "onednn"])
def made_by(request, monkeypatch):
    """Everything through the forms of Verax, and through oneDNN wherever that takes a shape."""
    if request.param == "onednn" and not onednn._works():
        pytest.skip("this jaxlib has no oneDNN")
    monkeypatch.setattr(onednn, "_LEAST", 0 if request.param == "onednn" else 1 << 62)


def weighed(outputs) -> jax.Array:
    # Each output element counts differently, so that no gradient cancels.
    leaves = jax.tree.leaves(outputs)
    return sum(
        jnp.sum(jnp.sin(leaf + jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape) / 7)) for leaf in leaves
    )


def in_both_forms(function, *arguments):
    found = []
    for fast in (True, False):
        with kernels(fast):
            found.append(quickly_compiled(function)(*arguments))
    return found


on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the fast kernels are for the CPU")


@on_cpu
@pytest.mark.parametrize(("kind", "features"), [("LSTM", 2), ("LSTM", F), ("LSTM", 30), ("GRU", F)])
def test_values_and_gradients_of_the_fast_form(kind, features):
    x = INPUTS[features]
    made = [getattr(layers, kind)(UNITS, **{"seed": 1, **options}) for options, _, _ in CASES]
    for layer in made:
        layer(x)
        layer.set_weights([0.5 * RNG.normal(size=w.shape) for w in layer.weights])
    first = [jnp.asarray(RNG.normal(size=(B, UNITS)).astype("float32")) for _ in range(2 if kind == "LSTM" else 1)]
    params = [values(layer)[0] for layer in made]

    def outputs(params, x, first):
        return [
            pure(layer)(
                mine,
                {},
                x,
                mask=MASK if masked else None,
                initial_state=first if begun else None,
                mode=Mode.TRAIN,
                key=jax.random.key(1),
            )[0]
            for layer, mine, (_, masked, begun) in zip(made, params, CASES, strict=True)
        ]

    def both(params, x, first):
        return outputs(params, x, first), jax.grad(lambda *a: weighed(outputs(*a)), (0, 1, 2))(params, x, first)

    (fast, fast_gradients), (plain, plain_gradients) = in_both_forms(both, params, x, first)
    for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    for a, b in zip(jax.tree.leaves(fast_gradients), jax.tree.leaves(plain_gradients), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@on_cpu
@pytest.mark.parametrize("features", [2, F])
def test_extremes_nan_and_gradients_of_gradients(features):
    given = INPUTS[features]
    made = [layers.LSTM(UNITS), layers.GRU(UNITS, return_sequences=True)]
    for layer in made:
        layer(given)
    params = [values(layer)[0] for layer in made]
    inputs = {
        "large": given * 1e4,
        "infinite": given.at[0, 1, 0].set(jnp.inf),
        "nan": given.at[1, 2, 1].set(jnp.nan),
        "one": given[:, :1],
    }

    def loss(params, x):
        return weighed([pure(a)(p, {}, x, mode=Mode.TRAIN)[0] for a, p in zip(made, params, strict=True)])

    def both(params):
        found = {name: jax.grad(loss, (0, 1))(params, x) for name, x in inputs.items()}
        steep = jax.grad(lambda p: weighed(jax.grad(loss)(p, given)))(params)
        return found, steep, {name: loss(params, x) for name, x in inputs.items()}

    fast, plain = in_both_forms(both, params)
    for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    assert np.isnan(fast[2]["nan"])
    assert np.isnan(fast[0]["nan"][0][0]["lstm_cell/kernel"]).any()


def test_other_activations_and_recurrent_dropout_take_the_plain_form():
    text = []
    for options in ({}, {"activation": "relu"}, {"recurrent_dropout": 0.5}, {"reset_after": False}):
        layer = layers.GRU(UNITS, **options)
        layer(X)
        text.append(
            str(
                jax.make_jaxpr(lambda p, layer=layer: pure(layer)(p, {}, X, mode=Mode.TRAIN, key=jax.random.key(0)))(
                    values(layer)[0]
                )
            )
        )
    assert ["custom_vjp" in t for t in text] == [fast_kernels(), False, False, False]
