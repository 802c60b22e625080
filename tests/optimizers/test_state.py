"""The optimizer's state: arrays only, of stable dtypes, and a rate that changes without recompiling."""

from __future__ import annotations

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.oracle import oracle
from verax import optimizers
from verax.errors import FrozenError, InputError, UnknownNameError
from verax.optimizers import schedules

ALL = [
    "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Muon", "Nadam",
    "RMSprop", "ScheduleFreeAdamW",
]  # fmt: skip
EVERYTHING = {
    "learning_rate": schedules.CosineDecay(0.1, 10),
    "weight_decay": 0.1,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_overwrite_frequency": 3,
    "gradient_accumulation_steps": 2,
}


def params(dtype="float32"):
    return {"a/kernel": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3).astype(dtype), "a/bias": jnp.ones(3, dtype)}


def grads(dtype="float32"):
    return {"a/kernel": jnp.linspace(0.1, 2.0, 6).reshape(2, 3).astype(dtype), "a/bias": jnp.full(3, -0.5, dtype)}


def signature(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype.name, x.weak_type), tree)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("name", ALL)
def test_a_step_keeps_structure_and_dtypes(name, options, dtype):
    optimizer = getattr(optimizers, name)(**options)
    state = jax.eval_shape(optimizer.init, params(dtype))
    assert (state.step.dtype, state.hyperparams["learning_rate"].dtype) == (jnp.int32, jnp.float32)
    new, after = jax.eval_shape(optimizer.update, grads("float32"), state, params(dtype))
    assert signature(new) == signature(params(dtype))
    assert signature(after) == signature(state)


@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9}), ("Adam", EVERYTHING), ("Nadam", {})])
def test_a_scan_and_single_steps_agree(name, options):
    optimizer = getattr(optimizers, name)(**options)
    state = optimizer.init(params())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))

    def step(carry, _):
        p, s = carry
        return optimizer.update(grads(), s, p), None

    (scanned, after), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=5))((params(), state))
    assert optimizer.iterations(after) == 5 // options.get("gradient_accumulation_steps", 1)
    stepped, single, update = params(), state, jax.jit(optimizer.update)
    for _ in range(5):
        stepped, single = update(grads(), single, stepped)
    for path, value in stepped.items():
        np.testing.assert_allclose(scanned[path], value, rtol=1e-6)


def test_a_new_rate_does_not_recompile():
    optimizer = optimizers.Adam(0.1)
    traces = []

    @jax.jit
    def update(g, s, p):
        traces.append(1)
        return optimizer.update(g, s, p)

    state = optimizer.init(params())
    first, _ = update(grads(), state, params())
    second, _ = update(grads(), optimizer.with_learning_rate(state, 0.2), params())
    assert len(traces) == 1
    moved = [first["a/bias"] - 1.0, second["a/bias"] - 1.0]
    np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-5)


def test_setting_the_rate_before_training():
    optimizer = optimizers.SGD(0.5)
    assert optimizer.learning_rate == 0.5
    optimizer.learning_rate = np.float32(0.25)
    assert optimizer.learning_rate == 0.25
    assert optimizer.current_learning_rate(optimizer.init(params())) == 0.25
    assert optimizer.get_config()["learning_rate"] == 0.25


def test_a_scheduled_rate_cannot_be_set_but_a_schedule_can():
    optimizer = optimizers.SGD(0.5)
    state = optimizer.init(params())
    optimizer.learning_rate = schedules.ExponentialDecay(1.0, 1, 0.5)
    # the state has the same structure with and without a schedule, so a run can go on
    _, state = optimizer.update(grads(), state, params())
    assert float(state.hyperparams["learning_rate"]) == 1.0
    assert optimizer.current_learning_rate(state) == 0.5
    with pytest.raises(FrozenError, match="follows a schedule"):
        optimizer.learning_rate = 0.1
    with pytest.raises(FrozenError, match="follows a schedule"):
        optimizer.with_learning_rate(state, 0.1)


def test_an_optax_schedule_is_a_rate():
    optimizer = optimizers.SGD(optax.linear_schedule(1.0, 0.0, 4))
    state = optimizer.init(params())
    p, rates = params(), []
    for _ in range(3):
        rates.append(optimizer.current_learning_rate(state))
        p, state = optimizer.update(grads(), state, p)
    assert rates == [1.0, 0.75, 0.5]


