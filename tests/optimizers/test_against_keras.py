"""Every optimizer walks the same way as Keras', step by step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import optimizers

STEPS = 20
SHAPES = {"dense/kernel": (4, 3), "dense/bias": (3,), "scale": ()}


def parameters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {path: rng.normal(size=shape).astype("float32") for path, shape in SHAPES.items()}


def gradients() -> list[dict[str, np.ndarray]]:
    """Gradients of very different sizes, with exact zeros among them."""
    rng = np.random.default_rng(2)
    steps = []
    for step in range(STEPS):
        sizes = {path: 10.0 ** rng.uniform(-3, 1, size=shape) for path, shape in SHAPES.items()}
        grads = {path: (rng.normal(size=shape) * sizes[path]).astype("float32") for path, shape in SHAPES.items()}
        grads["dense/kernel"][0, 0] = 0.0
        if step < 3:
            grads["dense/bias"][1] = 0.0
        steps.append(grads)
    return steps


def walk_of_keras(name, arguments, rates=None, exclude=None):
    """The parameters after each step of the oracle; ``rates`` is step -> the rate set before it."""
    with oracle() as keras:
        values = parameters()
        variables = [keras.Variable(v, name=path.split("/")[-1]) for path, v in values.items()]
        arguments = dict(arguments)
        if isinstance(arguments.get("learning_rate"), tuple):
            schedule, keywords = arguments["learning_rate"]
            arguments["learning_rate"] = getattr(keras.optimizers.schedules, schedule)(**keywords)
        optimizer = getattr(keras.optimizers, name)(**arguments)
        if exclude:
            optimizer.exclude_from_weight_decay(var_names=exclude)
        optimizer.build(variables)
        apply, walk = jax.jit(optimizer.stateless_apply), []
        for step, grads in enumerate(gradients()):
            if rates and step in rates:
                optimizer.learning_rate = rates[step]
            new, slots = apply(
                [v.value for v in optimizer.variables], list(grads.values()), [v.value for v in variables]
            )
            for variable, value in zip([*variables, *optimizer.variables], [*new, *slots], strict=True):
                variable.assign(value)
            walk.append({path: np.asarray(v) for path, v in zip(values, variables, strict=True)})
        return walk, optimizer, dict(zip(values, variables, strict=True))


def walk_of_ours(name, arguments, rates=None, exclude=None):
    arguments = dict(arguments)
    if isinstance(arguments.get("learning_rate"), tuple):
        schedule, keywords = arguments["learning_rate"]
        arguments["learning_rate"] = getattr(optimizers.schedules, schedule)(**keywords)
    optimizer = getattr(optimizers, name)(**arguments)
    if exclude:
        optimizer.exclude_from_weight_decay(var_names=exclude)
    params = {path: jnp.asarray(v) for path, v in parameters().items()}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    walk = []
    for step, grads in enumerate(gradients()):
        if rates and step in rates:
            state = optimizer.with_learning_rate(state, rates[step])
        params, state = update(grads, state, params)
        walk.append({path: np.asarray(v) for path, v in params.items()})
    return walk, optimizer, state


def assert_same_walk(ours, theirs):
    """Equal to 1e-6 of the largest size the parameter had so far: one that passes through zero keeps its rounding."""
    size = dict.fromkeys(theirs[0], 0.0)
    for step, (mine, expected) in enumerate(zip(ours, theirs, strict=True)):
        for path in expected:
            size[path] = max(size[path], float(np.abs(expected[path]).max()))
            np.testing.assert_allclose(
                mine[path], expected[path], rtol=1e-6, atol=1e-6 * size[path], err_msg=f"{step} {path}"
            )


RULES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.01}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
    ("Adam", {"amsgrad": True, "learning_rate": 0.01, "beta_2": 0.9}),
    ("Adam", {"weight_decay": 0.1, "learning_rate": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"learning_rate": 0.1, "weight_decay": 0.2, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True, "rho": 0.8, "epsilon": 1e-3}),
    ("RMSprop", {"momentum": 0.5, "centered": True, "epsilon": 1e-2, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"initial_accumulator_value": 0.0, "epsilon": 1e-4, "learning_rate": 0.1}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adadelta", {"rho": 0.8, "epsilon": 1e-3, "weight_decay": 0.01}),
    ("Adamax", {}),
    ("Adamax", {"learning_rate": 0.1, "beta_1": 0.8, "epsilon": 1e-3}),
    ("Nadam", {}),
    ("Nadam", {"learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.95}),
    ("Lion", {}),
    ("Lion", {"learning_rate": 0.01, "beta_1": 0.8, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(
    ("name", "arguments"), RULES, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "default"
)
def test_rule(name, arguments):
    assert_same_walk(walk_of_ours(name, arguments)[0], walk_of_keras(name, arguments)[0])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
        ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
        ("RMSprop", {"learning_rate": 0.1, "momentum": 0.9}),
        ("Adam", {"learning_rate": 0.1}),
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(v),
)
def test_a_rate_that_changes_in_the_middle(name, arguments):
    rates = {5: 0.01, 12: 0.5}
    assert_same_walk(walk_of_ours(name, arguments, rates)[0], walk_of_keras(name, arguments, rates)[0])


@pytest.mark.parametrize("clipping", [{"clipnorm": 0.7}, {"clipvalue": 0.05}, {"global_clipnorm": 1.5}])
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_clipping(name, clipping):
    arguments = {"learning_rate": 0.05, "weight_decay": 0.1, **clipping}
    assert_same_walk(walk_of_ours(name, arguments)[0], walk_of_keras(name, arguments)[0])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"use_ema": True, "ema_momentum": 0.8}),
        ("Adam", {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 3}),
        ("Adam", {"gradient_accumulation_steps": 4}),
        ("SGD", {"gradient_accumulation_steps": 3, "clipnorm": 0.7, "weight_decay": 0.1}),
        (
            "Adam",
            {"gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3},
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(v),
)
def test_averaging_and_accumulation(name, options):
    arguments = {"learning_rate": 0.1}
    ours, optimizer, state = walk_of_ours(name, {**arguments, **options})
    theirs, reference, variables = walk_of_keras(name, {**arguments, **options})
    assert_same_walk(ours, theirs)
    assert optimizer.iterations(state) == int(reference.iterations)
    averages = optimizer.averaged(state)
    if "use_ema" not in options:
        assert averages is None
        return
    with oracle():
        reference.finalize_variable_values(list(variables.values()))
    assert_same_walk([averages], [{path: np.asarray(v) for path, v in variables.items()}])


def test_excluded_from_weight_decay():
    arguments = {"learning_rate": 0.1, "weight_decay": 0.5}
    theirs = walk_of_keras("AdamW", arguments, exclude=["bias", "scale"])[0]
    assert_same_walk(walk_of_ours("AdamW", arguments, exclude=["bias", "scale"])[0], theirs)
    decayed = walk_of_ours("AdamW", arguments)[0]
    assert abs(decayed[-1]["dense/bias"] - theirs[-1]["dense/bias"]).max() > 1e-3


SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5, "staircase": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5, "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [5, 11, 30], "values": [0.1, 0.02, 0.5, 0.01]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 9, "end_learning_rate": 0.01, "power": 2.0}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 9, "power": 0.5, "cycle": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 12}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 12, "alpha": 0.3}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.01, "decay_steps": 9, "alpha": 0.1, "warmup_target": 0.2, "warmup_steps": 5},
    ),
    ("CosineDecay", {"initial_learning_rate": 0.01, "decay_steps": 9, "warmup_target": 0.2, "warmup_steps": 0}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 6, "t_mul": 1.0, "alpha": 0.1}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4, "t_mul": 1.5, "m_mul": 0.7}),
]
NAMES = [f"{name}-{'-'.join(list(keywords)[2:])}" for name, keywords in SCHEDULES]


def rates_of_keras(name, keywords, count):
    with oracle() as keras:
        schedule = getattr(keras.optimizers.schedules, name)(**keywords)
        return np.asarray(jax.jit(jax.vmap(schedule))(np.arange(count, dtype="int32")))


@pytest.mark.parametrize(("name", "keywords"), SCHEDULES, ids=NAMES)
def test_schedule_step_by_step(name, keywords):
    ours = jax.vmap(getattr(optimizers.schedules, name)(**keywords))(np.arange(45, dtype="int32"))
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, rates_of_keras(name, keywords, 45), rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize(("name", "keywords"), SCHEDULES, ids=NAMES)
def test_schedule_in_training(name, keywords):
    arguments = {"momentum": 0.9, "weight_decay": 0.1}
    ours, optimizer, state = walk_of_ours("SGD", {"learning_rate": (name, keywords), **arguments})
    rates = rates_of_keras(name, keywords, STEPS + 1)
    # The oracle is handed its own schedule's rates: evaluating the schedule inside it takes seconds a test.
    assert_same_walk(ours, walk_of_keras("SGD", arguments, rates=dict(enumerate(rates[:STEPS])))[0])
    assert optimizer.current_learning_rate(state) == pytest.approx(rates[STEPS], rel=1e-5, abs=1e-8)


def test_schedule_inside_keras():
    arguments = {"learning_rate": SCHEDULES[0], "momentum": 0.9, "weight_decay": 0.1}
    assert_same_walk(walk_of_ours("SGD", arguments)[0], walk_of_keras("SGD", arguments)[0])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Lion"])
def test_defaults_and_names(name):
    with oracle() as keras:
        theirs = getattr(keras.optimizers, name)().get_config()
    ours = getattr(optimizers, name)().get_config()
    assert theirs.pop("name").replace("_", "").lower().startswith(ours.pop("name"))
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        assert value == (pytest.approx(theirs[key]) if isinstance(value, float) else theirs[key]), key
