"""The state of every optimizer in Keras' list of arrays: what Keras began goes on here, and the other way round."""

from __future__ import annotations

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import optimizers

BEFORE, AFTER = 3, 5
#: Not in alphabetical order, and with every shape some rule looks at.
SHAPES = {
    "tall/kernel": (2, 5),
    "dense/bias": (3,),
    "conv/kernel": (2, 3, 2),
    "a_scale": (),
}
EVERYTHING = {
    "weight_decay": 0.02,
    "global_clipnorm": 1.5,
    "use_ema": True,
    "ema_momentum": 0.7,
    "ema_overwrite_frequency": 2,
    "gradient_accumulation_steps": 2,
}
RATE = {"learning_rate": 0.01}
SCHEDULE = {"learning_rate": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 2, "decay_rate": 0.5})}
NAMES = [
    "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Muon", "Nadam",
    "RMSprop", "ScheduleFreeAdamW",
]  # fmt: skip
ROWS = [
    *((name, {}) for name in NAMES),
    *((name, {**RATE, **EVERYTHING}) for name in NAMES),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "clipnorm": 0.7, "weight_decay": 0.1}),
    ("SGD", {**SCHEDULE, "momentum": 0.5}),
    ("SGD", {"gradient_accumulation_steps": 5, "momentum": 0.5}),
    ("SGD", {"use_ema": True, "ema_momentum": 0.5}),
    ("Adam", {**RATE, "amsgrad": True}),
    ("Adam", {**RATE, "amsgrad": True, **EVERYTHING}),
    ("Adam", {**RATE, "use_ema": True, "ema_overwrite_frequency": 3, "clipvalue": 0.05}),
    ("Adam", {**RATE, "loss_scale_factor": 8.0, "gradient_accumulation_steps": 2}),
    ("Adam", {**SCHEDULE, "gradient_accumulation_steps": 4}),
    ("AdamW", {**RATE, "amsgrad": True, "clipnorm": 0.5}),
    ("Nadam", {**RATE, "gradient_accumulation_steps": 2}),
    ("Nadam", {**SCHEDULE, "beta_1": 0.8}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True, "epsilon": 1e-2}),
    ("RMSprop", {"momentum": 0.5, "centered": True, "epsilon": 1e-2, **RATE, **EVERYTHING}),
    ("Adafactor", {"learning_rate": 0.5, "gradient_accumulation_steps": 4}),
    ("Adagrad", {"initial_accumulator_value": 2.0, "clipvalue": 0.1}),
    ("Ftrl", {"learning_rate": 0.5, "l1_regularization_strength": 0.5, "initial_accumulator_value": 1.0}),
    ("Muon", {"learning_rate": 0.1, "exclude_layers": ["tall"]}),
    ("Muon", {"learning_rate": 0.1, "nesterov": False, "rms_rate": None, "use_ema": True}),
    ("ScheduleFreeAdamW", {"learning_rate": 0.1, "warmup_steps": 5, "beta_1": 0.6}),
    ("Lamb", {**RATE, "use_ema": True, "gradient_accumulation_steps": 3}),
    ("Lion", {**RATE, "weight_decay": 0.1, "clipnorm": 1.0}),
]


def values(seed):
    """Of very different sizes, with exact zeros among them."""
    rng = np.random.default_rng(seed)
    made = {p: rng.normal(size=s) * 10.0 ** rng.uniform(-2, 1, size=s) for p, s in SHAPES.items()}
    made["dense/bias"][1] = 0.0
    return {path: np.asarray(v, "float32") for path, v in made.items()}


def several(room, choice=None, of_conv="Nadam"):
    o = {"name": "several"}
    by_path = {
        r"dense/.*": room.SGD(0.1, momentum=0.9, name="one"),
        r"nothing": room.Ftrl(name="two"),
        r"conv/.*": getattr(room, of_conv)(0.01, use_ema=True, ema_momentum=0.6, name="three"),
    }
    rest = room.Adam(0.01, amsgrad=True, gradient_accumulation_steps=2, name="four")
    if choice == "function":
        # Chosen in an order that is neither alphabetical nor that of the dict above.
        chosen = {"dens": by_path["dense/.*"], "conv": by_path["conv/.*"]}
        return room.MultiOptimizer(lambda v: chosen.get(getattr(v, "path", v)[:4], rest), **o)
    return room.MultiOptimizer(room.OptimizerMap(rest, by_path), **o)


def made(room, name, arguments):
    if name.startswith("scaled"):
        inner = made(room, *arguments)
        return room.LossScaleOptimizer(inner, initial_scale=16.0, dynamic_growth_steps=2, name="opt")
    if name.startswith("several"):
        return several(room, **arguments)
    arguments = dict(arguments)
    if isinstance(arguments.get("learning_rate"), tuple):
        schedule, keywords = arguments["learning_rate"]
        arguments["learning_rate"] = getattr(room.schedules, schedule)(**keywords)
    return getattr(room, name)(**arguments, name="opt")


