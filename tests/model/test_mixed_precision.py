"""Half-precision policies against Keras': what is computed short, what stays float32, and what a float16 fit does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.model.twins import fit_both, rows, twins
from tests.oracle import oracle
from verax import config, mixed_precision, optimizers
from verax.engine.step import Pass
from verax.errors import UnknownNameError
from verax.frame.frame import call, values
from verax.frame.mode import Mode
from verax.frame.policy import DTypePolicy

POLICIES = ["mixed_bfloat16", "mixed_float16"]
#: Name of a layer -> (its arguments, the shape of its input). Integers go into an Embedding.
LAYERS = {
    "Dense": ({"units": 5, "activation": "gelu"}, (8, 6)),
    "Conv2D": ({"filters": 4, "kernel_size": 3, "padding": "same"}, (2, 6, 6, 3)),
    "BatchNormalization": ({}, (16, 5)),
    "LayerNormalization": ({}, (8, 6)),
    "LSTM": ({"units": 4, "return_sequences": True}, (3, 5, 4)),
    "Embedding": ({"input_dim": 9, "output_dim": 4}, (3, 7)),
}
#: A CPU's compiler takes seconds for each of these in bfloat16; both policies take the same way through them.
SLOW = {"mixed_bfloat16": {"Conv2D", "LSTM"}, "mixed_float16": set()}


def of(policy):
    return {name: case for name, case in LAYERS.items() if name not in SLOW[policy]}


def inputs():
    rng = np.random.default_rng(0)
    made = {}
    for name, (_, shape) in LAYERS.items():
        x = rng.integers(0, 9, shape).astype("int32") if name == "Embedding" else 2 + rng.normal(size=shape)
        made[name] = jnp.asarray(x if name == "Embedding" else x.astype("float32"))
    return made


#: Values are compared, not speeds: the compiler need not try.
QUICKLY = {"xla_backend_optimization_level": 0}


def of_keras(policy):
    """name -> (the layer's weights, its output, gradients, state after), all in one program."""
    with oracle() as keras:
        keras.utils.set_random_seed(0)
        models = {}
        for name, (arguments, shape) in of(policy).items():
            layer = getattr(keras.layers, name)(dtype=policy, **arguments)
            x = keras.Input(shape[1:], dtype="int32" if name == "Embedding" else "float32")
            models[name] = keras.Model(x, layer(x, **({"training": True} if "Batch" in name else {})))

        def loss(params, state):
            ends = {name: m.stateless_call(params[name], state[name], inputs()[name]) for name, m in models.items()}
            total = sum(jnp.sum(jnp.square(output.astype("float32"))) for output, _ in ends.values())
            return total, ends

        params = {name: [v.value for v in m.trainable_variables] for name, m in models.items()}
        state = {name: [v.value for v in m.non_trainable_variables] for name, m in models.items()}
        run = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICKLY)
        (_, ends), grads = run(params, state)
        return {name: (m.get_weights(), ends[name][0], grads[name], ends[name][1]) for name, m in models.items()}


