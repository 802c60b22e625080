"""Every layer against real Keras with the same weights: outputs, states, gradients, shapes, names, configurations."""

from __future__ import annotations

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.layers.cases import CASES, Case
from tests.oracle import oracle
from verax import layers
from verax.frame.frame import call, pure, values
from verax.frame.mode import Mode, ModeMap
from verax.frame.policy import set_global_policy

# Each program runs once: compiling it is the time these tests take.
quickly_compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def inputs_of(case: Case, rng: np.random.Generator):
    if case.data is not None:
        return case.data(rng)

    def one(shape):
        if case.dtype == "float32":
            return rng.normal(size=shape).astype("float32")
        return rng.integers(0, 256 if case.dtype == "uint8" else 5, size=shape).astype(case.dtype)

    return [one(s) for s in case.shape] if isinstance(case.shape, list) else one(case.shape)


def given(case: Case, x) -> tuple:
    """What the layer is called on."""
    return tuple(x) if case.spread else (x,)


def inputs_for(case: Case, x):
    """Symbolic tensors like ``x``, of so many rows as the layer is told of."""
    return jax.tree.map(lambda a: layers.Input(a.shape[1:], len(a) if case.fixed else None, dtype=a.dtype), x)


def weights_like(keras_layer, rng: np.random.Generator) -> list[np.ndarray]:
    return [
        (np.abs(rng.normal(size=w.shape)) + 0.5 if "variance" in w.name else 0.5 * rng.normal(size=w.shape)).astype(
            "float32"
        )
        for w in keras_layer.weights
    ]


@pytest.fixture(autouse=True)
def _names_from_the_beginning():
    """Automatic names count anew in both libraries: layers inside a layer have them in their paths."""
    verax.utils.clear_session()
    with oracle() as keras:
        keras.utils.clear_session()


def of_keras(case: Case, x, rng: np.random.Generator):
    """Keras' outputs in both modes, its state after training, its gradients, and its weights."""
    with oracle() as keras:
        layer = case.make(keras.layers)
        shape_in = jax.tree.map(lambda a: (len(a) if case.fixed else None, *a.shape[1:]), x)
        output = layer(*given(case, symbolic(keras, shape_in, case.dtype)))
        weights = weights_like(layer, rng)
        for variable, value in zip(layer.weights, weights, strict=True):
            variable.assign(value)
        trainable = [v.value for v in layer.trainable_variables]
        others = [v.value for v in layer.non_trainable_variables]

        def objective(trainable, x, training):
            mode = {"training": training} if layer._call_has_training_arg else {}
            output, state = layer.stateless_call(trainable, others, *given(case, x), **mode)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(output)), (output, state)

        @quickly_compiled
        def both(trainable, x):
            _, (infer, _) = objective(trainable, x, False)
            argnums = (0, 1) if case.dtype == "float32" else 0
            (_, (train, state)), gradients = jax.value_and_grad(objective, argnums, has_aux=True)(
                trainable, x, not case.draws
            )
            return infer, train, state, gradients

        shape = jax.tree.map(lambda t: t.shape, output)
        names = [w.path.removeprefix(f"{layer.name}/") for w in layer.weights]
        return both(trainable, x), weights, names, shape


def symbolic(keras, shapes, dtype):
    if isinstance(shapes, list):
        return [keras.KerasTensor(s, dtype) for s in shapes]
    return keras.KerasTensor(shapes, dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_layer_against_keras(case: Case):
    rng = np.random.default_rng(0)
    x = inputs_of(case, rng)
    (infer, train, state, gradients), weights, names, shape = of_keras(case, x, rng)

    layer = case.make(layers)
    inputs = inputs_for(case, x)
    output = layer(*given(case, inputs))
    assert jax.tree.leaves(jax.tree.map(lambda t: t.shape, output)) == jax.tree.leaves(shape)
    assert [v.path for v in layer.weights] == names
    layer.set_weights(weights)
    params, others = values(layer)

    def objective(params, x, mode):
        output, state = pure(layer)(params, others, *given(case, x), mode=mode)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(output)), (output, state)

    @quickly_compiled
    def both(params, x):
        _, (infer, _) = objective(params, x, Mode.INFER)
        argnums = (0, 1) if case.dtype == "float32" else 0
        mode = Mode.INFER if case.draws else Mode.TRAIN
        (_, (train, state)), gradients = jax.value_and_grad(lambda p, x: objective(p, x, mode), argnums, has_aux=True)(
            params, x
        )
        return infer, train, state, gradients

    got_infer, got_train, got_state, got_gradients = both(params, x)
    close = {"rtol": case.tolerance, "atol": case.tolerance}

    def compare(ours, theirs):
        ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, **close)

    compare(got_infer, infer)
    compare(got_train, train)
    # What a stateful layer carries from batch to batch Keras keeps apart: see test_recurrent.py.
    kept = [got_state[v.path] for v in layer.non_trainable_weights]
    compare(kept, state[: len(kept)])
    by_name = got_gradients[0] if case.dtype == "float32" else got_gradients
    compare([by_name[v.path] for v in layer.trainable_weights], gradients[0] if case.dtype == "float32" else gradients)
    if case.dtype == "float32":
        compare(got_gradients[1], gradients[1])

    again = type(layer).from_config(layer.get_config())
    again(*given(case, inputs))
    assert again.name == layer.name
    assert program(again, given(case, x)) == program(layer, given(case, x))