class OfKeras:
    """A Keras optimizer and its variables, stepped as one compiled function of all their values."""

    def __init__(self, name, arguments):
        with oracle() as keras:
            self.variables = []
            for path, value in values(0).items():
                *folder, name_of_it = path.split("/")
                with keras.name_scope(folder[0]) if folder else nullcontext():
                    self.variables.append(keras.Variable(value, name=name_of_it))
            assert [v.path for v in self.variables] == list(SHAPES)
            self.optimizer = made(keras.optimizers, name, arguments)
            self.optimizer.build(self.variables)
            self.apply = jax.jit(self.optimizer.stateless_apply)
            self.state = [v.value for v in self.optimizer.variables]
        self.params = [v.value for v in self.variables]
        self.names = [v.path for v in self.optimizer.variables]

    def step(self, grads):
        with oracle():
            self.params, self.state = self.apply(self.state, list(grads.values()), self.params)

    def kept(self):
        """The numbers of ``optimizer.variables``."""
        return [np.array(v) for v in self.state]


def steps(name, start, count):
    """Gradients; of a scaled loss, with one step that overflows."""
    for i in range(start, start + count):
        grads = values(i + 1)
        if name.startswith("scaled") and i in (1, 5):
            grads["conv/kernel"][0, 0, 0] = np.inf
        yield grads


def assert_close(ours, theirs, what):
    for path, a, b in zip(what, ours, theirs, strict=True):
        size = max(1e-30, float(np.abs(np.asarray(b, "float64")).max()))
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * size, err_msg=path)


def assert_same_bits(ours, theirs):
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), i
        assert a.tobytes() == b.tobytes(), (i, a, b)


def assert_goes_both_ways(name, arguments):
    theirs, ours = OfKeras(name, arguments), made(optimizers, name, arguments)
    update = jax.jit(ours.update)
    start = {path: jnp.asarray(v) for path, v in values(0).items()}
    fresh = ours.init(start)
    assert [(a.shape, a.dtype) for a in ours.to_variables(fresh, SHAPES)] == [(a.shape, a.dtype) for a in theirs.kept()]
    assert_close(ours.to_variables(fresh, SHAPES), theirs.kept(), theirs.names)

    # Keras begins, we go on.
    for grads in steps(name, 0, BEFORE):
        theirs.step(grads)
    kept, params = theirs.kept(), dict(zip(SHAPES, theirs.params, strict=True))
    state = ours.from_variables(kept, params, SHAPES)
    assert_same_bits(ours.to_variables(state, SHAPES), kept)
    structure = jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), fresh)
    assert jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), state) == structure
    for grads in steps(name, BEFORE, AFTER):
        theirs.step(grads)
        params, state = update(grads, state, params)
        assert_close([params[path] for path in SHAPES], theirs.params, SHAPES)
    assert_close(ours.to_variables(state, SHAPES), theirs.kept(), theirs.names)

    # We begin, Keras goes on.
    params, state = start, fresh
    for grads in steps(name, 0, BEFORE):
        params, state = update(grads, state, params)
    theirs.state = [jnp.asarray(a) for a in ours.to_variables(state, SHAPES)]
    theirs.params = [params[path] for path in SHAPES]
    again = ours.from_variables(ours.to_variables(state, SHAPES), params, SHAPES)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        if not name.startswith(("scaled", "several")):  # which do not keep all that they count
            assert_same_bits([np.asarray(a)], [np.asarray(b)])
    for grads in steps(name, BEFORE, AFTER):
        theirs.step(grads)
        params, state = update(grads, state, params)
        assert_close([params[path] for path in SHAPES], theirs.params, SHAPES)
    return ours, state, theirs


def row_id(value):
    return value if isinstance(value, str) else "-".join(value) if isinstance(value, dict) else None


@pytest.mark.parametrize(("name", "arguments"), ROWS, ids=row_id)
def test_training_goes_on(name, arguments):
    ours, state, theirs = assert_goes_both_ways(name, arguments)
    # Keras names by itself what was not made by add_variable, and two slots of Adafactor alike.
    odd = {"Nadam": ("u_product",), "Adafactor": ("rows", "columns")}.get(name, ())
    for ours_, theirs_ in zip(ours.variable_names(state, SHAPES), theirs.names, strict=True):
        assert ours_ == theirs_ or ours_.endswith(odd)


@pytest.mark.parametrize(
    "row",
    [
        ("scaled", ("SGD", {"momentum": 0.9})),
        ("scaled", ("Adam", {**RATE, **EVERYTHING})),
        ("scaled", ("Adafactor", {})),
        ("several", {}),
        ("several", {"choice": "function"}),
        # Not Nadam, whose product Keras loses here: see below.
        ("scaled", ("several", {"choice": "function", "of_conv": "Adamax"})),
    ],
    ids=str,
)
def test_training_goes_on_with_optimizers_inside(row):
    ours, state, theirs = assert_goes_both_ways(*row)
    both = zip(ours.variable_names(state, SHAPES), theirs.names, strict=True)
    assert all(a == b or a.endswith(("u_product", "rows", "columns")) for a, b in both)


def test_nadam_inside_of_a_loss_scale_finds_its_product_again():
    """Keras does not keep it there, and goes on as if training had begun."""
    ours, theirs = (made(room, "scaled", ("Nadam", RATE)) for room in (optimizers, optimizers))
    with oracle():
        keras_names = OfKeras("scaled", ("Nadam", RATE)).names
    assert keras_names == ours.variable_names(ours.init(values(0)), SHAPES)
    params = {path: jnp.asarray(v) for path, v in values(0).items()}
    state = ours.init(params)
    for grads in steps("scaled", 0, 4):
        params, state = ours.update(grads, state, params)
    again = theirs.from_variables(ours.to_variables(state, SHAPES), params, SHAPES)
    assert int(state.step) == 3
    assert float(again.inner.inner[0][0].product) == float(state.inner.inner[0][0].product) != 1.0
