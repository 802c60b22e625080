"""Several optimizers for one model, the rules that look at parameters, and the names that are no more."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import optimizers
from verax.errors import FrozenError, InputError
from verax.optimizers import MultiOptimizer, OptimizerMap, legacy, schedules

SHAPES = {"dense/kernel": (4, 3), "dense/bias": (3,), "head/kernel": (3, 2), "head/bias": (2,)}
CHOICE = {r"head/.*": ("RMSprop", {"learning_rate": 0.05}), r"dense/bias": ("SGD", {"learning_rate": 0.1})}
DEFAULT = ("AdamW", {"learning_rate": 0.02, "weight_decay": 0.1, "use_ema": True, "ema_momentum": 0.7})
CONSTANT = schedules.ExponentialDecay(0.9, 1, 1.0)


def values(seed):
    rng = np.random.default_rng(seed)
    return {path: rng.normal(size=shape).astype("float32") for path, shape in SHAPES.items()}


def made(room, **arguments):
    chosen = {pattern: getattr(room, name)(**options) for pattern, (name, options) in CHOICE.items()}
    return room.MultiOptimizer(room.OptimizerMap(getattr(room, DEFAULT[0])(**DEFAULT[1]), chosen), **arguments)


@pytest.mark.parametrize("arguments", [{}, {"loss_scale_factor": 16.0}])
def test_the_walk_of_keras(arguments):
    ours = made(optimizers, **arguments)
    params = {path: jnp.asarray(v) for path, v in values(0).items()}
    state, update = ours.init(params), jax.jit(ours.update)
    with oracle() as keras:
        theirs = made(keras.optimizers, **arguments)
        variables = []
        for path, value in values(0).items():
            with keras.name_scope(path.split("/")[0]):
                variables.append(keras.Variable(value, name=path.split("/")[1]))
        theirs.build(variables)
        apply = jax.jit(theirs.stateless_apply)
        for step in range(1, 21):
            grads = values(step)
            params, state = update(grads, state, params)
            new, slots = apply([v.value for v in theirs.variables], list(grads.values()), [v.value for v in variables])
            for variable, value in zip([*variables, *theirs.variables], [*new, *slots], strict=True):
                variable.assign(value)
            for path, variable in zip(SHAPES, variables, strict=True):
                np.testing.assert_allclose(params[path], variable.value, rtol=1e-6, atol=3e-6, err_msg=f"{step} {path}")
        assert ours.iterations(state) == int(theirs.iterations) == 20
        theirs.finalize_variable_values(variables)
        averages = ours.averaged(state)
        assert averages.keys() == {"dense/kernel"}
        np.testing.assert_allclose(averages["dense/kernel"], variables[0].value, rtol=1e-5, atol=1e-6)


def test_configurations_go_both_ways():
    ours = made(optimizers, name="several", loss_scale_factor=2.0)
    with oracle() as keras:
        theirs = keras.optimizers.MultiOptimizer.from_config(optimizers.serialize(ours)["config"])
        assert [type(one).__name__ for one in theirs.optimizers] == ["RMSprop", "SGD", "AdamW"]
        again = optimizers.deserialize(keras.optimizers.serialize(theirs))
    assert [type(one).__name__ for one in again.optimizers] == ["RMSprop", "SGD", "AdamW"]
    assert (again.name, again.loss_scale_factor) == ("several", 2.0)
    assert again.optimizer_map("dense/kernel").weight_decay == pytest.approx(0.1)
    assert optimizers.deserialize(optimizers.serialize(ours)).get_config() == ours.get_config()


def test_rates_belong_to_the_optimizers():
    ours = MultiOptimizer(OptimizerMap(optimizers.SGD(0.5), {"b": optimizers.SGD(schedules.CosineDecay(0.1, 9))}))
    params = {"w": jnp.ones(2), "b": jnp.ones(2)}
    state = ours.init(params)
    assert ours.learning_rate[1] == 0.5
    ours.optimizers[1].learning_rate = 0.25
    state = ours.with_learning_rate(state, ours.learning_rate)
    assert ours.update(params, state, params)[0]["w"].tolist() == [0.75, 0.75]
    for ask in (
        lambda: float(ours.learning_rate),
        lambda: setattr(ours, "learning_rate", 0.1),
        lambda: ours.with_learning_rate(state, 0.1),
        lambda: ours.current_learning_rate(state),
    ):
        with pytest.raises(FrozenError, match="each of its optimizers"):
            ask()


def test_the_map():
    adam, sgd = optimizers.Adam(), optimizers.SGD()
    chosen = OptimizerMap(adam)
    chosen["a/.*"] = sgd
    assert (chosen["a/b"], chosen["b"], len(chosen), list(chosen)) == (sgd, adam, 1, ["a/.*"])
    for wrong, message in (("a/.*", "Delete it first"), ("(", "regular expression")):
        with pytest.raises(InputError, match=message):
            chosen[wrong] = sgd
    chosen[".*/b"] = adam
    with pytest.raises(InputError, match="exclude each other"):
        chosen["a/b"]
    del chosen["a/.*"]
    assert chosen["a/b"] is adam


def test_a_function_chooses_too_and_no_parameter_may_be_left():
    slow, fast = optimizers.SGD(0.1, global_clipnorm=1.0), optimizers.SGD(0.5)
    ours = MultiOptimizer(lambda path: fast if "head" in path else slow)
    params = {path: jnp.asarray(v) for path, v in values(0).items()}
    new, _ = ours.update(params, ours.init(params), params)
    np.testing.assert_allclose(new["head/bias"], 0.5 * params["head/bias"], rtol=1e-6)
    assert len(ours.optimizers) == 2
    only = {"head/bias": params["head/bias"]}  # none is left to the other
    ours.update(only, ours.init(only), only)
    with pytest.raises(InputError, match="OptimizerMap"):
        ours.get_config()
    with pytest.raises(InputError, match="is an Optimizer"):
        MultiOptimizer(lambda path: "sgd").init(params)


def test_a_function_that_makes_an_optimizer_each_time_is_asked_once_a_parameter():
    ours = MultiOptimizer(lambda path: optimizers.SGD(0.5 if "head" in path else 0.25, momentum=0.5))
    params = {path: jnp.asarray(v) for path, v in values(0).items()}
    new, state = ours.update(params, ours.init(params), params)
    ours.update(params, state, new)
    np.testing.assert_allclose(new["head/bias"], 0.5 * params["head/bias"], rtol=1e-6)
    assert len(ours.optimizers) == len(params)


def test_decay_is_excluded_in_all_of_them():
    ours = MultiOptimizer(OptimizerMap(optimizers.SGD(1.0, weight_decay=0.5)))
    ours.exclude_from_weight_decay(var_names=["bias"])
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
    new, _ = ours.update(jax.tree.map(jnp.zeros_like, params), ours.init(params), params)
    assert (new["kernel"].tolist(), new["bias"].tolist()) == ([0.5, 0.5], [1.0, 1.0])


@pytest.mark.parametrize("optimizer", ["multi", "muon", "lamb", "ftrl", "adafactor", "schedulefreeadamw"])
def test_in_fit(optimizer):
    if optimizer == "multi":
        optimizer = MultiOptimizer(OptimizerMap(optimizers.Adam(0.01), {".*bias": optimizers.SGD(0.1)}))
    model = verax.Sequential([verax.Input((3,)), verax.layers.Dense(4, "tanh"), verax.layers.Dense(1)])
    model.compile(optimizer, "mse")
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    losses = model.fit(x, x.sum(1), batch_size=8, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.fit(x, x.sum(1), batch_size=8, verbose=0)


@pytest.mark.parametrize("arguments", [{"relative_step": False}, {"learning_rate": CONSTANT}])
def test_adafactor_takes_a_rate_as_it_is_where_it_is_not_relative(arguments):
    params, grads = {"w": jnp.array([2.0, -3.0])}, {"w": jnp.array([1.0, 1.0])}
    optimizer = optimizers.Adafactor(**{"learning_rate": 0.9, **arguments})
    state, size = optimizer.init(params), []
    for _ in range(5):
        new, state = optimizer.update(grads, state, params)
        size.append(float(jnp.abs(new["w"] - params["w"]).max() / jnp.sqrt(jnp.mean(params["w"] ** 2))))
    np.testing.assert_allclose(size, 0.9, rtol=1e-5)
    with oracle() as keras:  # where Keras is said to differ, it does
        theirs = keras.optimizers.Adafactor(0.9, relative_step=False)
        variable = keras.Variable(np.array([2.0, -3.0], "float32"))
        for _ in range(5):
            before = np.asarray(variable)
            theirs.apply([grads["w"]], [variable])
        moved = np.abs(np.asarray(variable) - before).max() / np.sqrt((before**2).mean())
        assert moved == pytest.approx(1 / np.sqrt(5), rel=1e-4)


def test_ftrl_sets_weights_to_zero_exactly():
    optimizer = optimizers.Ftrl(0.5, l1_regularization_strength=5.0, weight_decay=0.1)
    params = {"w": jnp.array([0.1, -0.3, 0.7])}
    new, _ = optimizer.update({"w": jnp.array([0.1, -0.2, 0.3])}, optimizer.init(params), params)
    assert new["w"].tolist() == [0.0, 0.0, 0.0]


def test_muon_makes_singular_values_alike():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    made = optimizers.muon.orthogonalized(jnp.asarray(x), 5, 3.4445, -4.775, 2.0315)
    values = np.linalg.svd(made, compute_uv=False)
    assert ((values > 0.6) & (values < 1.3)).all()


@pytest.mark.parametrize("name", [n for n in legacy.__all__ if n != "Optimizer"])
def test_legacy_names_say_what_to_use(name):
    with pytest.raises(InputError, match=rf"Use verax.optimizers.{name}\."):
        getattr(optimizers.legacy, name)(learning_rate=0.1)
    with oracle() as keras:
        assert set(legacy.__all__) == {n for n in dir(keras.optimizers.legacy) if not n.startswith("_")}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.Adafactor(clip_threshold=0.0), "clip_threshold"),
        (lambda: optimizers.Adafactor(beta_2_decay=0.8), "beta_2_decay"),
        (lambda: optimizers.Ftrl(learning_rate_power=0.5), "learning_rate_power"),
        (lambda: optimizers.Ftrl(l1_regularization_strength=-1.0), "l1_regularization_strength"),
        (lambda: optimizers.Muon(adam_weight_decay=-0.1), "adam_weight_decay"),
        (lambda: optimizers.ScheduleFreeAdamW(beta_1=0.0), "beta_1"),
        (lambda: optimizers.ScheduleFreeAdamW(warmup_steps=-1), "warmup_steps"),
        (lambda: MultiOptimizer({"a": optimizers.SGD()}), "OptimizerMap"),
        (lambda: OptimizerMap("adam"), "default_optimizer"),
        (lambda: OptimizerMap(optimizers.LossScaleOptimizer(optimizers.SGD())), "LossScaleOptimizer"),
        (lambda: OptimizerMap(optimizers.SGD(loss_scale_factor=2.0)), "loss_scale_factor"),
    ],
)
def test_errors(make, message):
    with pytest.raises(InputError, match=message):
        make()