@pytest.mark.parametrize("policy", POLICIES)
def test_layers_as_keras(policy):
    """To a few units of the short dtype's last place."""
    expected = of_keras(policy)
    layers = {}
    for name, (arguments, shape) in of(policy).items():
        layers[name] = getattr(verax.layers, name)(dtype=policy, **arguments)
        layers[name](verax.Input(shape[1:], dtype="int32" if name == "Embedding" else "float32"))
        layers[name].set_weights(expected[name][0])
    held = {name: values(layer) for name, layer in layers.items()}

    def loss(params):
        ends, key = {}, jax.random.key(0)
        for name, layer in layers.items():
            ends[name] = call(layer, params[name], held[name][1], (inputs()[name],), mode=Mode.TRAIN, key=key)
        total = sum(jnp.sum(jnp.square(end.output.astype("float32"))) for end in ends.values())
        return total, {name: (end.output, end.state) for name, end in ends.items()}

    run = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICKLY)
    (_, ends), grads = run({name: p for name, (p, _) in held.items()})
    short = DTypePolicy(policy).compute_dtype
    rounding = float(jnp.finfo(short).eps)
    for name, (params, state) in held.items():
        _, output, gradients, after = expected[name]
        assert ends[name][0].dtype == output.dtype == short, name
        kept = [*params.values(), *grads[name].values(), *ends[name][1].values()]
        assert {v.dtype.name for v in kept if jnp.issubdtype(v.dtype, jnp.floating)} <= {"float32"}, name
        pairs = [(ends[name][0], output), *zip([grads[name][p] for p in params], gradients, strict=True)]
        pairs += [(ends[name][1][p], v) for p, v in zip(state, after, strict=False) if jnp.shape(v) == state[p].shape]
        for i, (value, wanted) in enumerate(pairs):
            wanted = np.asarray(wanted, "float32").reshape(value.shape)
            size = np.abs(wanted).max()
            np.testing.assert_allclose(
                np.asarray(value, "float32"), wanted, atol=3 * rounding * size, rtol=0, err_msg=f"{name} {i}"
            )


def small(dtype, **compiled):
    def build(library):
        dense = library.layers.Dense
        model = library.Sequential([library.layers.Input((4,)), dense(8, "tanh", dtype=dtype), dense(1, dtype=dtype)])
        model.compile(loss="mse", **{"optimizer": library.optimizers.Adam(0.01), **compiled})
        return model

    return build


@pytest.fixture
def policy(request):
    """The global policy, in both libraries."""
    config.set_dtype_policy(request.param)
    with oracle() as keras:
        keras.config.set_dtype_policy(request.param)
    yield request.param
    config.set_dtype_policy(None)
    with oracle() as keras:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_a_fit_as_keras(policy):
    models = twins(small(None))
    x = rows()
    y = x[:, :1] - x[:, 1:2]
    expected, found = fit_both(models, x, y, batch_size=8, epochs=2)
    theirs, ours = models
    rounding = float(jnp.finfo(DTypePolicy(policy).compute_dtype).eps)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=4 * rounding)
    for value, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert value.dtype == np.float32
        # Adam steps by the rate whatever the gradient's size: the sign of a rounded one may differ.
        np.testing.assert_allclose(value, wanted, atol=0.02, rtol=0)
    assert ours.history.readings["loss"][-1].facts.dtype == DTypePolicy(policy).compute_dtype
    state = ours._model.compiled.opt_state
    assert isinstance(ours.optimizer, optimizers.LossScaleOptimizer)
    assert ours.optimizer.loss_scale(state) == float(theirs.optimizer.dynamic_scale)
    assert ours.optimizer.iterations(state) == int(theirs.optimizer.iterations)


def test_who_scales_the_loss():
    def scaled(dtype, **compiled):
        return isinstance(small(dtype, **compiled)(verax).optimizer, optimizers.LossScaleOptimizer)

    assert scaled("mixed_float16")
    assert not scaled("mixed_bfloat16")
    assert not scaled("mixed_float16", auto_scale_loss=False)
    assert not scaled("mixed_float16", optimizer=optimizers.SGD(loss_scale_factor=2.0))
    given = optimizers.LossScaleOptimizer(optimizers.SGD())
    assert small("mixed_float16", optimizer=given)(verax).optimizer is given


