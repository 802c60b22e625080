"""Functions and modules of other JAX libraries: as Keras' layers of the same names compute them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import InputError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype("float32")
PARAMS = {"w": RNG.normal(size=(4, 3)).astype("float32"), "inner": [np.float32([0.5, -1.0, 2.0])]}
STATE = {"calls": 0, "mean": np.zeros(3, "float32")}


def stateful(params, state, rng, inputs, training):
    y = inputs @ params["w"] + params["inner"][0][None]
    mean = jnp.where(training, 0.5 * state["mean"] + 0.5 * y.mean(0), state["mean"])
    calls = state["calls"] + 1 if training else state["calls"]
    return y - mean[None], {"calls": calls, "mean": mean}


def made(rng, inputs):
    return {"w": jax.random.normal(rng, (inputs.shape[-1], 3))}


def test_values_outputs_and_state_are_those_of_keras():
    ours = layers.JaxLayer(stateful, params=PARAMS, state=STATE)
    with oracle() as keras:
        theirs = keras.layers.JaxLayer(stateful, params=PARAMS, state=STATE)
        infer, train = theirs(X), theirs(X, training=True)
        weights = [(w.path.split("/")[-1], np.asarray(w)) for w in theirs.weights]
    np.testing.assert_allclose(ours(X), infer, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours(X, training=True), train, rtol=1e-5, atol=1e-6)
    assert len(ours.weights) == len(weights)
    for mine, (_, value) in zip(ours.weights, weights, strict=True):
        np.testing.assert_allclose(mine, value, rtol=1e-5, atol=1e-6)
    assert [w.path for w in ours.weights] == [name for name, _ in weights]
    assert [w.trainable for w in ours.weights] == [True, True, False, False]


def test_first_values_come_from_init_fn():
    layer = layers.JaxLayer(lambda params, inputs: inputs @ params["w"], made, seed=7)
    assert layer(layers.Input((4,))).shape == (None, 3)
    again = layers.JaxLayer(lambda params, inputs: inputs @ params["w"], made, seed=7)
    np.testing.assert_array_equal(again(X), layer(X))
    other = layers.JaxLayer(lambda params, inputs: inputs @ params["w"], made)
    assert not np.array_equal(other(X), layer(X))


def test_it_trains():
    def init_fn(rng, inputs, training):
        return {"w": jax.random.normal(rng, (4, 1))}, {"seen": jnp.zeros(())}

    def call_fn(params, state, inputs):
        return inputs @ params["w"], {"seen": state["seen"] + 1.0}

    layer = layers.JaxLayer(call_fn, init_fn)
    model = verax.Sequential([layers.Input((4,)), layer])
    model.compile(verax.optimizers.SGD(0.1), "mse")
    y = X @ np.float32([[1], [2], [3], [4]])
    history = model.fit(X, y, batch_size=3, epochs=50, verbose=0)
    assert history.history["loss"][-1] < 0.05 * history.history["loss"][0]
    assert float(layer.non_trainable_weights[0]) == 100.0
    before = layer.get_weights()
    model.evaluate(X, y, verbose=0)
    np.testing.assert_array_equal(layer.get_weights()[1], before[1])


def test_draws_come_in_training_only():
    seen = []

    def call_fn(rng, inputs, training):
        seen.append((rng is None, training))
        return inputs if rng is None else jnp.where(jax.random.bernoulli(rng, 0.5, inputs.shape), inputs, 0.0)

    layer = layers.JaxLayer(call_fn, seed=3)
    np.testing.assert_array_equal(layer(X), X)
    assert 0.2 < float(jnp.mean(layer(X, training=True) == 0)) < 0.8
    assert seen == [(True, False), (False, True)]


@jax.tree_util.register_pytree_node_class
@dataclass
class Affine:
    """What an Equinox module is to JAX: a structure of its arrays and functions."""

    w: Any
    b: Any
    activation: Any = jnp.tanh

    def __call__(self, x):
        return self.activation(x @ self.w + self.b)

    def tree_flatten(self):
        return (self.w, self.b, self.activation), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


def test_a_module_that_is_a_structure_of_arrays():
    module = Affine(jnp.asarray(PARAMS["w"]), jnp.zeros(3))
    layer = layers.JaxLayer(lambda params, inputs: jax.vmap(params)(inputs), params=module)
    np.testing.assert_allclose(layer(X), np.tanh(X @ PARAMS["w"]), rtol=1e-5, atol=1e-6)
    assert [w.shape for w in layer.weights] == [(4, 3), (3,)]
    half = layers.JaxLayer(lambda params, inputs: jax.vmap(params)(inputs), params=module, dtype="mixed_bfloat16")
    assert half(X).dtype == jnp.bfloat16


def test_whole_numbers_among_the_parameters_are_not_trained():
    layer = layers.JaxLayer(lambda params, inputs: inputs * params["n"], params={"n": 3})
    assert [(w.trainable, w.dtype) for w in layer.weights] == [(False, "int32")]


class Linen:
    """What a module of flax.linen offers to the layer: init and apply on collections."""

    def init(self, rngs, x, method=None, **mode):
        return {
            "params": {"w": jax.random.normal(rngs["params"], (x.shape[-1], 2))},
            "batch_stats": {"mean": jnp.zeros(2)},
        }

    def apply(self, variables, x, rngs=None, method=None, mutable=False, training=False):
        if method is not None:
            return getattr(self, method)(x), {}
        y = x @ variables["params"]["w"]
        if training:
            assert set(rngs) == {"dropout"}
            assert mutable == ["batch_stats"]
            return y, {"batch_stats": {"mean": y.mean(0)}}
        return y - variables["batch_stats"]["mean"][None], {}

    def __call__(self, x, training=False): ...

    def double(self, x):
        return 2 * x


def test_a_flax_module():
    layer = layers.FlaxLayer(Linen())
    y = layer(X, training=True)
    np.testing.assert_allclose(layer(X), y - y.mean(0)[None], rtol=1e-5, atol=1e-5)
    assert [(w.trainable, w.shape) for w in layer.weights] == [(True, (4, 2)), (False, (2,))]
    variables = {"params": {"w": np.ones((4, 2), "float32")}, "batch_stats": {"mean": np.ones(2, "float32")}}
    given = layers.FlaxLayer(Linen(), variables=variables)
    np.testing.assert_allclose(given(X), X @ np.ones((4, 2)) - 1, rtol=1e-5, atol=1e-5)


def test_a_method_of_a_flax_module():
    module = Linen()
    layer = layers.FlaxLayer(module, method="double", variables={})
    np.testing.assert_array_equal(layer(X), 2 * X)
    config = layer.get_config()
    assert (config["module"], config["method"], "variables" in config) == (module, "double", False)
    assert layers.FlaxLayer(module, method=module.double, variables={}).get_config()["method"] == "double"


def test_real_flax_modules():
    linen = pytest.importorskip("flax.linen")

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, training=False):
            x = linen.BatchNorm(use_running_average=not training, momentum=0.5)(linen.Dense(3)(x))
            return linen.Dropout(0.5, deterministic=not training)(x)

    layer = layers.FlaxLayer(Net())
    assert layer(layers.Input((4,))).shape == (None, 3)
    variables = Net().init(jax.random.key(0), X)
    flat = jax.tree.leaves({"params": variables["params"]}) + jax.tree.leaves(variables["batch_stats"])
    layer.set_weights(flat)
    np.testing.assert_allclose(layer(X), Net().apply(variables, X), rtol=1e-5, atol=1e-6)
    model = verax.Sequential([layers.Input((4,)), layer])
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((6, 3)), verbose=0)
    assert not np.allclose(layer.non_trainable_weights[0], 0)


def test_real_modules_of_nnx():
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self):
            self.dense, self.norm = nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, momentum=0.5, rngs=nnx.Rngs(1))

        def __call__(self, x):
            return self.norm(self.dense(x))

    module = Net()
    graph, params, state = nnx.split(module, nnx.Param, ...)

    def call_fn(params, state, inputs, training):
        module = nnx.merge(graph, params, state)
        module.train() if training else module.eval()
        outputs = module(inputs)
        return outputs, nnx.split(module, nnx.Param, ...)[2]

    layer = layers.JaxLayer(call_fn, params=params, state=state)
    module.train()
    np.testing.assert_allclose(layer(X, training=True), module(jnp.asarray(X)), rtol=1e-5, atol=1e-6)
    module.eval()
    np.testing.assert_allclose(layer(X), module(jnp.asarray(X)), rtol=1e-5, atol=1e-6)
    assert sum(w.trainable for w in layer.weights) == 4


def test_real_equinox_modules():
    equinox = pytest.importorskip("equinox")
    module = equinox.nn.MLP(4, 3, 5, 1, key=jax.random.key(0))
    layer = layers.JaxLayer(lambda params, inputs: jax.vmap(params)(inputs), params=module)
    np.testing.assert_allclose(layer(X), jax.vmap(module)(X), rtol=1e-5, atol=1e-6)
    assert layer.count_params() == 4 * 5 + 5 + 5 * 3 + 3


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: layers.JaxLayer(lambda x: x), "it takes inputs"),
        (lambda: layers.JaxLayer(lambda inputs, key: inputs), "Name its parameters so"),
        (lambda: layers.JaxLayer(lambda params, inputs: inputs), "call_fn takes params"),
        (lambda: layers.JaxLayer(lambda inputs: inputs, lambda rng: {}), "init_fn"),
        (lambda: layers.JaxLayer(lambda inputs: inputs, native_serialization_platforms=["cpu"]), "TensorFlow"),
        (lambda: layers.JaxLayer(lambda params, inputs: inputs, params=jax.random.key(0)), "a key among them"),
        (lambda: layers.FlaxLayer(lambda x: x), "init and apply"),
    ],
)
def test_wrong_arguments(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_a_new_state_of_another_structure_is_refused():
    layer = layers.JaxLayer(lambda state, inputs: (inputs, {"b": state["a"]}), state={"a": np.float32(0)})
    with pytest.raises(InputError, match="structure"):
        layer(X, training=True)


def test_configuration_leaves_values_out():
    layer = layers.JaxLayer(stateful, made, PARAMS, STATE, name="bridge")
    assert layer.get_config() == {"name": "bridge", "call_fn": stateful, "init_fn": made}
    assert layers.JaxLayer.from_config(layer.get_config()).name == "bridge"