def program(layer, x: tuple) -> str:
    """What a layer computes in training, as jax prints it, without addresses in memory."""
    run = lambda params, state: pure(layer)(params, state, *x, mode=Mode.TRAIN, key=jax.random.key(0))  # noqa: E731
    return re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(run)(*values(layer))))


def two_of_each_class() -> list[Case]:
    made: dict[type, list[Case]] = {}
    for case in CASES:
        made.setdefault(type(case.make(layers)), []).append(case)
    return [case for cases in made.values() for case in (cases[0], cases[-1])[: len(cases)]]


@pytest.mark.parametrize("case", two_of_each_class(), ids=lambda c: c.name)
def test_layer_computes_in_its_dtype_and_accepts_sizes_it_does_not_know(case: Case):
    set_global_policy("mixed_bfloat16")  # for layers inside of layers
    try:
        made = case.make(layers)
        layer = type(made)(**{**made.get_config(), "dtype": "mixed_bfloat16"})
    finally:
        set_global_policy(None)
    x = inputs_for(case, inputs_of(case, np.random.default_rng(0)))
    keeps_integers = case.dtype == "uint8" and case.name == "Identity"
    for leaf in jax.tree.leaves(layer(*given(case, x)), is_leaf=lambda t: hasattr(t, "node")):
        assert leaf.dtype == ("uint8" if keeps_integers else "bfloat16")
    assert all(v.dtype == "float32" for v in layer.weights)
    shapes = jax.tree.map(lambda t: t.shape, x, is_leaf=lambda t: hasattr(t, "node"))

    def run(key, *arrays):
        arguments = given(case, *arrays)
        outcome = call(layer, *values(layer), arguments, mode=ModeMap(Mode.TRAIN), key=key)
        return outcome.output

    arrays = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct((s[0] or 3, *s[1:]), case.dtype), shapes, is_leaf=lambda s: isinstance(s, tuple)
    )
    for leaf in jax.tree.leaves(jax.eval_shape(run, jax.random.key(0), arrays)):
        assert leaf.dtype == jnp.bfloat16


def plain(config: dict) -> dict:
    """A configuration of Keras without what it draws anew (names of layers) and what is about no argument."""
    return {
        key: plain(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in ("name", "build_config", "quantization_config")
    }


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_configurations_go_both_ways(case: Case):
    ours = case.make(layers)
    config = ours.get_config()
    json.dumps(config)
    with oracle() as keras:
        theirs = case.make(keras.layers)
        said = theirs.get_config()
        assert plain(type(theirs).from_config(config).get_config()) == plain(said)
    again = type(ours).from_config(said)
    x = inputs_of(case, np.random.default_rng(0))
    inputs = inputs_for(case, x)
    ours(*given(case, inputs))
    again(*given(case, inputs))
    assert again.name == theirs.name
    assert program(again, given(case, x)) == program(ours, given(case, x))


# Keras turns the sequence round and leaves its mask as it was: then the mask names other steps than those it masked.
# And its RMSNormalization drops the mask.
TURNED = {f"{kind} backwards, no bias" for kind in ("LSTM", "GRU", "SimpleRNN")}
MASKED = [
    c
    for c in CASES
    if c.dtype == "float32" and isinstance(c.shape, tuple) and len(c.shape) > 2 and not c.spread and c.data is None
]


@pytest.mark.parametrize(
    "case", [c for c in MASKED if c.name not in TURNED and "RMSNormalization" not in c.name], ids=lambda c: c.name
)
def test_masks_travel_as_in_keras(case: Case):
    x = inputs_of(case, np.random.default_rng(0))
    keep = np.arange(x.shape[1]) < np.arange(1, 1 + len(x))[:, None]
    with oracle() as keras:
        theirs = case.make(keras.layers)
        if not theirs.supports_masking:
            expected = None
        else:
            theirs(x)
            expected = theirs.compute_mask(jnp.asarray(x), jnp.asarray(keep))
    ours = case.make(layers)
    ours(x)
    got = ours.compute_mask(jnp.asarray(x), jnp.asarray(keep))
    assert ours.supports_masking == theirs.supports_masking
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
