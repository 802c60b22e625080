"""Loss scaling walks as Keras' does, refuses what overflowed, and rounds nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import optimizers
from verax.engine.step import Carry, Constrained, Pass, train_step
from verax.errors import FrozenError, InputError
from verax.frame.mode import Mode, ModeMap
from verax.optimizers import LossScaleOptimizer, schedules

EVERYTHING = {
    "learning_rate": 0.1,
    "weight_decay": 0.1,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.8,
    "ema_overwrite_frequency": 3,
    "gradient_accumulation_steps": 2,
}
START = {"a/bias": jnp.array([1.0, -0.0, 0.5]), "a/kernel": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)}


def gradients(steps=12, seed=0):
    """Gradients of the unscaled loss."""
    rng = np.random.default_rng(seed)
    return [{path: rng.normal(size=v.shape).astype("float32") for path, v in START.items()} for _ in range(steps)]


def spoil(scaled, step):
    """Some steps overflow, in one element."""
    if step in (1, 7):
        scaled["a/kernel"][0, 1] = {1: np.inf, 7: np.nan}[step]
    return scaled


@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9, "clipnorm": 0.7}), ("Adam", EVERYTHING)])
def test_walks_as_keras(name, options):
    ours = LossScaleOptimizer(getattr(optimizers, name)(**options), initial_scale=64.0, dynamic_growth_steps=3)
    state, params, update = ours.init(START), START, jax.jit(ours.update)
    with oracle() as keras:
        inner = getattr(keras.optimizers, name)(**options)
        theirs = keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0, dynamic_growth_steps=3)
        variables = [keras.Variable(v, name=path.split("/")[-1]) for path, v in START.items()]
        theirs.build(variables)
        apply = jax.jit(theirs.stateless_apply)
        slots, expected = [v.value for v in theirs.variables], [v.value for v in variables]
    scales = []
    for step, grads in enumerate(gradients()):
        scales.append(ours.loss_scale(state))
        grads = spoil({path: g * np.float32(scales[-1]) for path, g in grads.items()}, step)
        params, state = update(grads, state, params)
        with oracle():
            expected, slots = apply(slots, list(grads.values()), expected)
            for variable, value in zip(theirs.variables, slots, strict=True):
                variable.assign(value)
        for value, wanted in zip(params.values(), expected, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=2e-6, atol=2e-6, err_msg=str(step))
        assert ours.loss_scale(state) == float(theirs.dynamic_scale)
        assert int(state.inner.finite_steps) == int(theirs.step_counter)
        assert ours.iterations(state) == int(theirs.iterations)
    assert scales == [64, 64, 32, 32, 32, 64, 64, 64, 32, 32, 32, 64]
    assert int(ours.skipped(state)) == 2


def test_a_refused_step_changes_nothing_but_the_scale():
    optimizer = LossScaleOptimizer(optimizers.Adam(**EVERYTHING), initial_scale=8.0)
    update = jax.jit(optimizer.update)
    params, state = update(gradients()[0], optimizer.init(START), START)
    params["a/bias"] = params["a/bias"].at[1].set(-0.0)
    for spoiled in (np.inf, -np.inf, np.nan):
        bad = {path: np.full_like(g, spoiled) for path, g in gradients()[1].items()}
        same, after = update(bad, state, params)
        ends = [jax.tree.leaves((p, s._replace(inner=s.inner.inner))) for p, s in ((same, after), (params, state))]
        for a, b in zip(*ends, strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()  # to the bit, −0 included
        assert (optimizer.loss_scale(state), optimizer.loss_scale(after)) == (8.0, 4.0)


def test_scaling_rounds_nothing():
    plain, scaled = optimizers.Adam(**EVERYTHING), LossScaleOptimizer(optimizers.Adam(**EVERYTHING))

    def walk(optimizer, factor):
        def step(carry, grads):
            params, state = carry
            grads = jax.tree.map(lambda g: g * (state.inner.scale if factor else 1.0), grads)
            return optimizer.update(grads, state, params), None

        stacked = jax.tree.map(lambda *g: jnp.stack(g), *gradients())
        return jax.jit(lambda c: jax.lax.scan(step, c, stacked)[0])((START, optimizer.init(START)))

    (expected, slots), (found, state) = walk(plain, False), walk(scaled, True)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    jax.tree.map(np.testing.assert_array_equal, scaled.averaged(state), plain.averaged(slots))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))


def test_the_scale_stays_positive_and_finite():
    one = {"w": jnp.ones(())}
    for start, grad, end in ((2.0**126, 0.0, 2.0**127), (2.0**-125, np.nan, 2.0**-126)):
        optimizer = LossScaleOptimizer(optimizers.SGD(), initial_scale=start, dynamic_growth_steps=1)
        state, update = optimizer.init(one), jax.jit(optimizer.update)
        for _ in range(3):
            _, state = update({"w": np.float32(grad)}, state, one)
        assert optimizer.loss_scale(state) == end


def test_the_rate_is_the_inner_optimizers():
    inner = optimizers.SGD(0.5)
    optimizer = LossScaleOptimizer(inner, initial_scale=2.0)
    optimizer.learning_rate = 0.25
    assert inner.learning_rate == optimizer.learning_rate == 0.25
    state = optimizer.with_learning_rate(optimizer.init(START), 0.125)
    assert optimizer.current_learning_rate(state) == 0.125
    params, _ = optimizer.update(jax.tree.map(jnp.ones_like, START), state, START)
    np.testing.assert_allclose(params["a/kernel"], START["a/kernel"] - 0.0625, rtol=1e-6)
    scheduled = LossScaleOptimizer(optimizers.SGD(schedules.ExponentialDecay(1.0, 1, 0.5)))
    state = scheduled.init(START)
    _, state = scheduled.update(jax.tree.map(lambda v: v * jnp.inf, START), state, START)
    assert scheduled.current_learning_rate(state) == 1.0  # a refused step is none to the schedule
    _, state = scheduled.update(START, state, START)
    assert scheduled.current_learning_rate(state) == 0.5
    with pytest.raises(FrozenError, match="follows a schedule"):
        scheduled.with_learning_rate(state, 0.1)


def test_configuration():
    optimizer = LossScaleOptimizer(optimizers.Adam(**EVERYTHING), 4.0, 7, name="mine")
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    config = optimizers.serialize(optimizer)
    again = optimizers.deserialize(config)
    assert optimizers.serialize(again) == config
    assert (again.name, again.initial_scale, again.dynamic_growth_steps) == ("mine", 4.0, 7)
    assert again.inner_optimizer.get_config()["excluded_from_weight_decay"] == ["bias"]
    with oracle() as keras:
        theirs = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
        assert LossScaleOptimizer(optimizers.SGD()).get_config().keys() == theirs.get_config().keys()
        assert theirs.name.startswith(LossScaleOptimizer(optimizers.SGD()).name)
        assert float(theirs.scale_loss(2.0)) == LossScaleOptimizer(optimizers.SGD()).scale_loss(2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossScaleOptimizer("adam"), "inner_optimizer"),
        (lambda: LossScaleOptimizer(LossScaleOptimizer(optimizers.SGD())), "scaled twice"),
        (lambda: LossScaleOptimizer(optimizers.SGD(loss_scale_factor=2.0)), "scaled twice"),
        (lambda: LossScaleOptimizer(optimizers.SGD(), initial_scale=0.0), "initial_scale"),
        (lambda: LossScaleOptimizer(optimizers.SGD(), dynamic_growth_steps=0), "dynamic_growth_steps"),
        (lambda: LossScaleOptimizer(optimizers.SGD(), clipnorm=1.0), r"Adam\(clipnorm"),
        (lambda: optimizers.SGD(loss_scale_factor=-1.0), "loss_scale_factor"),
    ],
)
def test_errors(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_fixed_factor_divides_before_clipping():
    """By Keras' rule: unscale, then clip."""
    options = {"learning_rate": 0.5, "loss_scale_factor": 4.0, "clipvalue": 0.25}
    optimizer = optimizers.SGD(**options)
    params, _ = optimizer.update(gradients()[0], optimizer.init(START), START)
    with oracle() as keras:
        theirs = keras.optimizers.SGD(**options)
        variables = [keras.Variable(v) for v in START.values()]
        theirs.apply(list(gradients()[0].values()), variables)
    for value, wanted in zip(params.values(), variables, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6)


