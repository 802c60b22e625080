"""Every optimizer walks the same way as Keras', step by step."""

from __future__ import annotations

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import optimizers

STEPS = 20
SHAPES = {"dense/kernel": (4, 3), "dense/bias": (3,), "scale": ()}
#: For rules that look at the shape, the path or the size of a parameter.
MORE_SHAPES = {**SHAPES, "conv/kernel": (2, 3, 2), "tall/kernel": (2, 5), "embedding/embeddings": (3, 2)}
LOOKING = ("Adafactor", "Muon")


def parameters(shapes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {path: rng.normal(size=shape).astype("float32") for path, shape in shapes.items()}


def gradients(shapes) -> list[dict[str, np.ndarray]]:
    """Gradients of very different sizes, with exact zeros among them."""
    rng = np.random.default_rng(2)
    steps = []
    for step in range(STEPS):
        sizes = {path: 10.0 ** rng.uniform(-3, 1, size=shape) for path, shape in shapes.items()}
        grads = {path: (rng.normal(size=shape) * sizes[path]).astype("float32") for path, shape in shapes.items()}
        grads["dense/kernel"][0, 0] = 0.0
        if step < 3:
            grads["dense/bias"][1] = 0.0
        steps.append(grads)
    return steps


def walk_of_keras(name, arguments, rates=None, exclude=None):
    """The parameters after each step of the oracle; ``rates`` is step -> the rate set before it."""
    shapes = MORE_SHAPES if name in LOOKING else SHAPES
    with oracle() as keras:
        values = parameters(shapes)
        variables = []
        for path, value in values.items():
            *folder, name_of_it = path.split("/")
            with keras.name_scope(folder[0]) if folder else nullcontext():
                variables.append(keras.Variable(value, name=name_of_it))
        assert [v.path for v in variables] == list(values)
        arguments = dict(arguments)
        if isinstance(arguments.get("learning_rate"), tuple):
            schedule, keywords = arguments["learning_rate"]
            arguments["learning_rate"] = getattr(keras.optimizers.schedules, schedule)(**keywords)
        optimizer = getattr(keras.optimizers, name)(**arguments)
        if exclude:
            optimizer.exclude_from_weight_decay(var_names=exclude)
        optimizer.build(variables)
        apply, walk = jax.jit(optimizer.stateless_apply), []
        for step, grads in enumerate(gradients(shapes)):
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
    shapes = MORE_SHAPES if name in LOOKING else SHAPES
    params = {path: jnp.asarray(v) for path, v in parameters(shapes).items()}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    walk = []
    for step, grads in enumerate(gradients(shapes)):
        if rates and step in rates:
            state = optimizer.with_learning_rate(state, rates[step])
        params, state = update(grads, state, params)
        walk.append({path: np.asarray(v) for path, v in params.items()})
    return walk, optimizer, state


def assert_same_walk(ours, theirs):
    """Equal to 1e-6 of the largest size the parameter had so far: one that passes through zero keeps its rounding."""
    size = {path: float(np.abs(v).max()) for path, v in parameters(MORE_SHAPES).items()}
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
    ("SGD", {"learning_rate": 0.1, "momentum": 1.0}),
    ("SGD", {"nesterov": True}),
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
    ("Lion", {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.9}),
    ("Adamax", {"beta_2": 0.9}),
    ("RMSprop", {"momentum": 0.5, "rho": 0.5}),
    ("Adagrad", {"learning_rate": 0.5, "initial_accumulator_value": 2.0}),
    ("AdamW", {"weight_decay": 0.0}),
    ("Adafactor", {}),
    ("Adafactor", {"learning_rate": 0.9}),
    ("Adafactor", {"learning_rate": 0.1, "relative_step": False}),
    ("Adafactor", {"beta_2_decay": -0.5, "epsilon_1": 1e-3, "epsilon_2": 0.5, "learning_rate": 0.1}),
    ("Adafactor", {"clip_threshold": 0.3, "learning_rate": 0.1}),
    ("Ftrl", {}),
    ("Ftrl", {"learning_rate": 0.5, "l1_regularization_strength": 2.0}),
    ("Ftrl", {"learning_rate": 0.5, "l2_regularization_strength": 0.7, "learning_rate_power": -0.3}),
    ("Ftrl", {"learning_rate": 0.1, "l2_shrinkage_regularization_strength": 0.1, "beta": 0.5}),
    ("Ftrl", {"learning_rate": 0.1, "initial_accumulator_value": 1.0, "learning_rate_power": 0.0}),
    ("Lamb", {}),
    ("Lamb", {"learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-2}),
    ("Muon", {}),
    ("Muon", {"learning_rate": 0.1, "nesterov": False, "momentum": 0.8}),
    ("Muon", {"learning_rate": 0.1, "exclude_layers": ["tall"], "exclude_embeddings": False}),
    ("Muon", {"learning_rate": 0.1, "rms_rate": None, "ns_steps": 3, "adam_lr_ratio": 0.3}),
    ("Muon", {"learning_rate": 0.1, "muon_a": 2.0, "muon_b": -1.5, "muon_c": 0.5, "rms_rate": 0.5}),
    ("Muon", {"adam_beta_1": 0.8, "adam_beta_2": 0.9, "epsilon": 1e-3, "adam_weight_decay": 0.5, "weight_decay": None}),
    ("ScheduleFreeAdamW", {}),
    ("ScheduleFreeAdamW", {"learning_rate": 0.1, "warmup_steps": 7, "epsilon": 1e-3, "beta_2": 0.95}),
    ("ScheduleFreeAdamW", {"learning_rate": 0.1, "beta_1": 0.6, "beta_2": 0.9}),
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


NAMES = sorted({name for name, _ in RULES})
#: Every option, in as few walks as tell them apart; each says which way of clipping it takes.
OPTIONS = {
    "norm": {"weight_decay": 0.1, "clipnorm": 0.7, "loss_scale_factor": 8.0},
    "value": {"weight_decay": None, "clipvalue": 0.05, "use_ema": True, "ema_momentum": 0.8},
    "global": {
        "weight_decay": 0.02,
        "global_clipnorm": 1.5,
        "use_ema": True,
        "ema_momentum": 0.7,
        "ema_overwrite_frequency": 3,
        "gradient_accumulation_steps": 2,
    },
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_options(name, options):
    arguments = {"learning_rate": 0.01, **OPTIONS[options]}
    if name == "AdamW" and arguments["weight_decay"] is None:
        arguments["weight_decay"] = 0.3
    ours, optimizer, state = walk_of_ours(name, arguments)
    theirs, reference, variables = walk_of_keras(name, arguments)
    assert_same_walk(ours, theirs)
    assert optimizer.iterations(state) == int(reference.iterations)
    averages = optimizer.averaged(state)
    if "use_ema" in arguments:
        with oracle():
            reference.finalize_variable_values(list(variables.values()))
        assert_same_walk([averages], [{path: np.asarray(v) for path, v in variables.items()}])
    else:
        assert averages is None


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


def listed(config):
    return {key: value for key, value in config.items() if key != "name"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", OPTIONS)
def test_configurations_go_both_ways(name, options):
    arguments = dict([case for case in RULES if case[0] == name][-1][1])
    arguments = {**arguments, **OPTIONS[options], "weight_decay": 0.1}
    ours = getattr(optimizers, name)(**arguments)
    with oracle() as keras:
        theirs = getattr(keras.optimizers, name).from_config(optimizers.serialize(ours)["config"])
        config = theirs.get_config()
        again = optimizers.deserialize(keras.optimizers.serialize(theirs))
    assert type(theirs).__name__ == type(again).__name__ == name
    for key, value in listed(ours.get_config()).items():
        assert config[key] == (pytest.approx(value) if isinstance(value, float) else value), key
    for key, value in listed(again.get_config()).items():
        assert value == (pytest.approx(config[key]) if isinstance(value, float) else config[key]), key


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
SCHEDULE_IDS = [f"{name}-{'-'.join(list(keywords)[2:])}" for name, keywords in SCHEDULES]


def rates_of_keras(name, keywords, count):
    with oracle() as keras:
        schedule = getattr(keras.optimizers.schedules, name)(**keywords)
        return np.asarray(jax.jit(jax.vmap(schedule))(np.arange(count, dtype="int32")))


@pytest.mark.parametrize(("name", "keywords"), SCHEDULES, ids=SCHEDULE_IDS)
def test_schedule_step_by_step(name, keywords):
    ours = jax.vmap(getattr(optimizers.schedules, name)(**keywords))(np.arange(45, dtype="int32"))
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, rates_of_keras(name, keywords, 45), rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize(("name", "keywords"), SCHEDULES, ids=SCHEDULE_IDS)
def test_schedule_in_training(name, keywords):
    arguments = {"momentum": 0.9, "weight_decay": 0.1}
    ours, optimizer, state = walk_of_ours("SGD", {"learning_rate": (name, keywords), **arguments})
    rates = rates_of_keras(name, keywords, STEPS + 1)
    # The oracle is handed its own schedule's rates: evaluating the schedule inside it takes seconds a test.
    assert_same_walk(ours, walk_of_keras("SGD", arguments, rates=dict(enumerate(rates[:STEPS])))[0])
    assert optimizer.current_learning_rate(state) == pytest.approx(rates[STEPS], rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(("name", "keywords"), SCHEDULES, ids=SCHEDULE_IDS)
def test_configurations_of_schedules_go_both_ways(name, keywords):
    ours = getattr(optimizers.schedules, name)(**keywords)
    with oracle() as keras:
        theirs = keras.optimizers.schedules.deserialize(optimizers.schedules.serialize(ours))
        again = optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(theirs))
    assert again.get_config() == ours.get_config() == theirs.get_config()


def test_schedule_inside_keras():
    arguments = {"learning_rate": SCHEDULES[0], "momentum": 0.9, "weight_decay": 0.1}
    assert_same_walk(walk_of_ours("SGD", arguments)[0], walk_of_keras("SGD", arguments)[0])


@pytest.mark.parametrize("name", NAMES)
def test_defaults_and_names(name):
    with oracle() as keras:
        theirs = getattr(keras.optimizers, name)().get_config()
    ours = getattr(optimizers, name)().get_config()
    assert theirs.pop("name").replace("_", "").lower().startswith(ours.pop("name"))
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        assert value == (pytest.approx(theirs[key]) if isinstance(value, float) else theirs[key]), key