def test_a_rate_without_a_step_is_refused():
    with pytest.raises(InputError, match="takes the step"):
        optimizers.SGD(lambda: 0.1)
    with pytest.raises(InputError, match="A learning rate is"):
        optimizers.SGD("fast")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.SGD(clipnorm=1.0, clipvalue=1.0), "one way"),
        (lambda: optimizers.SGD(clipvalue=0.0), "positive"),
        (lambda: optimizers.SGD(momentum=1.5), "momentum"),
        (lambda: optimizers.SGD(weight_decay=-1.0), "weight_decay"),
        (lambda: optimizers.SGD(ema_overwrite_frequency=2), "use_ema"),
        (lambda: optimizers.SGD(use_ema=True, ema_momentum=2.0), "ema_momentum"),
        (lambda: optimizers.SGD(gradient_accumulation_steps=1), "gradient_accumulation_steps"),
        (lambda: optimizers.AdamW(weight_decay=None), "weight_decay"),
        (lambda: optimizers.Lion(beta_1=0.0), "beta_1"),
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps"),
        (lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2]), "one value more"),
        (lambda: schedules.CosineDecay(0.1, 10, warmup_steps=5), "warmup_target"),
        (lambda: schedules.CosineDecayRestarts(0.1, 10, t_mul=0.5), "t_mul"),
        (lambda: optimizers.get(print), "An optimizer is"),
        (lambda: optimizers.get(optax.sgd(0.1)), "An optimizer is"),
    ],
)
def test_errors(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_an_unknown_argument_is_an_error():
    with pytest.raises(TypeError, match="decay_rate"):
        optimizers.Adam(decay_rate=0.1)


def test_gradients_and_parameters_must_match():
    optimizer = optimizers.SGD()
    with pytest.raises(InputError, match="a/bias"):
        optimizer.update({"a/kernel": grads()["a/kernel"]}, optimizer.init(params()), params())


@pytest.mark.parametrize("name", ALL)
def test_names_and_configurations(name):
    cls = getattr(optimizers, name)
    for identifier in (name, name.lower(), name.upper(), cls, {"class_name": name, "config": {}}):
        assert type(optimizers.get(identifier)) is cls
    made = cls(**EVERYTHING)
    made.exclude_from_weight_decay(var_list=["a/bias"])
    config = optimizers.serialize(made)
    again = optimizers.deserialize(config)
    assert optimizers.serialize(again) == config
    assert type(again.learning_rate) is schedules.CosineDecay
    assert made is optimizers.get(made)


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="adamw"):
        optimizers.get("adamv")


def test_exclusion_by_path_and_by_expression():
    class Variable:
        path = "a/bias"

    for arguments in ({"var_list": [Variable()]}, {"var_list": ["a/bias"]}, {"var_names": ["bias$", "norm"]}):
        optimizer = optimizers.SGD(1.0, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(**arguments)
        zeros = jax.tree.map(jnp.zeros_like, params())
        new, _ = optimizer.update(zeros, optimizer.init(params()), params())
        np.testing.assert_allclose(new["a/bias"], params()["a/bias"])
        np.testing.assert_allclose(new["a/kernel"], 0.5 * params()["a/kernel"])


@pytest.mark.parametrize("t_mul", [1.25, 2.0, 10.0])
def test_restarts_fall_on_their_steps(t_mul):
    first = 4**6 if t_mul == 1.25 else 3
    starts = np.array([round(first * (t_mul**period - 1) / (t_mul - 1)) for period in range(6)], "int32")
    ours = schedules.CosineDecayRestarts(1.0, first, t_mul=t_mul)
    np.testing.assert_allclose(jax.jit(jax.vmap(ours))(starts), 1.0, atol=1e-6)
    if t_mul == 10.0:  # where Keras is said to differ, it does
        with oracle() as keras:
            theirs = keras.optimizers.schedules.CosineDecayRestarts(1.0, first, t_mul=t_mul)
            assert float(jax.jit(theirs)(starts[1])) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    "module", ["", ".base", ".sgd", ".adam", ".rmsprop", ".schedules", ".slots", ".transformations"]
)
def test_examples(module):
    assert doctest.testmod(importlib.import_module("verax.optimizers" + module)).failed == 0