def observe(params, state, batch, *, mode, key):
    """Σ (w x)², whose gradient overflows where x is infinite; state counts passes."""
    return jnp.sum((params["w"] * batch) ** 2), ({"passes": state["passes"] + 1}, {"w": params["w"][0]})


@pytest.mark.parametrize("factor", [None, 4.0])
def test_a_step_scales_the_objective_and_refuses_as_a_whole(factor):
    rate = 0.1
    inner = optimizers.SGD(rate, loss_scale_factor=factor)
    rule = Constrained(inner if factor else LossScaleOptimizer(inner), {"w": lambda w: w * 0.5})
    carry = Carry.begin({"w": jnp.ones(1)}, {"passes": jnp.float32(0.0)}, rule.rule.init({"w": jnp.ones(1)}))

    @jax.jit
    def step(carry, batch):
        return train_step(Pass(observe, ModeMap(Mode.TRAIN)), rule, carry, batch, key=jax.random.key(0))

    carry, tallies = step(carry, jnp.array([1.0]))
    assert float(tallies["w"]) == 1.0
    assert float(carry.params["w"][0]) == pytest.approx((1 - rate * 2.0) * 0.5)  # constrained after the step
    if factor:
        return
    refused, _ = step(carry, jnp.array([jnp.inf]))
    assert (refused.params["w"], refused.state["passes"], refused.step) == (carry.params["w"], 1.0, 2)
    assert rule.rule.loss_scale(refused.opt) == 2.0**14
    assert int(rule.skipped(refused.opt)) == 1
    again, _ = step(refused, jnp.array([0.0]))
    assert (float(again.state["passes"]), float(again.params["w"][0])) == (2.0, float(carry.params["w"][0]) * 0.5)