def test_small_gradients_arrive_and_an_overflow_is_refused():
    class Watched(verax.Layer):
        """x · weight / 1024, and the last mean of x, which an overflow must not reach."""

        def build(self, input_shape):
            self.seen = self.add_weight((), "zeros", trainable=False, name="seen", autocast=False)
            self.weight = self.add_weight((), "ones", name="weight")

        def call(self, x):
            self.seen.assign(jnp.mean(x.astype("float32")))
            return x * self.weight * jnp.asarray(2.0**-10, x.dtype)

    x, y = np.ones((24, 1), "float32"), np.zeros((24, 1), "float32")
    x[8:16] = 60000.0  # twice that is more than float16 holds
    double = verax.layers.Lambda(lambda x: x * jnp.asarray(2.0, x.dtype), dtype="mixed_float16")
    for scales in (True, False):
        model = verax.Sequential([verax.Input((1,)), double, Watched(dtype="mixed_float16")])
        model.compile(optimizers.SGD(2.0**15), "mse", loss_weights=2.0**-8, auto_scale_loss=scales)
        history = model.fit(x[:8], y[:8], batch_size=8, verbose=0)
        assert history.history["loss"] == [2.0**-26]  # as it is, not scaled
        # The gradient is 2^-8 · 2 · 2^-9 · 2^-9, to which each row brings 2^-29: nothing, in float16.
        assert 1.0 - model.get_weights()[0] == (2.0**-10 if scales else 0.0)
        if not scales:
            continue
        before, seen = model.get_weights()
        model.fit(x[8:], y[8:], batch_size=8, shuffle=False, verbose=0)
        state = model._model.compiled.opt_state
        assert (int(model.optimizer.skipped(state)), model.optimizer.iterations(state)) == (1, 2)
        after, still = model.get_weights()
        assert 0.0 < before - after < 2.0**-9
        assert (seen, still) == (2.0, 2.0)
        assert len([key for key in model.programs if key[0] == "train"]) == 1


def test_names():
    assert mixed_precision.Policy is mixed_precision.DTypePolicy is config.DTypePolicy
    mixed_precision.set_global_policy("mixed_float16")
    try:
        layer = verax.layers.Dense(1)
        assert (layer.compute_dtype, layer.dtype, layer.dtype_policy.name) == ("float16", "float32", "mixed_float16")
        assert DTypePolicy() == mixed_precision.global_policy() == DTypePolicy("mixed_float16")
        assert DTypePolicy.from_config(DTypePolicy().get_config()) == DTypePolicy()
    finally:
        mixed_precision.set_dtype_policy(None)
    assert verax.layers.Dense(1, dtype=DTypePolicy("mixed_bfloat16")).compute_dtype == "bfloat16"
    with pytest.raises(UnknownNameError, match="mixed_bfloat16"):
        DTypePolicy("mixed_float15")


def test_an_activity_penalty_does_not_overflow():
    layer = verax.layers.Activation("linear", dtype="mixed_float16", activity_regularizer="l2")
    outcome = call(layer, {}, {}, (jnp.full((2, 8), 300.0),), mode=Mode.TRAIN)
    assert float(sum(outcome.penalties.values())) == pytest.approx(0.01 * 8 * 300.0**2, rel=1e-3)


def test_a_train_step_of_ones_own_scales_the_loss():
    class Own(verax.Model):
        def __init__(self):
            super().__init__(dtype="mixed_float16")
            self.dense = verax.layers.Dense(1, dtype="mixed_float16")

        def call(self, x):
            return self.dense(x)

        def train_step(self, carry, batch, key, observe: Pass, optimizer):
            def loss(params):
                value, left = observe(params, carry.state, batch, key=key)
                return optimizer.scale_loss(value, carry.opt), left

            (_, (state, tallies)), grads = jax.value_and_grad(loss, has_aux=True)(carry.params)
            params, opt = optimizer.update(grads, carry.opt, carry.params)
            return carry._replace(params=params, state=state, opt=opt, step=carry.step + 1), tallies

    x = rows()
    histories = []
    for cls in (Own, None):
        verax.utils.set_random_seed(0)
        model = Own() if cls else verax.Sequential([verax.layers.Dense(1, dtype="mixed_float16")])
        model.build((None, 4))
        model.set_weights([np.ones((4, 1), "float32"), np.zeros(1, "float32")])
        model.compile(optimizers.SGD(0.1), "mse")
        histories.append(model.fit(x, x[:, :1], batch_size=10, shuffle=False, verbose=0, epochs=2).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-6)
